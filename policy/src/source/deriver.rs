//! Derivers.

use super::fields::{Fields, Reader, excerpt};
use super::params::{Params, resolve};
use super::yaml::{Node, Value};
use crate::glob::Syntax;
use crate::language::{Deriver, Pointer, Scalar, Scalars, Test, TextSet};
use crate::number::Number;
use std::sync::Arc;

const TESTS: &[(&str, &str)] = &[
    ("eq", "eq"),
    ("in", "in"),
    ("not_in", "not_in"),
    ("prefix", "prefix"),
    ("gt", "gt"),
    ("lt", "lt"),
    ("missing", "missing"),
    ("address_not_in", "address_not_in"),
];

/// Deepest pointer, in tokens.
const MAX_TOKENS: usize = 16;

pub(super) fn read_all(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    bundle: &Arc<str>,
    syntax: Syntax,
    params: &Params<'_>,
) -> Vec<Deriver> {
    let Some(node) = fields.get("derivers") else { return Vec::new() };
    let Some(items) = reader.list(node, &format!("`derivers` of bundle `{bundle}`")) else { return Vec::new() };
    items.iter().filter_map(|item| read(reader, item, bundle, syntax, params)).collect()
}

fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    bundle: &Arc<str>,
    syntax: Syntax,
    params: &Params<'_>,
) -> Option<Deriver> {
    let fields = reader.fields(node, "a deriver")?;
    let tag = reader.required(fields, "tag", "a deriver").and_then(|node| reader.name(node, "`tag` of a deriver"));
    let what = tag.map_or_else(|| "a deriver".to_owned(), |tag| format!("the deriver of `{tag}`"));
    reader.only(
        fields,
        &what,
        &["tag", "topics", "field", "test", "value", "optional"],
        &[("when", "remove it; a deriver has one `test` of one `field`")],
    );
    let topics = reader.required(fields, "topics", &what);
    let topics = topics.and_then(|node| reader.globs_of(node, syntax, &format!("`topics` of {what}")));
    let field = reader.required(fields, "field", &what).and_then(|node| pointer(reader, node, &what));
    let test = test(reader, fields, &what, params);
    let optional = reader.flag(fields, "optional", &what);
    if optional == Some(true) && matches!(test, Some(Test::Missing)) {
        reader.wrong(
            node.line,
            format!("{what} tests for a missing field that it also calls optional"),
            "remove `optional`",
        );
        return None;
    }
    Some(Deriver {
        bundle: Arc::clone(bundle),
        tag: tag?.into(),
        topics: topics?,
        field: field?,
        test: test?,
        optional: optional?,
    })
}

fn pointer(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Pointer> {
    let Value::Text(text) = &node.value else {
        reader.text(node, &format!("`field` of {what}"));
        return None;
    };
    let why = match parse_pointer(text) {
        Ok(pointer) => return Some(pointer),
        Err(why) => why,
    };
    reader.wrong(
        node.line,
        format!("`field` of {what} is not a JSON pointer: `{}` {why}", excerpt(text)),
        "write `/name/inner`, with `/*` at the end for each element of an array",
    );
    None
}

fn parse_pointer(text: &str) -> Result<Pointer, &'static str> {
    let mut tokens: Vec<Box<str>> = Vec::new();
    if !text.is_empty() {
        let rest = text.strip_prefix('/').ok_or("does not start with `/`")?;
        for token in rest.split('/') {
            let plain = token.replace("~1", "").replace("~0", "");
            if plain.contains('~') {
                return Err("has a `~` that is neither `~0` nor `~1`");
            }
            tokens.push(Box::from(token.replace("~1", "/").replace("~0", "~")));
        }
    }
    let each = tokens.last().is_some_and(|token| &**token == "*");
    if each {
        tokens.pop();
    }
    if tokens.iter().any(|token| &**token == "*") {
        return Err("has `*` before its end");
    }
    if tokens.len() > MAX_TOKENS {
        return Err("is deeper than 16");
    }
    Ok(Pointer { text: text.into(), tokens, each })
}

