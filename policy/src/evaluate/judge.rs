//! From a ruling to a verdict, and from the verdicts on a chain of principals to one.

use super::combine::Ruling;
use super::derive::Outcome;
use super::scratch::Heard;
use crate::compile::Snapshot;
use crate::effect::Effect;
use crate::subject::Subject;
use crate::verdict::{MAX_WINNERS, Verdict};
use std::sync::Arc;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::{Approval, Escalation, OnTimeout, Throttle};

/// The verdict of a ruling that does not wait.
pub(super) fn verdict(
    snapshot: &Snapshot,
    subject: &Subject<'_>,
    ruling: Ruling,
    tags: &[Outcome],
    heard: &mut Heard,
) -> Verdict {
    let winner = |place: &u32| snapshot.rules.get(*place as usize);
    let winners = || heard.winners.iter().filter_map(winner);
    let mut reason = match winners().next() {
        Some(first) if !ruling.default => Arc::clone(&first.reason),
        _ => {
            Arc::clone(snapshot.defaults.get(subject.tenant).map_or(&snapshot.denied_by_default, |(_, reason)| reason))
        }
    };
    let mut effect = ruling.effect;
    let mut approval = None;
    if effect == Effect::RequireApproval {
        match merged(winners().filter_map(|rule| rule.approval.as_ref())) {
            Ok(merged) => approval = merged,
            Err(Nobody) => {
                effect = Effect::Deny;
                let names: Vec<String> = winners().take(4).map(|rule| format!("`{}`", rule.id)).collect();
                reason = format!(
                    "the rules {} want approvers that have no role in common, so nobody could approve",
                    names.join(", ")
                )
                .into();
            }
        }
    }
    let constrained = matches!(effect, Effect::AllowWithConstraints | Effect::RequireApproval);
    let constraining = heard.constraining.iter().filter(|_| constrained).filter_map(winner);
    let constraints = tightest(constraining.filter_map(|rule| rule.constraints.as_ref()));
    let throttle = match effect {
        Effect::Throttle => slowest(winners().filter_map(|rule| rule.throttle)),
        Effect::Allow | Effect::AllowWithConstraints | Effect::RequireApproval | Effect::Deny => None,
    };
    let rule_ids = match ruling.default {
        true => Vec::new(),
        false => winners().take(MAX_WINNERS).map(|rule| Arc::clone(&rule.id)).collect(),
    };
    let shadow = heard.shadow.iter().take(MAX_WINNERS);
    let shadow =
        shadow.filter_map(|(place, mode)| winner(place).map(|rule| (Arc::clone(&rule.id), rule.effect, *mode)));
    Verdict {
        effect,
        reason,
        rule_ids,
        tags: named(snapshot, tags, Outcome::Present),
        uncertain_tags: named(snapshot, tags, Outcome::Uncertain),
        default_used: ruling.default,
        constraints,
        approval,
        throttle,
        shadow: shadow.collect(),
        spends: if effect == Effect::Deny { Vec::new() } else { std::mem::take(&mut heard.spends) },
    }
}

fn named(snapshot: &Snapshot, tags: &[Outcome], wanted: Outcome) -> Vec<Arc<str>> {
    let states = snapshot.tags.iter().zip(tags);
    states.filter(|(_, state)| **state == wanted).map(|(tag, _)| Arc::clone(tag)).collect()
}

