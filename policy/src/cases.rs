//! Policy tests: table cases in YAML, beside the bundles they test (`bank.yaml`, `bank.test.yaml`).
//!
//! ```yaml
//! cases:
//!   - name: a wire to a stranger is denied
//!     job: { tenant: acme, topic: job.pay.wire, capability: pay, actor: { id: a1, type: agent },
//!            requires: [net], risk_tags: [big], labels: { env: prod }, payload: { to: X, amount: 5 } }
//!     expect: { verdict: deny, rule: no-strangers, tags: [stranger] }
//! ```
//!
//! `payload_text` gives the exact text instead of `payload`, for what is not JSON. In `expect`, `rule` must be among
//! the winning rules (`default` means that no rule decided), `tags` are exactly the derived ones, `uncertain_tags`
//! exactly those that could not be told; what is left out is not looked at.

use crate::compile::Snapshot;
use crate::evaluate::Scratch;
use crate::language::TextSet;
use crate::problem::Refused;
use crate::source::{Fields, Node, Reader, Value, parse};
use crate::subject::Subject;
use crate::verdict::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Its file, as the caller named it.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// What differed from what was expected; `None` when it passed.
    pub failure: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Runs every case of one file against a snapshot.
///
/// # Errors
/// When the file cannot be read as cases: nothing of it is run, and every problem is named.
pub fn run_cases(snapshot: &Snapshot, file: &str, text: &str) -> Result<Vec<CaseResult>, Refused> {
    let root = parse(file, text).map_err(|problem| Refused::of(vec![problem]))?;
    let mut reader = Reader::new(file);
    let cases = read_all(&mut reader, &root);
    if !reader.problems.is_empty() {
        return Err(Refused::of(reader.problems));
    }
    let mut scratch = Scratch::new();
    Ok(cases.into_iter().map(|case| case.run(snapshot, file, &mut scratch)).collect())
}

struct Case {
    name: String,
    line: u32,
    job: Job,
    expect: Expect,
}

#[derive(Default)]
struct Job {
    tenant: Box<str>,
    topic: Box<str>,
    capability: Box<str>,
    actor_id: Option<Box<str>>,
    actor_type: Option<Box<str>>,
    requires: TextSet,
    risk_tags: TextSet,
    labels: BTreeMap<Box<str>, Box<str>>,
    payload: Vec<u8>,
}

struct Expect {
    verdict: Box<str>,
    rule: Option<Box<str>>,
    tags: Option<TextSet>,
    uncertain_tags: Option<TextSet>,
}

impl Case {
    fn run(self, snapshot: &Snapshot, file: &str, scratch: &mut Scratch) -> CaseResult {
        let job = &self.job;
        let subject = Subject {
            tenant: &job.tenant,
            topic: &job.topic,
            capability: &job.capability,
            actor_id: job.actor_id.as_deref(),
            actor_type: job.actor_type.as_deref(),
            requires: &job.requires,
            risk_tags: &job.risk_tags,
            labels: &job.labels,
            payload: &job.payload,
            ..Subject::new("", "", "")
        };
        let verdict = snapshot.evaluate(&subject, scratch);
        let failure = self.expect.differs(&verdict);
        CaseResult { name: self.name, file: file.to_owned(), line: self.line, failure, verdict }
    }
}

impl Expect {
    fn differs(&self, verdict: &Verdict) -> Option<String> {
        let rules: Vec<&str> = verdict.rule_ids.iter().map(|id| &**id).collect();
        let decided = if rules.is_empty() { "the default".to_owned() } else { quoted(rules.iter().copied()) };
        if *self.verdict != *verdict.effect.word() {
            return Some(format!("expected {}, got {} by {decided}: {}", self.verdict, verdict.effect, verdict.reason));
        }
        match self.rule.as_deref() {
            Some("default") if !verdict.default_used => {
                return Some(format!("expected the default to decide, but {decided} did"));
            }
            Some("default") | None => {}
            Some(rule) if !rules.contains(&rule) => {
                return Some(format!("expected rule `{rule}` to decide, but {decided} did"));
            }
            Some(_) => {}
        }
        let sets =
            [("tags", &self.tags, &verdict.tags), ("uncertain tags", &self.uncertain_tags, &verdict.uncertain_tags)];
        sets.into_iter().find_map(|(what, wanted, got)| {
            let wanted = wanted.as_ref()?;
            let same = wanted.iter().map(|tag| &**tag).eq(got.iter().map(|tag: &Arc<str>| &**tag));
            let (wanted, got) = (quoted(wanted.iter().map(|tag| &**tag)), quoted(got.iter().map(|tag| &**tag)));
            (!same).then(|| format!("expected the {what} [{wanted}], got [{got}]"))
        })
    }
}

fn quoted<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

