//! One rule of the file.

use super::Note;
use super::file::{cannot, global, is_unset};
use super::lists::{Mcp, read_mcp};
use crate::effect::Effect;
use crate::glob::{Glob, Syntax};
use crate::number::Number;
use crate::source::{Fields, Node, Reader, Value};
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::Remediation;

/// A rule that can be carried over.
pub(super) struct Rule {
    pub(super) line: u32,
    pub(super) id: String,
    pub(super) effect: Effect,
    pub(super) reason: Option<String>,
    pub(super) wants: Wants,
    pub(super) velocity: Option<Velocity>,
    pub(super) constraints: Constraints,
    pub(super) remediations: Vec<Remediation>,
}

/// What it asks of a job. An empty list asks nothing.
#[derive(Default)]
pub(super) struct Wants {
    pub(super) tenants: Vec<String>,
    pub(super) topics: Vec<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) risk_tags: Vec<String>,
    pub(super) requires: Vec<String>,
    pub(super) pack_ids: Vec<String>,
    pub(super) actor_ids: Vec<String>,
    pub(super) actor_types: Vec<String>,
    pub(super) labels: Vec<(String, String)>,
    /// Any of these labels is there with another value than these.
    pub(super) label_allowlist: Vec<(String, Vec<String>)>,
    /// The label is there, a number, and above this.
    pub(super) label_threshold: Option<(String, Number)>,
    pub(super) secrets_present: Option<bool>,
    pub(super) mcp: Mcp,
}

/// The rule matches only beyond so many jobs in a sliding window.
pub(super) struct Velocity {
    pub(super) most: u64,
    pub(super) seconds: u64,
    /// Parts of a key, in the words of `state`.
    pub(super) key: Vec<String>,
}

const KNOWN: &[&str] =
    &["id", "tier", "selector", "match", "velocity", "decision", "reason", "constraints", "remediations"];
const MATCH: &[&str] = &[
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "requires",
    "pack_ids",
    "actor_ids",
    "actor_types",
    "labels",
    "label_allowlist",
    "label_threshold",
    "secrets_present",
    "mcp",
];
/// What is looked up about the agent or the chain of delegations elsewhere.
const MATCH_ELSEWHERE: &[&str] = &["agent_risk_tiers", "agent_data_classifications", "predicate", "delegation"];

const DECISIONS: &[(&str, Effect)] = &[
    ("allow", Effect::Allow),
    ("permit", Effect::Allow),
    ("allow_with_constraints", Effect::AllowWithConstraints),
    ("allow-with-constraints", Effect::AllowWithConstraints),
    ("require_approval", Effect::RequireApproval),
    ("require-approval", Effect::RequireApproval),
    ("require_human", Effect::RequireApproval),
    ("throttle", Effect::Throttle),
    ("deny", Effect::Deny),
    ("block", Effect::Deny),
];

pub(super) fn read_all(reader: &mut Reader<'_>, fields: Fields<'_>, notes: &mut Vec<Note>) -> Vec<Rule> {
    let Some(node) = fields.get("rules").filter(|node| !matches!(node.value, Value::Null)) else { return Vec::new() };
    let Some(items) = reader.list(node, "`rules`") else { return Vec::new() };
    items.iter().filter_map(|item| read(reader, item, notes)).collect()
}

fn read(reader: &mut Reader<'_>, node: &Node, notes: &mut Vec<Note>) -> Option<Rule> {
    let fields = reader.fields(node, "a rule")?;
    let id = reader.required(fields, "id", "a rule").and_then(|node| reader.name(node, "`id` of a rule"));
    let what = id.map_or_else(|| "a rule".to_owned(), |id| format!("rule `{id}`"));
    for (key, _) in fields.iter().filter(|(key, _)| !KNOWN.contains(&key.name.as_str())) {
        reader.unknown(key, &what, KNOWN);
    }
    global(reader, fields, &what);
    let effect = decision(reader, fields, &what);
    let reason = optional(reader, fields, "reason", &what);
    let wants = wants(reader, fields, &what);
    let velocity = velocity(reader, fields, &what);
    let constraints = constraints(reader, fields, &what);
    let remediations = remediations(reader, fields, &what);
    let (id, mut effect, wants) = (id?, effect?, wants?);
    if effect == Effect::Allow && !constraints.is_empty() {
        effect = Effect::AllowWithConstraints;
    }
    if effect == Effect::AllowWithConstraints && constraints.is_empty() {
        effect = Effect::Allow;
    }
    if effect >= Effect::Throttle && !constraints.is_empty() {
        cannot(reader, node.line, &format!("`constraints` of {what}, which lets no job run,"), "remove them");
    }
    if velocity.is_some() && effect <= Effect::AllowWithConstraints {
        cannot(
            reader,
            node.line,
            &format!("`velocity` of {what}, which would allow only beyond a rate,"),
            "say what is restricted beyond it",
        );
    }
    let keyed =
        velocity.as_ref().is_some_and(|velocity| velocity.key.iter().any(|part| part != "tenant" && part != "topic"));
    if effect != Effect::Allow && (keyed || wants.looks_at_attributes()) {
        let text =
            format!("{what} restricts: a job that lacks an attribute it looks at matches it here, and there not");
        notes.push(Note { line: node.line, text });
    }
    if wants.secrets_present.is_some() {
        let text = format!("{what} asks for secrets: here that is a payload with what looks like a credential");
        notes.push(Note { line: node.line, text });
    }
    let (line, id) = (node.line, id.to_owned());
    Some(Rule { line, id, effect, reason, wants, velocity, constraints, remediations })
}

