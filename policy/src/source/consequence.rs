//! What a rule decides and what comes with it: approval, throttle, constraints, remediations, controls.

use super::duration;
use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Node, Value};
use crate::effect::Effect;
use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_protocol::constraints::{Budgets, Constraints, Diff, RedactionLevel, Sandbox, Toolchain};
use tidegate_protocol::decision::{Approval, Escalation, OnTimeout, Remediation, Throttle};

/// How long a job waits for people unless its rule says otherwise.
pub const DEFAULT_APPROVAL_TTL_MS: u64 = 24 * 3_600_000;
/// When a throttled job is judged again unless its rule says otherwise.
pub const DEFAULT_RETRY_AFTER_MS: u64 = 30_000;
/// When a throttled job is given up unless its rule says otherwise.
pub const DEFAULT_GIVE_UP_AFTER_MS: u64 = 3_600_000;

/// What comes with a decision.
pub(super) struct Consequence {
    pub(super) effect: Effect,
    pub(super) approval: Option<Arc<Approval>>,
    pub(super) throttle: Option<Throttle>,
    pub(super) constraints: Option<Arc<Constraints>>,
}

pub(super) const WORDS: &[(&str, Effect)] = &[
    ("allow", Effect::Allow),
    ("allow_with_constraints", Effect::AllowWithConstraints),
    ("throttle", Effect::Throttle),
    ("require_approval", Effect::RequireApproval),
    ("deny", Effect::Deny),
];

pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Consequence> {
    let node = reader.required(fields, "decision", what)?;
    let effect = reader.choice(node, "decision", WORDS)?;
    let fits = belongs(reader, fields, "approval", &[Effect::RequireApproval], effect, what)
        & belongs(reader, fields, "throttle", &[Effect::Throttle], effect, what)
        & belongs(
            reader,
            fields,
            "constraints",
            &[Effect::AllowWithConstraints, Effect::RequireApproval],
            effect,
            what,
        );
    let approval = (effect == Effect::RequireApproval).then(|| approval(reader, fields, what));
    let throttle = (effect == Effect::Throttle).then(|| throttle(reader, fields, what));
    let constraints = constraints(reader, fields, what);
    if effect == Effect::AllowWithConstraints && fields.get("constraints").is_none() {
        reader.wrong(
            node.line,
            format!("{what} allows with constraints and has none"),
            "add `constraints`, or write `decision: allow`",
        );
        return None;
    }
    let approval = match approval {
        Some(approval) => Some(Arc::new(approval?)),
        None => None,
    };
    let throttle = match throttle {
        Some(throttle) => Some(throttle?),
        None => None,
    };
    let constraints = constraints?.map(Arc::new);
    fits.then_some(Consequence { effect, approval, throttle, constraints })
}

fn belongs(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, to: &[Effect], effect: Effect, what: &str) -> bool {
    let Some(node) = fields.get(name).filter(|_| !to.contains(&effect)) else { return true };
    let words: Vec<_> = to.iter().map(|effect| format!("`decision: {effect}`")).collect();
    reader.wrong(
        node.line,
        format!("`{name}` of {what} has no meaning with `decision: {effect}`"),
        format!("remove it, or write {}", words.join(" or ")),
    );
    false
}