/// Adds the verdict on one more principal of a chain: the most restrictive holds.
pub(super) fn join(held: Verdict, other: Verdict) -> Verdict {
    let (mut most, least) = if other.effect > held.effect { (other, held) } else { (held, other) };
    if most.effect == least.effect {
        for id in least.rule_ids {
            if most.rule_ids.len() < MAX_WINNERS && !most.rule_ids.contains(&id) {
                most.rule_ids.push(id);
            }
        }
        most.default_used &= least.default_used;
    }
    if matches!(most.effect, Effect::AllowWithConstraints | Effect::RequireApproval) {
        most.constraints = tightest(most.constraints.iter().chain(&least.constraints));
    }
    if most.effect == Effect::RequireApproval {
        match merged(most.approval.iter().chain(&least.approval)) {
            Ok(approval) => most.approval = approval,
            Err(Nobody) => {
                most.effect = Effect::Deny;
                most.approval = None;
                most.constraints = None;
                most.reason =
                    "the principals of this job need approvers that have no role in common, so nobody could approve"
                        .into();
            }
        }
    }
    if most.effect == Effect::Throttle {
        most.throttle = slowest([most.throttle, least.throttle].into_iter().flatten());
    }
    for entry in least.shadow {
        if most.shadow.len() < MAX_WINNERS && !most.shadow.contains(&entry) {
            most.shadow.push(entry);
        }
    }
    for spend in least.spends {
        if !most.spends.contains(&spend) {
            most.spends.push(spend);
        }
    }
    if most.effect == Effect::Deny {
        most.spends.clear();
    }
    most
}

/// Constraints merged to the tightest; nothing is copied where there is only one set.
fn tightest<'c>(mut all: impl Iterator<Item = &'c Arc<Constraints>>) -> Option<Arc<Constraints>> {
    let mut tightest = Arc::clone(all.next()?);
    for other in all {
        if **other != *tightest {
            Arc::make_mut(&mut tightest).tighten(other);
        }
    }
    Some(tightest)
}

fn slowest(all: impl Iterator<Item = Throttle>) -> Option<Throttle> {
    all.reduce(|a, b| Throttle {
        retry_after_ms: a.retry_after_ms.max(b.retry_after_ms),
        give_up_after_ms: a.give_up_after_ms.min(b.give_up_after_ms),
    })
}

/// No role may approve.
pub(super) struct Nobody;

/// Approvals merged to the tightest: who approves must do for every rule, by the latest time any of them asks for.
fn merged<'a>(mut all: impl Iterator<Item = &'a Arc<Approval>>) -> Result<Option<Arc<Approval>>, Nobody> {
    let Some(first) = all.next() else { return Ok(None) };
    let mut merged = Arc::clone(first);
    for other in all {
        if **other != *merged {
            merged = Arc::new(both(&merged, other)?);
        }
    }
    Ok(Some(merged))
}

fn both(a: &Approval, b: &Approval) -> Result<Approval, Nobody> {
    let ttl_ms = a.ttl_ms.min(b.ttl_ms);
    let (approvers, mut escalate) = if a.approvers.is_empty() && b.approvers.is_empty() {
        // Any approver will do for both, so going on to others adds nobody.
        (Vec::new(), Vec::new())
    } else {
        let roles = |approval: &Approval| {
            let later = approval.escalate.iter().map(|step| step.to.clone());
            approval.approvers.iter().cloned().chain(later).collect::<Vec<_>>()
        };
        let mut all = roles(a);
        all.extend(roles(b));
        all.sort_unstable();
        all.dedup();
        let timed = all.into_iter().filter_map(|role| {
            let after = from(a, &role)?.max(from(b, &role)?);
            (after < ttl_ms).then_some((role, after))
        });
        let (now, later): (Vec<_>, Vec<_>) = timed.partition(|(_, after)| *after == 0);
        let later = later.into_iter().map(|(to, after_ms)| Escalation { after_ms, to }).collect();
        let now: Vec<String> = now.into_iter().map(|(role, _)| role).collect();
        // Empty would mean anybody.
        if now.is_empty() {
            return Err(Nobody);
        }
        (now, later)
    };
    escalate.sort_by(|x: &Escalation, y| (x.after_ms, &x.to).cmp(&(y.after_ms, &y.to)));
    Ok(Approval { approvers, quorum: a.quorum.max(b.quorum), ttl_ms, on_timeout: OnTimeout::Deny, escalate })
}

/// From when on a role may approve, in milliseconds; `None` for never.
fn from(approval: &Approval, role: &str) -> Option<u64> {
    if approval.approvers.is_empty() || approval.approvers.iter().any(|approver| approver == role) {
        return Some(0);
    }
    approval.escalate.iter().filter(|step| step.to == role).map(|step| step.after_ms).min()
}