fn test(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str, params: &Params<'_>) -> Option<Test> {
    let node = reader.required(fields, "test", what)?;
    let name = reader.choice(node, "test", TESTS)?;
    if name == "missing" {
        if let Some(value) = fields.get("value") {
            reader.wrong(value.line, format!("{what} tests `missing`, which takes no `value`"), "remove `value`");
            return None;
        }
        return Some(Test::Missing);
    }
    let node = reader.required(fields, "value", what)?;
    let node = resolve(reader, node, what, params)?;
    let what = format!("`value` of {what}");
    match name {
        "eq" => scalar(node).map(Test::Equal).or_else(|| {
            reader.wrong(
                node.line,
                format!("{what} must be one value, not {}", node.value.kind()),
                "use `in` for a list",
            );
            None
        }),
        "in" => scalars(reader, node, &what).map(Test::In),
        "not_in" => scalars(reader, node, &what).map(Test::NotIn),
        "prefix" => match &node.value {
            Value::List(_) => reader.text_set(node, &what).map(Test::Prefix),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                reader.text(node, &what).map(|text| Test::Prefix(TextSet::from([text.into()])))
            }
        },
        "address_not_in" => addresses(reader, node, &what),
        _ => {
            let limit = if let Value::Number(number) = node.value {
                number
            } else {
                reader.wrong(
                    node.line,
                    format!("{what} must be a number, not {}", node.value.kind()),
                    format!("write a number, `{name}` compares numbers only"),
                );
                return None;
            };
            Some(if name == "gt" { Test::Greater(limit) } else { Test::Less(limit) })
        }
    }
}

fn scalar(node: &Node) -> Option<Scalar> {
    match &node.value {
        Value::Bool(value) => Some(Scalar::Bool(*value)),
        Value::Number(number) => Some(Scalar::Number(*number)),
        Value::Text(text) => Some(Scalar::Text(text.as_str().into())),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// A list of one kind of scalar. An empty one is meant: a list of known payees may start empty.
pub(super) fn scalars(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Scalars> {
    let items = reader.list(node, what)?;
    let mut texts = TextSet::new();
    let mut numbers: Vec<Number> = Vec::new();
    for item in items {
        match &item.value {
            Value::Text(text) => {
                texts.insert(text.as_str().into());
            }
            Value::Number(number) => numbers.push(*number),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                reader.wrong(
                    item.line,
                    format!("{what} holds {}", item.value.kind()),
                    "list texts only or numbers only",
                );
                return None;
            }
        }
    }
    match (texts.is_empty(), numbers.is_empty()) {
        (_, true) => Some(Scalars::Texts(texts)),
        (true, false) => Some(Scalars::Numbers(numbers)),
        (false, false) => {
            reader.wrong(
                node.line,
                format!("{what} mixes texts and numbers"),
                "list texts only or numbers only, with quotes around texts that look like numbers",
            );
            None
        }
    }
}

fn addresses(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Test> {
    let mut addresses = TextSet::new();
    let mut domains = TextSet::new();
    let mut sound = true;
    for item in reader.list(node, what)? {
        let Some(text) = reader.text(item, &format!("an entry of {what}")) else {
            sound = false;
            continue;
        };
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix('@') {
            Some(domain) if !domain.is_empty() && !domain.contains('@') => {
                domains.insert(domain.into());
            }
            None if crate::evaluate::plain_address(&lower).is_some() => {
                addresses.insert(lower.into());
            }
            Some(_) | None => {
                sound = false;
                reader.wrong(
                    item.line,
                    format!("`{}` in {what} is neither an address nor a domain", excerpt(text)),
                    "write `name@domain` or `@domain`",
                );
            }
        }
    }
    sound.then_some(Test::AddressNotIn { addresses, domains })
}
