//! The file as a whole.

use super::lists::{self, Tenant};
use super::rule::{self, Rule};
use super::{Note, OWN};
use crate::source::{Fields, Node, Reader, Value};
use std::collections::BTreeMap;

/// A safety file that can be carried over.
pub(super) struct Safety {
    pub(super) rules: Vec<Rule>,
    pub(super) tenants: Vec<Tenant>,
    /// A job that no rule matches is allowed.
    pub(super) allows_by_default: bool,
    pub(super) notes: Vec<Note>,
}

/// What is said about contents; no rule here scans a payload.
const CONTENTS: &[&str] = &["input_policy", "input_rules", "output_policy", "output_rules", "require_human"];
const KNOWN: &[&str] = &["version", "tier", "selector", "default_tenant", "default_decision", "rules", "tenants"];

pub(super) fn read(reader: &mut Reader<'_>, root: &Node) -> Option<Safety> {
    let fields = reader.fields(root, "a safety file")?;
    for (key, node) in fields.iter() {
        let name = key.name.as_str();
        if CONTENTS.contains(&name) {
            if !is_unset(node) {
                cannot(
                    reader,
                    key.line,
                    &format!("`{name}`"),
                    "derive risk tags from the payload (`derivers`) and match these, then remove it",
                );
            }
        } else if !KNOWN.contains(&name) {
            reader.unknown(key, "a safety file", KNOWN);
        }
    }
    global(reader, fields, "the file");
    let mut notes = Vec::new();
    if let Some(node) = fields.get("default_tenant").filter(|node| !is_unset(node)) {
        let tenant = reader.text(node, "`default_tenant`")?;
        notes.push(Note {
            line: node.line,
            text: format!(
                "a job without a tenant is `{tenant}`'s there and no job here; give the source `tenant: {tenant}` in the configuration"
            ),
        });
    }
    let allows_by_default = match fields.get("default_decision").filter(|node| !is_unset(node)) {
        None => false,
        Some(node) => {
            reader.choice(node, "`default_decision`", &[("allow", true), ("permit", true), ("deny", false)])?
        }
    };
    let rules = rule::read_all(reader, fields, &mut notes);
    let tenants = lists::read_all(reader, fields, !rules.is_empty(), &mut notes);
    if rules.is_empty() && !allows_by_default && tenants.iter().all(Tenant::says_nothing) {
        reader.wrong(root.line, "the file has neither rules nor tenants' lists", "there is nothing to import");
    }
    unique(reader, &rules);
    Some(Safety { rules, tenants, allows_by_default, notes })
}

/// Ids are what decisions name.
fn unique(reader: &mut Reader<'_>, rules: &[Rule]) {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for rule in rules {
        if rule.id.starts_with(OWN) {
            let reason = format!("the id `{}` begins with `{OWN}`, as what the import adds does", rule.id);
            reader.wrong(rule.line, reason, "give the rule another id");
        }
        if let Some(first) = seen.insert(&rule.id, rule.line) {
            let reason = format!("rule `{}` is already defined at line {first}", rule.id);
            reader.wrong(rule.line, reason, "give each rule an id of its own");
        }
    }
}

/// Scopes of other tiers are chosen by ids of runs, which no job here has.
pub(super) fn global(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) {
    if let Some(node) = fields.get("tier").filter(|node| !is_unset(node))
        && !matches!(&node.value, Value::Text(tier) if tier.trim().eq_ignore_ascii_case("global"))
    {
        cannot(reader, node.line, &format!("`tier` of {what} other than `global`"), "write the rule for its topics");
    }
    if let Some(node) = fields.get("selector").filter(|node| !is_unset(node)) {
        cannot(reader, node.line, &format!("`selector` of {what}"), "write the rule for its topics");
    }
}

/// What such files mean by a field that is not there.
pub(super) fn is_unset(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.iter().all(|(_, node)| is_unset(node)),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Refuses what has no like here.
pub(super) fn cannot(reader: &mut Reader<'_>, line: u32, what: &str, remedy: &str) {
    reader.wrong(line, format!("{what} cannot be carried over"), remedy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::source::parse;

    #[test]
    fn an_effect_of_every_word_is_known() {
        for word in ["allow", "permit", "deny", "block", "throttle", "require_human", "Allow-With-Constraints"] {
            let text = format!("rules: [{{id: r, decision: {word}}}]");
            let mut reader = Reader::new("f");
            let root = parse("f", &text).unwrap_or_else(|problem| panic!("{problem}"));
            let read = read(&mut reader, &root).unwrap();
            assert!(reader.problems.is_empty(), "{word}: {:?}", reader.problems);
            assert!(read.rules[0].effect >= Effect::Allow);
        }
    }
}