impl Wants {
    /// Whether a job could lack what it looks at; topic and tenant every job has.
    fn looks_at_attributes(&self) -> bool {
        let lists = [&self.capabilities, &self.pack_ids, &self.actor_ids, &self.actor_types];
        lists.iter().any(|list| !list.is_empty()) || !self.labels.is_empty()
    }
}

fn decision(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Effect> {
    let node = reader.required(fields, "decision", what)?;
    let text = reader.text(node, &format!("`decision` of {what}"))?;
    // Any case and blanks around it are taken there too; an unknown word denies there, and is refused here.
    let plain = text.trim().to_ascii_lowercase();
    let found = DECISIONS.iter().find(|(word, _)| *word == plain).map(|&(_, effect)| effect);
    if found.is_none() {
        let words: Vec<_> = DECISIONS.iter().map(|(word, _)| *word).collect();
        reader.wrong(
            node.line,
            format!("unknown decision `{text}` of {what}"),
            format!("use one of: {}", words.join(", ")),
        );
    }
    found
}

/// Text, or nothing where it is blank.
pub(super) fn optional(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, what: &str) -> Option<String> {
    let node = fields.get(name).filter(|node| !is_unset(node))?;
    reader.text(node, &format!("`{name}` of {what}")).map(str::to_owned)
}

/// Names without blanks around them, each once.
pub(super) fn names(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, what: &str) -> Vec<String> {
    let Some(node) = fields.get(name).filter(|node| !matches!(node.value, Value::Null)) else { return Vec::new() };
    let what = format!("`{name}` of {what}");
    let Some(items) = reader.list(node, &what) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, &format!("an entry of {what}")).map(str::trim) else { continue };
        if text.is_empty() {
            reader.wrong(item.line, format!("an entry of {what} is blank"), "there it matches nothing; remove it");
        } else if !names.iter().any(|name| name == text) {
            names.push(text.to_owned());
        }
    }
    names
}

/// Topic patterns; blank ones match nothing there, classes and escapes have no like here.
pub(super) fn patterns(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, what: &str) -> Vec<String> {
    let Some(node) = fields.get(name).filter(|node| !is_unset(node)) else { return Vec::new() };
    let what = format!("`{name}` of {what}");
    let Some(items) = reader.list(node, &what) else { return Vec::new() };
    let mut patterns: Vec<String> = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, &format!("an entry of {what}")).map(str::trim) else { continue };
        match Glob::parse(text, Syntax::Path) {
            Ok(_) if patterns.iter().any(|pattern| pattern == text) => {}
            Ok(_) => patterns.push(text.to_owned()),
            Err(why) => {
                let pattern = format!("the pattern `{text}` in {what}: {why}; it");
                cannot(reader, item.line, &pattern, Syntax::Path.remedy());
            }
        }
    }
    patterns
}

fn wants(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Wants> {
    let Some(node) = fields.get("match").filter(|node| !matches!(node.value, Value::Null)) else {
        return Some(Wants::default());
    };
    let inner = format!("`match` of {what}");
    let entry = reader.fields(node, &inner)?;
    for (key, node) in entry.iter() {
        let name = key.name.as_str();
        if MATCH_ELSEWHERE.contains(&name) {
            if !is_unset(node) {
                cannot(reader, key.line, &format!("`{name}` in {inner}"), "match actors, labels or `when` instead");
            }
        } else if !MATCH.contains(&name) {
            reader.unknown(key, &inner, MATCH);
        }
    }
    Some(Wants {
        tenants: names(reader, entry, "tenants", what),
        topics: patterns(reader, entry, "topics", what),
        capabilities: names(reader, entry, "capabilities", what),
        risk_tags: names(reader, entry, "risk_tags", what),
        requires: names(reader, entry, "requires", what),
        pack_ids: names(reader, entry, "pack_ids", what),
        actor_ids: names(reader, entry, "actor_ids", what),
        actor_types: names(reader, entry, "actor_types", what),
        labels: labels(reader, entry, what),
        label_allowlist: allowlist(reader, entry, what),
        label_threshold: threshold(reader, entry, what),
        secrets_present: match entry.get("secrets_present") {
            None => None,
            Some(_) => reader.flag(entry, "secrets_present", what),
        },
        mcp: read_mcp(reader, entry, what),
    })
}

/// A map's entries, with their keys.
fn map<'n>(reader: &mut Reader<'_>, entry: Fields<'n>, name: &str, what: &str) -> Vec<(&'n str, &'n Node)> {
    let Some(node) = entry.get(name).filter(|node| !matches!(node.value, Value::Null)) else { return Vec::new() };
    let Some(fields) = reader.fields(node, &format!("`{name}` of {what}")) else { return Vec::new() };
    fields.iter().map(|(key, node)| (key.name.as_str(), node)).collect()
}

