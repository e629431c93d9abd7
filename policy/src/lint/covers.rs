//! Whether one rule matches every job another matches.
//!
//! Field by field: enough that it holds for each field alone, as all fields of a rule must hold. What cannot be told
//! about a job counts for restrictions only, so a permission that asks about an attribute never covers a restriction
//! that may match without knowing it.

use super::globs;
use crate::effect::restricts;
use crate::language::{Match, Rule, TextSet};

/// Which jobs are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Jobs {
    /// Every one.
    All,
    /// Those that have every attribute the rules look at.
    Complete,
}

/// Whether `wide` matches whatever `narrow` matches among these jobs. May say no where it does; never says yes where it
/// does not.
pub(super) fn covers(wide: &Rule, narrow: &Rule, jobs: Jobs) -> bool {
    // A field added to the language must be thought of here: the patterns name them all.
    let Match { tenants, topics, capabilities, risk_tags, trusts_claims, requires, actor_ids, actor_types, labels } =
        &wide.matches;
    let of = &narrow.matches;
    let unsure = jobs == Jobs::All && restricts(narrow.effect) && !restricts(wide.effect);
    let any_of = |wide: &TextSet, narrow: &TextSet| {
        wide.is_empty() || !unsure && !narrow.is_empty() && narrow.is_subset(wide)
    };
    any_of(tenants, &of.tenants)
        && any_of(capabilities, &of.capabilities)
        && any_of(actor_ids, &of.actor_ids)
        && any_of(actor_types, &of.actor_types)
        && any_of(risk_tags, &of.risk_tags)
        && (risk_tags.is_empty() || *trusts_claims || !of.trusts_claims)
        && (topics.is_empty()
            || !unsure
                && !of.topics.is_empty()
                && of.topics.iter().all(|narrow| topics.iter().any(|wide| globs::covers(wide, narrow))))
        && requires.is_subset(&of.requires)
        && labels.iter().all(|(key, wide)| {
            !unsure && of.labels.get(key).is_some_and(|narrow| narrow.is_subset(wide))
        })
}