fn approval(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Approval> {
    let default = Approval {
        approvers: Vec::new(),
        quorum: 1,
        ttl_ms: DEFAULT_APPROVAL_TTL_MS,
        on_timeout: OnTimeout::Deny,
        escalate: Vec::new(),
    };
    let Some(node) = fields.get("approval") else { return Some(default) };
    let what = format!("`approval` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["approvers", "quorum", "ttl", "on_timeout", "escalate"], &[]);
    let approvers = reader.texts(fields, "approvers", &what);
    let quorum = match fields.get("quorum") {
        None => Some(1),
        Some(node) => whole(reader, node, &format!("`quorum` of {what}"), 1, 100).and_then(|n| u32::try_from(n).ok()),
    };
    let ttl_ms = match fields.get("ttl") {
        None => Some(DEFAULT_APPROVAL_TTL_MS),
        Some(node) => duration::read(reader, node, &format!("`ttl` of {what}")),
    };
    if let Some(node) = fields.get("on_timeout") {
        if matches!(&node.value, Value::Text(word) if word == "allow") {
            reader.wrong(
                node.line,
                format!("`on_timeout: allow` of {what} would take silence for an approval"),
                "write `on_timeout: deny`",
            );
        } else {
            reader.choice(node, "on_timeout", &[("deny", OnTimeout::Deny)])?;
        }
    }
    let escalate = escalate(reader, fields, &what);
    let ttl_ms = ttl_ms?;
    let mut escalate = escalate?;
    escalate.sort_by(|a, b| (a.after_ms, &a.to).cmp(&(b.after_ms, &b.to)));
    if let Some(late) = escalate.iter().find(|step| step.after_ms >= ttl_ms) {
        reader.wrong(
            node.line,
            format!("{what} goes to `{}` only when its `ttl` is over", late.to),
            "escalate earlier or raise `ttl`",
        );
        return None;
    }
    Some(Approval {
        approvers: approvers?.iter().map(|role| role.to_string()).collect(),
        quorum: quorum?,
        ttl_ms,
        on_timeout: OnTimeout::Deny,
        escalate,
    })
}

fn escalate(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Vec<Escalation>> {
    let Some(node) = fields.get("escalate") else { return Some(Vec::new()) };
    let what = format!("`escalate` of {what}");
    let mut steps = Vec::new();
    let mut sound = true;
    for item in reader.filled_list(node, &what)? {
        let fields = reader.fields(item, &format!("an entry of {what}"))?;
        reader.only(fields, &what, &["after", "to"], &[]);
        let after = reader
            .required(fields, "after", &what)
            .and_then(|node| duration::read(reader, node, &format!("`after` of {what}")));
        let to = reader.required(fields, "to", &what).and_then(|node| reader.text(node, &format!("`to` of {what}")));
        match after.zip(to) {
            Some((after_ms, to)) => steps.push(Escalation { after_ms, to: to.to_owned() }),
            None => sound = false,
        }
    }
    sound.then_some(steps)
}

fn throttle(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Throttle> {
    let default = Throttle { retry_after_ms: DEFAULT_RETRY_AFTER_MS, give_up_after_ms: DEFAULT_GIVE_UP_AFTER_MS };
    let Some(node) = fields.get("throttle") else { return Some(default) };
    let what = format!("`throttle` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["retry_after", "give_up_after"], &[]);
    let mut time = |name: &str, default: u64| match fields.get(name) {
        None => Some(default),
        Some(node) => duration::read(reader, node, &format!("`{name}` of {what}")),
    };
    let retry_after_ms = time("retry_after", default.retry_after_ms);
    let give_up_after_ms = time("give_up_after", default.give_up_after_ms.max(retry_after_ms.unwrap_or(0)));
    let throttle = Throttle { retry_after_ms: retry_after_ms?, give_up_after_ms: give_up_after_ms? };
    if throttle.give_up_after_ms < throttle.retry_after_ms {
        reader.wrong(
            node.line,
            format!("{what} gives up before it tries again"),
            "make `give_up_after` at least `retry_after`",
        );
        return None;
    }
    Some(throttle)
}

/// Outer `None`: it was wrong.
fn constraints(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Option<Constraints>> {
    let Some(node) = fields.get("constraints") else { return Some(None) };
    let what = format!("`constraints` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["budgets", "sandbox", "toolchain", "diff", "redaction_level"], &[]);
    let mut constraints = Constraints::default();
    let mut sound = true;
    if let Some((fields, what)) = section(reader, fields, "budgets", &what) {
        let known = ["max_runtime_ms", "max_retries", "max_artifact_bytes", "max_concurrent_jobs", "max_tokens"];
        reader.only(fields, &what, &known, &[]);
        let mut most = |name: &str, least: u64| bound(reader, fields, name, least, &what, &mut sound);
        constraints.budgets = Budgets {
            max_runtime_ms: most("max_runtime_ms", 1),
            max_retries: most("max_retries", 0).and_then(|n| u32::try_from(n).ok()),
            max_artifact_bytes: most("max_artifact_bytes", 0),
            max_concurrent_jobs: most("max_concurrent_jobs", 1).and_then(|n| u32::try_from(n).ok()),
            max_tokens: most("max_tokens", 0),
        };
    }
    if let Some((fields, what)) = section(reader, fields, "sandbox", &what) {
        reader.only(fields, &what, &["isolated", "network_allowlist", "fs_read_only", "fs_read_write"], &[]);
        let isolated = reader.flag(fields, "isolated", &what);
        sound &= isolated.is_some();
        let mut list = |name: &str| list(reader, fields, name, &what, &mut sound);
        constraints.sandbox = Sandbox {
            isolated: isolated.unwrap_or_default(),
            network_allowlist: list("network_allowlist"),
            fs_read_only: list("fs_read_only"),
            fs_read_write: list("fs_read_write"),
        };
    }
    if let Some((fields, what)) = section(reader, fields, "toolchain", &what) {
        reader.only(fields, &what, &["allowed_tools", "allowed_commands"], &[]);
        let mut list = |name: &str| list(reader, fields, name, &what, &mut sound);
        constraints.toolchain =
            Toolchain { allowed_tools: list("allowed_tools"), allowed_commands: list("allowed_commands") };
    }
    if let Some((fields, what)) = section(reader, fields, "diff", &what) {
        reader.only(fields, &what, &["max_files", "max_lines", "deny_path_globs"], &[]);
        let mut most =
            |name: &str| bound(reader, fields, name, 0, &what, &mut sound).and_then(|n| u32::try_from(n).ok());
        let (max_files, max_lines) = (most("max_files"), most("max_lines"));
        let deny_path_globs = list(reader, fields, "deny_path_globs", &what, &mut sound).unwrap_or_default();
        constraints.diff = Diff { max_files, max_lines, deny_path_globs };
    }
    if let Some(node) = fields.get("redaction_level") {
        use RedactionLevel::{Low, None, Standard, Strict};
        let words = [None, Low, Standard, Strict].map(|level| (level.word(), level));
        constraints.redaction_level = reader.choice(node, "redaction_level", &words);
        sound &= constraints.redaction_level.is_some();
    }
    if sound && constraints.is_empty() {
        reader.wrong(node.line, format!("{what} constrain nothing"), "say what the job must keep to, or remove them");
        return None;
    }
    sound.then_some(Some(constraints))
}

fn section<'n>(reader: &mut Reader<'_>, fields: Fields<'n>, name: &str, what: &str) -> Option<(Fields<'n>, String)> {
    let what = format!("`{name}` of {what}");
    fields.get(name).and_then(|node| reader.fields(node, &what)).map(|fields| (fields, what))
}

/// A whole number that fits the field's 32 bits too.
fn bound(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    name: &str,
    least: u64,
    what: &str,
    sound: &mut bool,
) -> Option<u64> {
    let node = fields.get(name)?;
    let found = whole(reader, node, &format!("`{name}` of {what}"), least, u32::MAX.into());
    *sound &= found.is_some();
    found
}

fn whole(reader: &mut Reader<'_>, node: &Node, what: &str, least: u64, most: u64) -> Option<u64> {
    if let Value::Number(Number::Int(value)) = node.value
        && let Ok(value) = u64::try_from(value)
        && (least..=most).contains(&value)
    {
        return Some(value);
    }
    reader.wrong(node.line, format!("{what} must be a whole number from {least} to {most}"), "correct it or remove it");
    None
}

/// A list of texts; an empty one allows nothing, and is meant.
fn list(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    name: &str,
    what: &str,
    sound: &mut bool,
) -> Option<BTreeSet<String>> {
    let node = fields.get(name)?;
    let what = format!("`{name}` of {what}");
    let items = reader.list(node, &what).map(|items| {
        items.iter().map(|item| reader.text(item, &format!("an entry of {what}")).map(str::to_owned)).collect()
    });
    let list: Option<BTreeSet<String>> = items.flatten();
    *sound &= list.is_some();
    list
}

pub(super) fn controls(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Vec<Box<str>>> {
    let Some(node) = fields.get("controls") else { return Some(Vec::new()) };
    let items = reader.list(node, &format!("`controls` of {what}"))?;
    items.iter().map(|item| reader.name(item, &format!("a control of {what}")).map(Box::from)).collect()
}

pub(super) fn remediations(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Vec<Remediation> {
    let Some(node) = fields.get("remediations") else { return Vec::new() };
    let Some(items) = reader.list(node, &format!("`remediations` of {what}")) else { return Vec::new() };
    let mut ids = BTreeSet::new();
    let mut list = Vec::new();
    for item in items {
        let what = format!("a remediation of {what}");
        let Some(entry) = reader.fields(item, &what) else { continue };
        let known =
            ["id", "title", "summary", "replacement_topic", "replacement_capability", "add_labels", "remove_labels"];
        reader.only(entry, &what, &known, &[]);
        let id = reader.required(entry, "id", &what).and_then(|node| reader.name(node, &format!("`id` of {what}")));
        let Some(id) = id else { continue };
        if !ids.insert(id) {
            reader.wrong(item.line, format!("`{id}` names {what} twice"), "give each its own id");
        }
        let mut text = |name: &str| reader.optional_text(entry, name, &what).map(String::from);
        let (title, summary) = (text("title"), text("summary"));
        let (replacement_topic, replacement_capability) = (text("replacement_topic"), text("replacement_capability"));
        list.push(Remediation {
            id: id.into(),
            title,
            summary,
            replacement_topic,
            replacement_capability,
            add_labels: added(reader, entry, &what),
            remove_labels: reader
                .texts(entry, "remove_labels", &what)
                .unwrap_or_default()
                .iter()
                .map(|label| label.to_string())
                .collect(),
        });
    }
    list
}

fn added(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> BTreeMap<String, String> {
    let Some(node) = entry.get("add_labels") else { return BTreeMap::new() };
    let what = format!("`add_labels` of {what}");
    let Some(fields) = reader.fields(node, &what) else { return BTreeMap::new() };
    let label = |(key, node): (&super::yaml::Key, &Node)| {
        let value = reader.text(node, &format!("label `{}` in {what}", excerpt(&key.name)))?;
        Some((key.name.clone(), value.to_owned()))
    };
    fields.iter().filter_map(label).collect()
}