fn labels(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    for (key, node) in map(reader, entry, "labels", what) {
        if let Some(value) = reader.text(node, &format!("label `{key}` of {what}")) {
            labels.push((key.to_owned(), value.to_owned()));
        }
    }
    labels
}

fn allowlist(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Vec<(String, Vec<String>)> {
    let mut lists = Vec::new();
    for (key, node) in map(reader, entry, "label_allowlist", what) {
        let what = format!("`label_allowlist` for `{key}` of {what}");
        let Some(items) = reader.list(node, &what) else { continue };
        let values = items.iter().filter_map(|item| reader.text(item, &format!("an entry of {what}")));
        let values: Vec<String> = values.map(|value| value.trim().to_owned()).collect();
        lists.push((key.to_owned(), values));
    }
    lists
}

fn threshold(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Option<(String, Number)> {
    let thresholds = map(reader, entry, "label_threshold", what);
    if let [_, (key, node), ..] = thresholds.as_slice() {
        let which = format!("`label_threshold` of {what} for more than one label (`{key}`)");
        cannot(reader, node.line, &which, "write a rule for each label");
    }
    let (key, node) = thresholds.first()?;
    let Value::Number(most) = node.value else {
        let reason = format!("`label_threshold` for `{key}` of {what} must be a number, not {}", node.value.kind());
        reader.wrong(node.line, reason, "write a number");
        return None;
    };
    Some(((*key).to_owned(), most))
}

fn velocity(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Velocity> {
    let node = fields.get("velocity").filter(|node| !matches!(node.value, Value::Null))?;
    let inner = format!("`velocity` of {what}");
    let entry = reader.fields(node, &inner)?;
    reader.only(entry, &inner, &["max_requests", "window_seconds", "key"], &[]);
    let most = reader.required(entry, "max_requests", &inner).and_then(|node| reader.whole(node, &inner));
    let seconds = reader.required(entry, "window_seconds", &inner).and_then(|node| reader.whole(node, &inner));
    let node = reader.required(entry, "key", &inner)?;
    let text = reader.text(node, &format!("`key` of {inner}"))?;
    let mut key = Vec::new();
    for part in text.split(':').map(str::trim) {
        let known = ["actor_id", "actor_type", "tenant", "topic", "pack_id", "capability"];
        if known.contains(&part) || part.strip_prefix("labels.").is_some_and(|name| !name.is_empty()) {
            key.push(part.to_owned());
        } else {
            reader.wrong(
                node.line,
                format!("`key` of {inner} has the part `{part}`, which names nothing"),
                format!("use {} or labels.NAME, with `:` between them", known.join(", ")),
            );
        }
    }
    let (most, seconds) = (most?, seconds?);
    if most == 0 || seconds == 0 {
        reader.wrong(node.line, format!("{inner} counts nothing"), "write numbers from 1");
        return None;
    }
    Some(Velocity { most, seconds, key })
}

fn constraints(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Constraints {
    let Some(node) = fields.get("constraints").filter(|node| !is_unset(node)) else { return Constraints::default() };
    // An empty list and a zero are what such files have for a field that is not there.
    let set = without_zeros(node);
    match serde_json::from_value(set) {
        Ok(constraints) => constraints,
        Err(error) => {
            reader.wrong(node.line, format!("`constraints` of {what}: {error}"), "correct or remove it");
            Constraints::default()
        }
    }
}

fn without_zeros(node: &Node) -> serde_json::Value {
    let Value::Map(entries) = &node.value else { return node.to_json() };
    let kept = entries.iter().filter(|(_, node)| !is_unset(node) && node.to_json() != 0 && node.to_json() != false);
    kept.map(|(key, node)| (key.name.clone(), without_zeros(node))).collect::<serde_json::Map<_, _>>().into()
}

fn remediations(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Vec<Remediation> {
    let Some(node) = fields.get("remediations").filter(|node| !is_unset(node)) else { return Vec::new() };
    let Some(items) = reader.list(node, &format!("`remediations` of {what}")) else { return Vec::new() };
    let mut list = Vec::new();
    for item in items {
        match serde_json::from_value(without_zeros(item)) {
            Ok(remediation) => list.push(remediation),
            Err(error) => reader.wrong(item.line, format!("a remediation of {what}: {error}"), "correct or remove it"),
        }
    }
    list
}
