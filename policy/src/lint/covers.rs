//! Whether one rule matches every job another matches.
//!
//! Field by field: enough that it holds for each field alone, as all fields of a rule must hold. Tenant, topic and
//! capability every job has; anything else may be missing or unreadable, so that a rule that takes something away matches
//! without being sure. Such a match is heard and ends no search.

use super::globs;
use crate::effect::Effect;
use crate::glob::Glob;
use crate::language::{Except, LabelTest, Match, Range, Rule, TextSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What must be so whenever the narrow rule matches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Surely {
    /// The wide one matches for certain, even where the narrow one is unsure.
    Certain,
    /// The wide one matches, for certain where the narrow one does.
    Heard,
    /// As [`Heard`](Self::Heard), among jobs of which everything is known.
    Known,
}

/// Whether `wide` matches whatever `narrow` matches. May say no where it does; never says yes where it does not.
pub(super) fn covers(wide: &Rule, narrow: &Rule, surely: Surely) -> bool {
    let unsure = match surely {
        Surely::Known => false,
        // An unsure allow matches nothing.
        Surely::Heard => narrow.effect != Effect::Allow && wide.effect == Effect::Allow,
        Surely::Certain => narrow.effect != Effect::Allow,
    };
    // A field added to the language must be thought of here: the patterns name them all.
    let Match {
        tenants,
        topics,
        capabilities,
        risk_tags,
        trusts_claims,
        requires,
        actor_ids,
        actor_types,
        pack_ids,
        labels,
        label_tests,
        except,
        delegation,
        secrets_present,
        mcp_calls,
    } = &wide.matches;
    let of = &narrow.matches;
    let same_condition = || match (&wide.when, &narrow.when) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => match (&wide.condition, &narrow.condition) {
            (Some(wide), Some(narrow)) => !unsure && Arc::ptr_eq(wide, narrow),
            (None, _) | (_, None) => false,
        },
        (Some(_), None) => false,
    };
    let same_window = || match (&wide.window, &narrow.window) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => !unsure && Arc::ptr_eq(wide, narrow),
        (Some(_), None) => false,
    };
    let optional = |wide: &TextSet, narrow: &TextSet| wide.is_empty() || !unsure && any_of(wide, narrow);
    any_of(tenants, &of.tenants)
        && any_of(capabilities, &of.capabilities)
        && topics_of(topics, &of.topics)
        && optional(actor_ids, &of.actor_ids)
        && optional(actor_types, &of.actor_types)
        && optional(pack_ids, &of.pack_ids)
        && optional(risk_tags, &of.risk_tags)
        && (risk_tags.is_empty() || *trusts_claims || !of.trusts_claims)
        && requires.is_subset(&of.requires)
        && labels.iter().all(|(key, wide)| !unsure && of.labels.get(key).is_some_and(|narrow| narrow.is_subset(wide)))
        && label_tests.iter().all(|wide| !unsure && tested(wide, of))
        && excepted(except, of, unsure)
        && (delegation.is_none() || !unsure && *delegation == of.delegation)
        && (secrets_present.is_none() || !unsure && *secrets_present == of.secrets_present)
        && (!*mcp_calls || of.mcp_calls)
        && same_condition()
        && same_window()
        && wide.state.is_empty()
}

fn any_of(wide: &TextSet, narrow: &TextSet) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.is_subset(wide)
}

fn topics_of(wide: &BTreeSet<Glob>, narrow: &BTreeSet<Glob>) -> bool {
    let covered = |narrow: &Glob| wide.iter().any(|wide| globs::covers(wide, narrow));
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(covered)
}

/// Whether every value the narrow rule takes passes the test.
fn tested(wide: &LabelTest, narrow: &Match) -> bool {
    let by_set = narrow.labels.get(&wide.key).is_some_and(|values| match &wide.range {
        Range::NotIn(unwanted) => values.is_disjoint(unwanted),
        Range::Number { .. } => values.iter().all(|value| wide.range.holds(value) == Some(true)),
    });
    let by_test = |narrow: &LabelTest| match (&wide.range, &narrow.range) {
        (Range::NotIn(wide), Range::NotIn(narrow)) => wide.is_subset(narrow),
        (Range::Number { wanted, than }, Range::Number { wanted: other, than: bound }) => {
            than.equals(*bound) && other.iter().all(|order| wanted.contains(order))
        }
        (Range::NotIn(_), Range::Number { .. }) | (Range::Number { .. }, Range::NotIn(_)) => false,
    };
    by_set || narrow.label_tests.iter().any(|narrow| narrow.key == wide.key && by_test(narrow))
}

/// Whether nothing the narrow rule takes is what the wide one excepts.
fn excepted(wide: &Except, narrow: &Match, unsure: bool) -> bool {
    let Except { tenants, topics, capabilities, actor_ids, actor_types, pack_ids } = wide;
    let but = &narrow.except;
    let apart = |wide: &TextSet, but: &TextSet, narrow: &TextSet| {
        wide.is_subset(but) || !narrow.is_empty() && narrow.is_disjoint(wide)
    };
    let optional =
        |wide: &TextSet, but: &TextSet, narrow: &TextSet| wide.is_empty() || !unsure && apart(wide, but, narrow);
    apart(tenants, &but.tenants, &narrow.tenants)
        && apart(capabilities, &but.capabilities, &narrow.capabilities)
        && topics.is_subset(&but.topics)
        && optional(actor_ids, &but.actor_ids, &narrow.actor_ids)
        && optional(actor_types, &but.actor_types, &narrow.actor_types)
        && optional(pack_ids, &but.pack_ids, &narrow.pack_ids)
}
