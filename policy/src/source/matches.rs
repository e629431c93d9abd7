//! `match`: what a rule or a grant looks at.

use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Key, Node, Value};
use crate::glob::{Glob, Syntax};
use crate::language::{DelegationMatch, LabelTest, Match, Range, TextSet};
use crate::number::Number;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

pub(super) const FIELDS: &[&str] = &[
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "requires",
    "actor_ids",
    "actor_types",
    "pack_ids",
    "labels",
    "mcp",
    "delegation",
    "secrets_present",
];

/// The labels that describe a call of an MCP tool, and the lists about each.
const MCP: [(&str, &str, &str); 4] = [
    ("mcp.server", "allow_servers", "deny_servers"),
    ("mcp.tool", "allow_tools", "deny_tools"),
    ("mcp.resource", "allow_resources", "deny_resources"),
    ("mcp.action", "allow_actions", "deny_actions"),
];

/// Reads the fields of a `match` that are among `known`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    syntax: Syntax,
    what: impl Display + Copy,
) -> Option<Match> {
    let mut except = crate::language::Except::default();
    let (tenants, not_tenants) = reader.in_or_not(entry, "tenants", what)?;
    let (capabilities, not_capabilities) = reader.in_or_not(entry, "capabilities", what)?;
    let (actor_ids, not_actor_ids) = reader.in_or_not(entry, "actor_ids", what)?;
    let (actor_types, not_actor_types) = reader.in_or_not(entry, "actor_types", what)?;
    let (pack_ids, not_pack_ids) = reader.in_or_not(entry, "pack_ids", what)?;
    except.tenants = not_tenants;
    except.capabilities = not_capabilities;
    except.actor_ids = not_actor_ids;
    except.actor_types = not_actor_types;
    except.pack_ids = not_pack_ids;
    let (topics, not_topics) = topics(reader, entry, syntax, what)?;
    except.topics = not_topics;
    let mut labels = BTreeMap::new();
    let mut label_tests = Vec::new();
    let sound = read_labels(reader, entry, &mut labels, &mut label_tests, what);
    let sound = mcp(reader, entry, &mut labels, &mut label_tests, what) && sound;
    let risk_tags = reader.texts(entry, "risk_tags", what);
    let requires = reader.texts(entry, "requires", what);
    let delegation = delegation(reader, entry, what);
    let secrets_present = match entry.get("secrets_present") {
        None => Some(None),
        Some(_) => reader.flag(entry, "secrets_present", what).map(Some),
    };
    sound.then_some(Match {
        tenants,
        topics,
        capabilities,
        risk_tags: risk_tags?,
        trusts_claims: false,
        requires: requires?,
        actor_ids,
        actor_types,
        pack_ids,
        labels,
        label_tests,
        except,
        delegation: delegation?,
        secrets_present: secrets_present?,
        mcp_calls: false,
    })
}

/// `topics: [..]` or `topics: {in: [..], not_in: [..]}`.
fn topics(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    syntax: Syntax,
    what: impl Display + Copy,
) -> Option<(BTreeSet<Glob>, BTreeSet<Glob>)> {
    let Some(node) = entry.get("topics") else { return Some(Default::default()) };
    let what = format_args!("`topics` of {what}");
    let Value::Map(_) = &node.value else {
        return reader.globs_of(node, syntax, what).map(|globs| (globs, BTreeSet::new()));
    };
    let (wanted, unwanted) = reader.pair(node, what)?;
    let mut read = |node: Option<&Node>, name: &str| match node {
        Some(node) => reader.globs_of(node, syntax, format_args!("`{name}` of {what}")),
        None => Some(BTreeSet::new()),
    };
    let (wanted, unwanted) = (read(wanted, "in"), read(unwanted, "not_in"));
    Some((wanted?, unwanted?))
}

/// False when something was wrong.
fn read_labels(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    labels: &mut BTreeMap<Box<str>, TextSet>,
    tests: &mut Vec<LabelTest>,
    what: impl Display + Copy,
) -> bool {
    let Some(node) = entry.get("labels") else { return true };
    let what = format_args!("`labels` of {what}");
    let Some(fields) = reader.fields(node, what) else { return false };
    let mut sound = true;
    for (key, node) in fields.iter() {
        sound &= label(reader, key, node, labels, tests, what).is_some();
    }
    sound
}

/// A text, a list of texts, or `{in, not_in, gt, gte, lt, lte}`.
fn label(
    reader: &mut Reader<'_>,
    key: &Key,
    node: &Node,
    labels: &mut BTreeMap<Box<str>, TextSet>,
    tests: &mut Vec<LabelTest>,
    what: impl Display + Copy,
) -> Option<()> {
    let name: Box<str> = key.name.as_str().into();
    if name.is_empty() {
        reader.wrong(key.line, format!("{what} has an empty key"), "write the label's name");
        return None;
    }
    let what = format_args!("label `{}` in {what}", excerpt(&key.name));
    match &node.value {
        Value::List(_) => {
            labels.insert(name, reader.text_set(node, what)?);
        }
        Value::Map(_) => ranges(reader, node, &name, labels, tests, what)?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            let text = reader.text(node, what)?;
            labels.insert(name, TextSet::from([text.into()]));
        }
    }
    Some(())
}

