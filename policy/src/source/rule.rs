//! One rule.

use super::fields::{Fields, Reader, excerpt};
use super::params::Params;
use super::yaml::{Node, Value};
use super::{consequence, matches, state, window};
use crate::effect::Effect;
use crate::glob::Syntax;
use crate::language::{Canary, CanaryBy, Match, Mode, Rule, Tier, When};
use std::sync::Arc;

const KNOWN: &[&str] = &[
    "id",
    "tier",
    "invariant",
    "mode",
    "canary",
    "controls",
    "reason",
    "match",
    "trust",
    "when",
    "window",
    "state",
    "decision",
    "approval",
    "throttle",
    "constraints",
    "remediations",
];

/// Longest reason, in bytes: it travels with every decision the rule makes.
const MAX_REASON: usize = 1000;

/// What a rule stands in.
pub(super) struct Surroundings<'a> {
    pub(super) bundle: &'a Arc<str>,
    pub(super) syntax: Syntax,
    pub(super) params: &'a Params<'a>,
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, around: &Surroundings<'_>) -> Option<Rule> {
    let fields = reader.fields(node, "a rule")?;
    let id = reader.required(fields, "id", "a rule").and_then(|node| reader.name(node, "`id` of a rule"));
    let what = id.map_or_else(|| "a rule".to_owned(), |id| format!("rule `{id}`"));
    if id == Some(crate::compile::UNGRANTED) {
        reader.wrong(node.line, "the id `grants` stands for what no grant covers", "give the rule another id");
    }
    reader.only(fields, &what, KNOWN, &[]);
    let mode = match fields.get("mode") {
        None => Some(Mode::Enforce),
        Some(node) => {
            reader.choice(node, "mode", &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow), ("warn", Mode::Warn)])
        }
    };
    let canary = canary(reader, fields, mode, &what);
    let tier = match fields.get("tier") {
        None => Some(Tier::Global),
        Some(node) => {
            reader.choice(node, "tier", &[("global", Tier::Global), ("workflow", Tier::Workflow), ("job", Tier::Job)])
        }
    };
    let invariant = reader.flag(fields, "invariant", &what);
    let consequence = consequence::read(reader, fields, &what);
    let effect = consequence.as_ref().map(|consequence| consequence.effect);
    if invariant == Some(true) && effect == Some(Effect::Allow) {
        reader.wrong(
            node.line,
            format!("{what} is an invariant that allows, and a floor that restricts nothing has no meaning"),
            "remove `invariant`, or state what must never happen as a deny",
        );
    }
    let reason = reason(reader, fields, &what);
    let controls = consequence::controls(reader, fields, &what);
    let remediations = consequence::remediations(reader, fields, &what);
    let matches = matching(reader, fields, around.syntax, &what);
    let window = window::read(reader, fields, &what);
    let when = when(reader, fields, &what);
    let state = state::read(reader, fields, id.unwrap_or_default(), around.params, &what);
    if effect == Some(Effect::Allow) && fields.get("state").is_some() {
        reader.wrong(
            node.line,
            format!("{what} would allow only once a limit is exceeded"),
            "say what is restricted beyond the limit: `decision: throttle` or `deny`",
        );
    }
    let (id, consequence) = (id?, consequence?);
    let reason = reason?.unwrap_or_else(|| format!("rule {id}: {}", consequence.effect).into());
    Some(Rule {
        id: id.into(),
        bundle: Arc::clone(around.bundle),
        file: reader.file.into(),
        line: node.line,
        tier: tier?,
        invariant: invariant?,
        mode: mode?,
        canary: canary?,
        effect: consequence.effect,
        reason: Arc::from(reason),
        controls: controls?,
        remediations,
        approval: consequence.approval,
        throttle: consequence.throttle,
        constraints: consequence.constraints,
        matches: matches?,
        window: window?,
        when: when?,
        state: state?,
    })
}

/// `{percent, by}`. Outer `None`: it was wrong.
fn canary(reader: &mut Reader<'_>, fields: Fields<'_>, mode: Option<Mode>, what: &str) -> Option<Option<Canary>> {
    let Some(node) = fields.get("canary") else { return Some(None) };
    let what = format!("`canary` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["percent", "by"], &[]);
    if matches!(mode, Some(Mode::Shadow | Mode::Warn)) {
        reader.wrong(node.line, format!("{what} is a share of a rule that is not enforced"), "remove it or `mode`");
    }
    let percent = reader.required(fields, "percent", &what)?;
    let share = match percent.value {
        Value::Number(number) => {
            number.amount().map(|share| share.0 / 10_000).filter(|share| (1..=10_000).contains(share))
        }
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    };
    let Some(share) = share.and_then(|share| u16::try_from(share).ok()) else {
        reader.wrong(percent.line, format!("`percent` of {what} must be a number from 0.01 to 100"), "correct it");
        return None;
    };
    let node = reader.required(fields, "by", &what)?;
    let text = reader.text(node, &format!("`by` of {what}"))?;
    let by = match text {
        "tenant" => CanaryBy::Tenant,
        "actor_id" => CanaryBy::ActorId,
        "topic" => CanaryBy::Topic,
        "capability" => CanaryBy::Capability,
        "job_id" => CanaryBy::JobId,
        _ => match text.strip_prefix("labels.").filter(|label| !label.is_empty()) {
            Some(label) => CanaryBy::Label(label.into()),
            None => {
                reader.wrong(
                    node.line,
                    format!("unknown `by` `{}` of {what}", excerpt(text)),
                    "use one of: tenant, actor_id, topic, capability, job_id, labels.NAME",
                );
                return None;
            }
        },
    };
    Some(Some(Canary { per_10_000: share, by }))
}

/// Outer `None`: it was wrong. Inner `None`: it was not given.
fn reason(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Option<Box<str>>> {
    let Some(node) = fields.get("reason") else { return Some(None) };
    let text = reader.text(node, format_args!("`reason` of {what}"))?;
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

/// Kept as written: what it may name is known once every bundle is read.
fn when(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Option<When>> {
    let Some(node) = fields.get("when") else { return Some(None) };
    let text = reader.text(node, format_args!("`when` of {what}"))?;
    Some(Some(When { line: node.line, text: text.into(), condition: None }))
}

fn matching(reader: &mut Reader<'_>, fields: Fields<'_>, syntax: Syntax, what: &str) -> Option<Match> {
    let Some(node) = fields.get("match") else {
        reader.wrong(
            fields.line,
            format!("{what} has no `match`"),
            "say what it is about, or write `match: {}` for every job",
        );
        return None;
    };
    let inner = format_args!("`match` of {what}");
    let entry = reader.fields(node, inner)?;
    reader.only(entry, inner, matches::FIELDS, &[]);
    let found = matches::read(reader, entry, syntax, what);
    let trusts_claims = trust(reader, fields, entry.get("risk_tags").is_some(), what);
    Some(Match { trusts_claims: trusts_claims?, ..found? })
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
