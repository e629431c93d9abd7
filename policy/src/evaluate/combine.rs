//! From the matching rules to one verdict.

use super::Scratch;
use super::derive::Outcome;
use crate::compile::{Snapshot, Stage};
use crate::effect::Effect;
use crate::language::{Combine, Rule};
use crate::subject::Subject;
use crate::verdict::{MAX_WINNERS, Verdict};
use std::sync::Arc;

/// What some rules, or a default, decide.
struct Ruling {
    effect: Effect,
    reason: Arc<str>,
    rule_ids: Vec<Arc<str>>,
}

pub(super) fn combine(snapshot: &Snapshot, subject: &Subject<'_>, scratch: &Scratch) -> Verdict {
    let survivors = scratch.survivors.as_slice();
    let ruling = match stage(snapshot, Stage::Invariants, survivors) {
        // Nothing is stricter, so what the tiers say cannot matter.
        Some(floor) if floor.effect == Effect::Deny => floor,
        floor => {
            let rest = [Stage::Job, Stage::Workflow, Stage::Global]
                .into_iter()
                .find_map(|tier| stage(snapshot, tier, survivors))
                .unwrap_or_else(|| default(snapshot, subject));
            match floor {
                Some(floor) if floor.effect >= rest.effect => floor,
                Some(_) | None => rest,
            }
        }
    };
    Verdict {
        effect: ruling.effect,
        reason: ruling.reason,
        default_used: ruling.rule_ids.is_empty(),
        rule_ids: ruling.rule_ids,
        tags: tags(snapshot, scratch, Outcome::Present),
        uncertain_tags: tags(snapshot, scratch, Outcome::Uncertain),
        constraints: None,
        approval: None,
        throttle: None,
        shadow: Vec::new(),
        spends: Vec::new(),
    }
}

/// What the matching rules of one stage decide: each bundle by its own way of combining (invariants always by the
/// most restrictive), and among bundles the most restrictive. `None` when no rule of the stage matches.
fn stage(snapshot: &Snapshot, stage: Stage, survivors: &[u32]) -> Option<Ruling> {
    let mut ruling: Option<Ruling> = None;
    for block in snapshot.blocks.iter().filter(|block| block.stage == stage) {
        let from = survivors.partition_point(|&place| place < block.start);
        let matching = survivors.get(from..).unwrap_or_default().iter().take_while(|&&place| place < block.end);
        let most = match block.combine {
            Combine::FirstMatch if stage != Stage::Invariants => 1,
            Combine::FirstMatch | Combine::MostRestrictive => usize::MAX,
        };
        for rule in matching.take(most).filter_map(|&place| snapshot.rules.get(place as usize)) {
            hear(&mut ruling, rule);
        }
    }
    ruling
}

/// Keeps the most restrictive effect and the rules that gave it.
fn hear(ruling: &mut Option<Ruling>, rule: &Rule) {
    match ruling {
        Some(held) if held.effect > rule.effect => {}
        Some(held) if held.effect == rule.effect => {
            if held.rule_ids.len() < MAX_WINNERS {
                held.rule_ids.push(Arc::clone(&rule.id));
            }
        }
        Some(held) => {
            held.effect = rule.effect;
            held.reason = Arc::clone(&rule.reason);
            held.rule_ids.clear();
            held.rule_ids.push(Arc::clone(&rule.id));
        }
        None => {
            let rule_ids = vec![Arc::clone(&rule.id)];
            *ruling = Some(Ruling { effect: rule.effect, reason: Arc::clone(&rule.reason), rule_ids });
        }
    }
}

fn default(snapshot: &Snapshot, subject: &Subject<'_>) -> Ruling {
    let (effect, reason) = match snapshot.defaults.get(subject.tenant) {
        Some((effect, reason)) => (*effect, reason),
        None => (Effect::Deny, &snapshot.denied_by_default),
    };
    Ruling { effect, reason: Arc::clone(reason), rule_ids: Vec::new() }
}

fn tags(snapshot: &Snapshot, scratch: &Scratch, wanted: Outcome) -> Vec<Arc<str>> {
    let states = snapshot.tags.iter().zip(&scratch.tags);
    states.filter(|(_, state)| **state == wanted).map(|(tag, _)| Arc::clone(tag)).collect()
}