fn read_all(reader: &mut Reader<'_>, root: &Node) -> Vec<Case> {
    let Some(fields) = reader.fields(root, "a file of cases") else { return Vec::new() };
    reader.only(fields, "a file of cases", &["cases"], &[]);
    let Some(node) = reader.required(fields, "cases", "a file of cases") else { return Vec::new() };
    let Some(items) = reader.filled_list(node, "`cases`") else { return Vec::new() };
    items.iter().filter_map(|item| read(reader, item)).collect()
}

fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Case> {
    let fields = reader.fields(node, "a case")?;
    let name = reader.required(fields, "name", "a case").and_then(|node| reader.text(node, "`name` of a case"))?;
    let what = format!("case `{name}`");
    reader.only(fields, &what, &["name", "job", "expect"], &[]);
    let job = reader.required(fields, "job", &what).and_then(|node| read_job(reader, node, &what));
    let expect = reader.required(fields, "expect", &what).and_then(|node| read_expect(reader, node, &what));
    Some(Case { name: name.to_owned(), line: node.line, job: job?, expect: expect? })
}

fn read_job(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Job> {
    let what = format!("`job` of {what}");
    let fields = reader.fields(node, &what)?;
    let known = [
        "id",
        "tenant",
        "topic",
        "actor",
        "capability",
        "requires",
        "risk_tags",
        "labels",
        "priority",
        "deadline",
        "payload",
        "payload_text",
    ];
    reader.only(fields, &what, &known, &["parent", "payload_base64"]);
    let actor = fields.get("actor").and_then(|node| reader.fields(node, &format!("`actor` of {what}")));
    if let Some(actor) = actor {
        reader.only(actor, &format!("`actor` of {what}"), &["id", "type"], &[]);
    }
    let mut part = |name: &str| actor.and_then(|actor| reader.optional_text(actor, name, &what));
    let (actor_id, actor_type) = (part("id"), part("type"));
    let labels = fields.get("labels").and_then(|node| reader.fields(node, &format!("`labels` of {what}")));
    let labels = labels.into_iter().flat_map(Fields::iter).filter_map(|(key, node)| {
        let value = reader.text(node, &format!("label `{}` of {what}", key.name))?;
        Some((key.name.as_str().into(), value.into()))
    });
    let labels = labels.collect();
    Some(Job {
        tenant: reader.optional_text(fields, "tenant", &what).unwrap_or_default(),
        topic: reader.optional_text(fields, "topic", &what).unwrap_or_default(),
        capability: reader.optional_text(fields, "capability", &what).unwrap_or_default(),
        actor_id,
        actor_type,
        requires: reader.texts(fields, "requires", &what)?,
        risk_tags: reader.texts(fields, "risk_tags", &what)?,
        labels,
        payload: payload(reader, fields, &what),
    })
}

fn payload(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Vec<u8> {
    match (fields.get("payload"), fields.get("payload_text")) {
        (Some(_), Some(node)) => {
            reader.wrong(node.line, format!("{what} has `payload` and `payload_text`"), "keep one of them");
            Vec::new()
        }
        (Some(node), None) => json(node).to_string().into_bytes(),
        // Not `text`: an empty payload is a case worth testing.
        (None, Some(Node { value: Value::Text(text), .. })) => text.as_bytes().to_vec(),
        (None, Some(node)) => {
            reader.wrong(node.line, format!("`payload_text` of {what} must be text"), "put it in quotes");
            Vec::new()
        }
        (None, None) => b"null".to_vec(),
    }
}

fn json(node: &Node) -> serde_json::Value {
    use crate::number::Number;
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        // Only 64-bit integers come out of the YAML reader.
        Value::Number(Number::Int(int)) => match (i64::try_from(*int), u64::try_from(*int)) {
            (Ok(int), _) => int.into(),
            (Err(_), Ok(int)) => int.into(),
            (Err(_), Err(_)) => serde_json::Value::Null,
        },
        Value::Number(Number::Float(float)) => (*float).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| (key.name.clone(), json(node))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn read_expect(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Expect> {
    let what = format!("`expect` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["verdict", "rule", "tags", "uncertain_tags"], &["reason"]);
    let node = reader.required(fields, "verdict", &what)?;
    let verdict = reader.choice(
        node,
        "verdict",
        &[
            ("allow", "allow"),
            ("allow_with_constraints", "allow_with_constraints"),
            ("require_approval", "require_approval"),
            ("throttle", "throttle"),
            ("deny", "deny"),
        ],
    )?;
    let mut set = |name: &str| {
        let node = fields.get(name)?;
        // An empty list is a statement here: no such tags.
        match &node.value {
            Value::List(items) if items.is_empty() => Some(TextSet::new()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                reader.text_set(node, &format!("`{name}` of {what}"))
            }
        }
    };
    let (tags, uncertain_tags) = (set("tags"), set("uncertain_tags"));
    Some(Expect { verdict: verdict.into(), rule: reader.optional_text(fields, "rule", &what), tags, uncertain_tags })
}