fn ranges(
    reader: &mut Reader<'_>,
    node: &Node,
    name: &str,
    labels: &mut BTreeMap<Box<str>, TextSet>,
    tests: &mut Vec<LabelTest>,
    what: impl Display + Copy,
) -> Option<()> {
    use Ordering::{Equal, Greater, Less};
    const ORDERS: [(&str, &[Ordering]); 4] =
        [("gt", &[Greater]), ("gte", &[Greater, Equal]), ("lt", &[Less]), ("lte", &[Less, Equal])];
    let fields = reader.fields(node, what)?;
    reader.only(fields, what, &["in", "not_in", "gt", "gte", "lt", "lte"], &[]);
    if fields.iter().next().is_none() {
        reader.wrong(
            node.line,
            format!("{what} says nothing of its value"),
            "write `in`, `not_in`, `gt`, `gte`, `lt` or `lte`",
        );
        return None;
    }
    if let Some(list) = fields.get("in") {
        labels.insert(name.into(), reader.text_set(list, format_args!("`in` of {what}"))?);
    }
    if let Some(list) = fields.get("not_in") {
        let texts = reader.text_set(list, format_args!("`not_in` of {what}"))?;
        tests.push(LabelTest { key: name.into(), range: Range::NotIn(texts), list: None });
    }
    for (word, wanted) in ORDERS {
        let Some(node) = fields.get(word) else { continue };
        let Value::Number(than) = node.value else {
            reader.wrong(
                node.line,
                format!("`{word}` of {what} must be a number, not {}", node.value.kind()),
                "write a number; the label's value is read as one",
            );
            return None;
        };
        tests.push(LabelTest { key: name.into(), range: Range::Number { wanted: wanted.to_vec(), than }, list: None });
    }
    Some(())
}

/// Lists about an MCP call are about the labels that describe it. False when something was wrong.
pub(super) fn mcp(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    labels: &mut BTreeMap<Box<str>, TextSet>,
    tests: &mut Vec<LabelTest>,
    what: impl Display + Copy,
) -> bool {
    let Some(node) = entry.get("mcp") else { return true };
    let what = format_args!("`mcp` of {what}");
    let Some(fields) = reader.fields(node, what) else { return false };
    let known: Vec<&str> = MCP.iter().flat_map(|(_, allow, deny)| [*allow, *deny]).collect();
    reader.only(fields, what, &known, &[]);
    if fields.iter().next().is_none() {
        reader.wrong(node.line, format!("{what} is empty"), "list servers, tools, resources or actions, or remove it");
        return false;
    }
    let mut sound = true;
    for (label, allow, deny) in MCP {
        if fields.get(allow).is_some() {
            if labels.contains_key(label) {
                reader.wrong(node.line, format!("{what} and `labels` both list `{label}`"), "keep one of them");
                sound = false;
            }
            match reader.texts(fields, allow, what) {
                Some(texts) => drop(labels.insert(label.into(), texts)),
                None => sound = false,
            }
        }
        if fields.get(deny).is_some() {
            match reader.texts(fields, deny, what) {
                Some(texts) => {
                    tests.push(LabelTest { key: label.into(), range: Range::NotIn(texts), list: Some(deny) });
                }
                None => sound = false,
            }
        }
    }
    sound
}

/// What is outside of lists about MCP calls: for each list its name and a match of the calls it forbids. They say nothing
/// of a job that calls no MCP server; one that names part of a call only is forbidden what cannot be told.
pub(super) fn outside_mcp(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    what: impl Display + Copy,
) -> Option<Vec<(&'static str, Match)>> {
    let Some(node) = entry.get("mcp") else { return Some(Vec::new()) };
    let what = format_args!("`mcp` of {what}");
    let fields = reader.fields(node, what)?;
    let known: Vec<&str> = MCP.iter().flat_map(|(_, allow, deny)| [*allow, *deny]).collect();
    reader.only(fields, what, &known, &[]);
    let mut outside = Vec::new();
    for (label, allow, deny) in MCP {
        if fields.get(allow).is_some() {
            let range = Range::NotIn(reader.texts(fields, allow, what)?);
            let label_tests = vec![LabelTest { key: label.into(), range, list: None }];
            outside.push((allow, Match { label_tests, mcp_calls: true, ..Match::default() }));
        }
        if fields.get(deny).is_some() {
            let labels = BTreeMap::from([(label.into(), reader.texts(fields, deny, what)?)]);
            outside.push((deny, Match { labels, mcp_calls: true, ..Match::default() }));
        }
    }
    Some(outside)
}

/// Outer `None`: it was wrong.
fn delegation(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    what: impl Display + Copy,
) -> Option<Option<DelegationMatch>> {
    let Some(node) = entry.get("delegation") else { return Some(None) };
    let what = format_args!("`delegation` of {what}");
    let fields = reader.fields(node, what)?;
    reader.only(fields, what, &["min_depth", "max_depth", "required_scope"], &[]);
    let mut depth = |name: &str| match fields.get(name) {
        None => Some(None),
        Some(node) => match node.value {
            Value::Number(Number::Int(depth)) if (0..=64).contains(&depth) => Some(u32::try_from(depth).ok()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                reader.wrong(
                    node.line,
                    format!("`{name}` of {what} must be a whole number from 0 to 64"),
                    "0 is a job nobody delegated",
                );
                None
            }
        },
    };
    let (min_depth, max_depth) = (depth("min_depth"), depth("max_depth"));
    let required_scope = reader.texts(fields, "required_scope", what);
    let delegation = DelegationMatch { min_depth: min_depth?, max_depth: max_depth?, required_scope: required_scope? };
    if delegation == DelegationMatch::default() {
        reader.wrong(node.line, format!("{what} is empty"), "write `max_depth`, `min_depth` or `required_scope`");
        return None;
    }
    if delegation.min_depth.zip(delegation.max_depth).is_some_and(|(least, most)| least > most) {
        reader.wrong(node.line, format!("{what} has a `min_depth` above its `max_depth`"), "correct one of them");
        return None;
    }
    Some(Some(delegation))
}
