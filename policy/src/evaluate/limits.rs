//! What a rule's `state` asks of whoever keeps limits.

use super::derive::{number, text};
use super::payload::{Found, locate};
use super::residual::Sight;
use super::scratch::{Heard, Match};
use crate::language::{KeyPart, Measure, Pointer, Rule, StateCondition};
use crate::limit::{LimitView, Standing};
use crate::subject::present;
use sha2::{Digest, Sha256};
use simd_json::{Node, StaticNode};
use std::fmt::Write;
use std::sync::Arc;
use tidegate_protocol::limits::{Amount, LimitUse, Member};

/// What limits say of a rule.
pub(super) enum Answer {
    /// They would be exceeded: the rule matches.
    Holds(Match),
    /// One admits the job: the rule does not match.
    Within,
    /// One is not known.
    Unknown,
}

/// Limits, and the job that would spend of them.
pub(super) struct Asking<'a, 'l> {
    pub(super) sight: Sight<'a>,
    pub(super) limits: &'l mut dyn LimitView,
}

impl Asking<'_, '_> {
    /// Asks every limit of the rule: what admits the job is spent by it even where another limit does not.
    pub(super) fn ask(&mut self, rule: &Rule, matching: Match, heard: &mut Heard) -> Answer {
        let (mut within, mut unknown, mut unsure) = (false, false, matching.unsure);
        for condition in &rule.state {
            let Some(wanted) = wanted(condition, self.sight) else {
                // What would be spent cannot be told: as if exceeded.
                unsure = true;
                continue;
            };
            match self.limits.standing(&wanted) {
                Standing::Exceeded => {}
                Standing::Within => {
                    within = true;
                    heard.spends.push(wanted);
                }
                Standing::Unknown => {
                    unknown = true;
                    heard.unknown.push(wanted);
                }
            }
        }
        match (unknown, within) {
            (true, _) => Answer::Unknown,
            (false, true) => Answer::Within,
            (false, false) => Answer::Holds(Match { unsure, ..matching }),
        }
    }
}

/// What the job would spend; `None` when that cannot be told.
pub(super) fn wanted(condition: &StateCondition, sight: Sight<'_>) -> Option<LimitUse> {
    let (amount, member) = match &condition.measure {
        Measure::One => (Amount::ONE, None),
        Measure::Sum(field) => (number(value(sight, field)?.first()?)?.amount()?, None),
        Measure::Distinct(field) => (Amount::ONE, Some(Member::of(scalar(value(sight, field)?)?.as_bytes()))),
    };
    let key = key(condition, sight)?;
    Some(LimitUse {
        limit: condition.limit.clone(),
        definition: Arc::clone(&condition.definition),
        key: key.into(),
        amount,
        member,
    })
}

/// Every part with its length before it, the tenant first unless the limit is global; hashed when it is long.
fn key(condition: &StateCondition, sight: Sight<'_>) -> Option<String> {
    let mut key = String::new();
    let mut push = |part: &str| {
        // Writing to a text cannot fail.
        let _ = write!(key, "{}:{part}", part.len());
    };
    if !condition.global {
        push(present(sight.subject.tenant)?);
    }
    for part in &condition.key {
        match part {
            // It stands there already.
            KeyPart::Tenant if !condition.global => {}
            KeyPart::Tenant => push(present(sight.subject.tenant)?),
            KeyPart::ActorId => push(sight.subject.actor_id.and_then(present)?),
            KeyPart::ActorType => push(sight.subject.actor_type.and_then(present)?),
            KeyPart::Capability => push(present(sight.subject.capability)?),
            KeyPart::Topic => push(present(sight.subject.topic)?),
            KeyPart::PackId => push(sight.subject.pack_id.and_then(present)?),
            KeyPart::Label(label) => push(labelled(sight, label)?),
            KeyPart::Payload(field) => push(&scalar(value(sight, field)?)?),
        }
    }
    if key.len() > LimitUse::MOST_KEY {
        return Some(format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes()))));
    }
    Some(key)
}

/// The label's value; `None` when it is missing or there are two.
fn labelled<'a>(sight: Sight<'a>, label: &str) -> Option<&'a str> {
    let mut values = (None, false);
    sight.subject.labels.each(&mut |name, value| {
        if name == label {
            values = (Some(value), values.0.is_some());
        }
    });
    values.0.filter(|_| !values.1).and_then(present)
}

fn value<'a>(sight: Sight<'a>, field: &Pointer) -> Option<&'a [Node<'a>]> {
    match locate(sight.tape?, field) {
        Found::Value(value) => Some(value),
        Found::Missing | Found::Unsound => None,
    }
}

/// A scalar as text, with its kind before it so that `5` and `"5"` are two; equal numbers are one however written.
fn scalar(value: &[Node<'_>]) -> Option<String> {
    let node = value.first()?;
    if let Some(text) = text(node) {
        return Some(format!("s{text}"));
    }
    if let Some(number) = number(node) {
        return Some(format!("n{number}"));
    }
    match node {
        Node::Static(StaticNode::Bool(value)) => Some(format!("b{value}")),
        Node::Static(_) | Node::String(_) | Node::Object { .. } | Node::Array { .. } => None,
    }
}
