//! One file, one bundle.

use super::fields::{Fields, Reader};
use super::rule::{self, Surroundings};
use super::yaml::{self, Value};
use super::{concurrency, deriver, params, schema, tenants};
use crate::glob::Syntax;
use crate::language::{Bundle, Combine};
use crate::number::Number;
use crate::problem::Problem;
use std::sync::Arc;

/// Reads a bundle, or returns everything that is wrong with it.
pub(crate) fn read(file: &str, text: &str) -> Result<Bundle, Vec<Problem>> {
    let root = yaml::parse(file, text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(file);
    let bundle = read_root(&mut reader, &root);
    match bundle {
        Some(bundle) if reader.problems.is_empty() => Ok(bundle),
        _ => Err(reader.problems),
    }
}

fn read_root(reader: &mut Reader<'_>, root: &yaml::Node) -> Option<Bundle> {
    if matches!(root.value, Value::Null) {
        reader.problems.push(Problem::new(
            reader.file,
            None,
            "the file is empty",
            "write a bundle (`id`, `revision`, `rules`) or remove the file",
        ));
        return None;
    }
    let fields = reader.fields(root, "a bundle")?;
    let id = reader.required(fields, "id", "the bundle").and_then(|node| reader.name(node, "`id` of the bundle"));
    let id: Arc<str> = id?.into();
    let what = format!("bundle `{id}`");
    reader.only(
        fields,
        &what,
        &["id", "revision", "params", "combine", "topic_syntax", "schemas", "tenants", "grants", "derivers", "rules"],
        &[("signature", "take it out and sign the folder (`tidegate policy sign`): signatures stand beside bundles")],
    );
    let revision = revision(reader, fields, &what);
    let combine = match fields.get("combine") {
        None => Some(Combine::MostRestrictive),
        Some(node) => reader.choice(
            node,
            "`combine`",
            &[("first_match", Combine::FirstMatch), ("most_restrictive", Combine::MostRestrictive)],
        ),
    };
    let syntax = match fields.get("topic_syntax") {
        None => Syntax::Dots,
        Some(node) => {
            let words = [("dots", Syntax::Dots), ("path", Syntax::Path)];
            reader.choice(node, "`topic_syntax`", &words).unwrap_or(Syntax::Dots)
        }
    };
    let params = params::read(reader, fields, &what);
    let schemas = schema::read(reader, fields, syntax, &what);
    let (defaults, mut rules) = tenants::read(reader, fields, syntax, &id);
    let grants = tenants::grants(reader, fields, syntax, &what);
    let derivers = deriver::read_all(reader, fields, &id, syntax, &params);
    rules.extend(read_rules(reader, fields, &Surroundings { bundle: &id, syntax, params: &params }, &what));
    Some(Bundle {
        id,
        file: reader.file.into(),
        line: root.line,
        revision: revision?,
        combine: combine?,
        params: params::typed(reader, &params),
        schemas,
        defaults,
        grants,
        derivers,
        rules,
    })
}

fn revision(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<u64> {
    let node = reader.required(fields, "revision", what)?;
    if let Value::Number(Number::Int(value)) = node.value
        && let Ok(revision) = u64::try_from(value)
        && revision > 0
    {
        return Some(revision);
    }
    reader.wrong(
        node.line,
        format!("`revision` of {what} must be a whole number from 1"),
        "count it up with every change",
    );
    None
}

fn read_rules(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    around: &Surroundings<'_>,
    what: &str,
) -> Vec<crate::language::Rule> {
    let Some(node) = reader.required(fields, "rules", what) else { return Vec::new() };
    let Some(items) = reader.list(node, &format!("`rules` of {what}")) else { return Vec::new() };
    if items.is_empty() {
        reader.wrong(node.line, format!("{what} has no rules"), "write at least one rule or remove the file");
    }
    let mut rules = Vec::with_capacity(items.len());
    for item in items {
        let Some(rule) = rule::read(reader, item, around) else { continue };
        rules.extend(concurrency::beside(reader, &rule));
        rules.push(rule);
    }
    rules
}
