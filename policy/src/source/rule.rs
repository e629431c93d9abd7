//! One rule.

use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Node, Value};
use crate::effect::Effect;
use crate::language::{Match, Rule, TextSet, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_protocol::decision::Remediation;

const KNOWN: &[&str] =
    &["id", "tier", "invariant", "mode", "controls", "reason", "match", "trust", "decision", "remediations"];
const LATER: &[&str] =
    &["canary", "when", "window", "state", "approval", "constraints", "throttle", "velocity", "schema"];
const MATCH_KNOWN: &[&str] =
    &["tenants", "topics", "capabilities", "risk_tags", "requires", "actor_ids", "actor_types", "labels"];
const MATCH_LATER: &[&str] = &["pack_ids", "secrets_present", "mcp", "delegation"];

/// Longest reason, in bytes: it travels with every decision the rule makes.
const MAX_REASON: usize = 1000;

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, bundle: &Arc<str>) -> Option<Rule> {
    let fields = reader.fields(node, "a rule")?;
    let id = reader.required(fields, "id", "a rule").and_then(|node| reader.name(node, "`id` of a rule"));
    let what = id.map_or_else(|| "a rule".to_owned(), |id| format!("rule `{id}`"));
    reader.only(fields, &what, KNOWN, LATER);
    enforced(reader, fields, &what);
    let tier = match fields.get("tier") {
        None => Some(Tier::Global),
        Some(node) => {
            reader.choice(node, "tier", &[("global", Tier::Global), ("workflow", Tier::Workflow), ("job", Tier::Job)])
        }
    };
    let invariant = reader.flag(fields, "invariant", &what);
    let effect = decision(reader, fields, &what);
    if invariant == Some(true) && effect == Some(Effect::Allow) {
        reader.wrong(
            node.line,
            format!("{what} is an invariant that allows, and a floor that restricts nothing has no meaning"),
            "remove `invariant`, or state what must never happen as a deny",
        );
    }
    let reason = reason(reader, fields, &what);
    let controls = controls(reader, fields, &what);
    let remediations = remediations(reader, fields, &what);
    let matches = matches(reader, fields, &what);
    let (id, effect) = (id?, effect?);
    let reason = reason?.unwrap_or_else(|| format!("rule {id}: {effect}").into());
    Some(Rule {
        id: id.into(),
        bundle: Arc::clone(bundle),
        file: reader.file.into(),
        line: node.line,
        tier: tier?,
        invariant: invariant?,
        effect,
        reason: Arc::from(reason),
        controls: controls?,
        remediations,
        matches: matches?,
    })
}

/// `mode: enforce` is what every rule does; the other modes would change what a verdict means.
fn enforced(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) {
    let Some(node) = fields.get("mode") else { return };
    match &node.value {
        Value::Text(mode) if mode == "enforce" => {}
        Value::Text(mode) if mode == "shadow" || mode == "warn" => {
            reader.later(node.line, &format!("`mode: {mode}` in {what}"));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            reader.choice(node, "mode", &[("enforce", ()), ("shadow", ()), ("warn", ())]);
        }
    }
}

