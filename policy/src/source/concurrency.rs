//! `constraints.budgets.max_concurrent_jobs`: a limit beside the rule that asks for it, which no worker could keep to alone.
//!
//! `RULE.max_concurrent_jobs` stands right before the rule, matches the same jobs and throttles a tenant's beyond so many at
//! once. So the rule's jobs are counted where and when it has a say: in its tier, its hours and its mode.

use super::consequence::{DEFAULT_GIVE_UP_AFTER_MS, DEFAULT_RETRY_AFTER_MS};
use super::fields::Reader;
use super::state;
use crate::effect::Effect;
use crate::language::Rule;
use std::sync::Arc;
use tidegate_protocol::decision::Throttle;

/// The rule that keeps another's `max_concurrent_jobs`, where it has one.
pub(super) fn beside(reader: &mut Reader<'_>, rule: &Rule) -> Option<Rule> {
    let most = rule.constraints.as_ref()?.budgets.max_concurrent_jobs?;
    // A state or a share of the jobs says who the rule is about; the limit beside it would be about all that match.
    let narrower = [(rule.canary.is_some(), "a `canary`"), (!rule.state.is_empty(), "a `state`")];
    if let Some((_, what)) = narrower.iter().find(|(is, _)| *is) {
        reader.wrong(
            rule.line,
            format!("rule `{}` has `max_concurrent_jobs` and {what}: which of its jobs would count?", rule.id),
            "remove one of them, or write a limit of its own (`state: [{ concurrency: jobs, key: [], gt: N }]`)",
        );
        return None;
    }
    let id = format!("{}.max_concurrent_jobs", rule.id);
    let limit = state::concurrency(&id, most);
    if limit.is_none() {
        reader.wrong(rule.line, format!("the id of rule `{}` is too long for a limit", rule.id), "shorten it");
    }
    Some(Rule {
        reason: format!("rule {}: {most} jobs of this tenant run already", rule.id).into(),
        id: id.into(),
        bundle: Arc::clone(&rule.bundle),
        file: Arc::clone(&rule.file),
        line: rule.line,
        tier: rule.tier,
        invariant: rule.invariant,
        mode: rule.mode,
        canary: None,
        effect: Effect::Throttle,
        controls: rule.controls.clone(),
        remediations: Vec::new(),
        approval: None,
        throttle: Some(Throttle { retry_after_ms: DEFAULT_RETRY_AFTER_MS, give_up_after_ms: DEFAULT_GIVE_UP_AFTER_MS }),
        constraints: None,
        matches: rule.matches.clone(),
        window: rule.window.clone(),
        when: rule.when.clone(),
        state: vec![limit?],
    })
}