fn decision(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Effect> {
    const WORDS: &[(&str, Option<Effect>)] = &[
        ("allow", Some(Effect::Allow)),
        ("allow_with_constraints", None),
        ("throttle", None),
        ("require_approval", None),
        ("deny", Some(Effect::Deny)),
    ];
    let node = reader.required(fields, "decision", what)?;
    let effect = reader.choice(node, "decision", WORDS)?;
    if effect.is_none()
        && let Value::Text(word) = &node.value
    {
        reader.later(node.line, &format!("`decision: {word}` in {what}"));
    }
    effect
}

/// Outer `None`: it was wrong. Inner `None`: it was not given.
fn reason(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Option<Box<str>>> {
    let Some(node) = fields.get("reason") else { return Some(None) };
    let text = reader.text(node, &format!("`reason` of {what}"))?;
    if text.len() > MAX_REASON {
        reader.wrong(
            node.line,
            format!("`reason` of {what} has {} bytes, more than {MAX_REASON}", text.len()),
            "shorten it; it is stored with every decision",
        );
        return None;
    }
    Some(Some(text.into()))
}

fn controls(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Vec<Box<str>>> {
    let Some(node) = fields.get("controls") else { return Some(Vec::new()) };
    let items = reader.list(node, &format!("`controls` of {what}"))?;
    items.iter().map(|item| reader.name(item, &format!("a control of {what}")).map(Box::from)).collect()
}

fn remediations(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Vec<Remediation> {
    let Some(node) = fields.get("remediations") else { return Vec::new() };
    let Some(items) = reader.list(node, &format!("`remediations` of {what}")) else { return Vec::new() };
    let mut ids = BTreeSet::new();
    let mut list = Vec::new();
    for item in items {
        let what = format!("a remediation of {what}");
        let Some(entry) = reader.fields(item, &what) else { continue };
        let known = ["id", "title", "summary", "replacement_topic", "replacement_capability"];
        reader.only(entry, &what, &known, &["add_labels", "remove_labels"]);
        let id = reader.required(entry, "id", &what).and_then(|node| reader.name(node, &format!("`id` of {what}")));
        let Some(id) = id else { continue };
        if !ids.insert(id) {
            reader.wrong(item.line, format!("`{id}` names {what} twice"), "give each its own id");
        }
        list.push(Remediation {
            id: id.into(),
            title: reader.optional_text(entry, "title", &what).map(String::from),
            summary: reader.optional_text(entry, "summary", &what).map(String::from),
            replacement_topic: reader.optional_text(entry, "replacement_topic", &what).map(String::from),
            replacement_capability: reader.optional_text(entry, "replacement_capability", &what).map(String::from),
            ..Remediation::default()
        });
    }
    list
}

fn matches(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Match> {
    let Some(node) = fields.get("match") else {
        reader.wrong(
            fields.line,
            format!("{what} has no `match`"),
            "say what it is about, or write `match: {}` for every job",
        );
        return None;
    };
    let inner = format!("`match` of {what}");
    let entry = reader.fields(node, &inner)?;
    reader.only(entry, &inner, MATCH_KNOWN, MATCH_LATER);
    let tenants = reader.texts(entry, "tenants", what);
    let topics = reader.globs(entry, what);
    let capabilities = reader.texts(entry, "capabilities", what);
    let risk_tags = reader.texts(entry, "risk_tags", what);
    let requires = reader.texts(entry, "requires", what);
    let actor_ids = reader.texts(entry, "actor_ids", what);
    let actor_types = reader.texts(entry, "actor_types", what);
    let labels = labels(reader, entry, what);
    let trusts_claims = trust(reader, fields, entry.get("risk_tags").is_some(), what);
    Some(Match {
        tenants: tenants?,
        topics: topics?,
        capabilities: capabilities?,
        risk_tags: risk_tags?,
        trusts_claims: trusts_claims?,
        requires: requires?,
        actor_ids: actor_ids?,
        actor_types: actor_types?,
        labels: labels?,
    })
}

fn trust(reader: &mut Reader<'_>, fields: Fields<'_>, has_tags: bool, what: &str) -> Option<bool> {
    let Some(node) = fields.get("trust") else { return Some(false) };
    let claimed = reader.choice(node, "trust", &[("derived", false), ("claimed", true)])?;
    if !has_tags {
        reader.wrong(
            node.line,
            format!("`trust` of {what} is about `risk_tags`, which it does not match"),
            "remove `trust`, or add `risk_tags` to its `match`",
        );
        return None;
    }
    Some(claimed)
}

fn labels(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Option<BTreeMap<Box<str>, TextSet>> {
    let Some(node) = entry.get("labels") else { return Some(BTreeMap::new()) };
    let what = format!("`labels` of {what}");
    let fields = reader.fields(node, &what)?;
    let mut labels = BTreeMap::new();
    let mut sound = true;
    for (key, node) in fields.iter() {
        if key.name.is_empty() {
            reader.wrong(key.line, format!("{what} has an empty key"), "write the label's name");
            sound = false;
        }
        let what = format!("label `{}` in {what}", excerpt(&key.name));
        let values = match &node.value {
            Value::List(_) => reader.text_set(node, &what),
            Value::Map(_) => one_of(reader, node, &what),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                reader.text(node, &what).map(|text| TextSet::from([text.into()]))
            }
        };
        match values {
            Some(values) => {
                labels.insert(key.name.as_str().into(), values);
            }
            None => sound = false,
        }
    }
    sound.then_some(labels)
}

/// `{in: [a, b]}`
fn one_of(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<TextSet> {
    let fields = reader.fields(node, what)?;
    reader.only(fields, what, &["in"], &[]);
    let list = reader.required(fields, "in", what)?;
    reader.text_set(list, &format!("`in` of {what}"))
}
