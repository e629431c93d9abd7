//! Retention of what nobody trims: commands, outcomes, reports and withdrawals are cut at their limit and, now and then, above it; lanes at
//! any place. Requests for limits and their answers are cut above it alone.

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_stage::{InputKind, ShardSpec};

use super::parts::{LANES, named};
use crate::chance::Chance;
use crate::executor::Core;
use crate::ledger::facts::{self, ValidGroup};
use crate::retention::{cut, lose_unread, retain};
use crate::spine::{Broker, SimSpine};

/// Control inputs of a shard, but for what it is lent: their numbers.
fn control(spec: &ShardSpec) -> Vec<usize> {
    let lent = |partition: &TopicPartition| partition.topic.as_str().contains("grants.");
    let all = spec.inputs.iter().enumerate();
    all.filter(|(_, input)| input.kind == InputKind::Control && !lent(&input.partition)).map(|(n, _)| n).collect()
}

/// Draws what is cut until virtual time `until`.
pub fn begin(seed: u64, core: &Core, spine: &SimSpine, specs: &[&ShardSpec], until: u64) {
    let mut chance = Chance::new(seed, "retention");
    if chance.percent(40) {
        for _ in 0..4 {
            let at = chance.within(500_000..until);
            for spec in specs {
                let inputs: Vec<_> = control(spec).into_iter().map(|n| spec.inputs[n].partition.clone()).collect();
                let (spine, spec) = (spine.clone(), (*spec).clone());
                core.at(at, move || retain(&spine, &spec, &inputs));
            }
        }
    }
    if chance.percent(25) {
        for _ in 0..chance.within(1..4) {
            let lane = named("work.p").partition(u32::try_from(chance.within(0..u64::from(LANES))).unwrap_or(0));
            let (spine, keep) = (spine.clone(), chance.within(0..6));
            core.at(chance.within(500_000..until), move || cut(&spine, &lane, keep));
        }
    }
    if chance.percent(30) {
        // Requests for limits are lost apart ([`lose_lent`]).
        let asks = |spec: &ShardSpec| spec.inputs.iter().any(|input| input.partition.topic == named("limits.requests"));
        let losing: Vec<&ShardSpec> = specs.iter().copied().filter(|spec| !asks(spec)).collect();
        let spec = *chance.one_of(&losing);
        let input = *chance.one_of(&control(spec));
        lose_unread(&mut chance, core, spine, spec, input);
    }
}

/// Loses, in some runs, what shards ask of limits, and what they are answered. `lenders` and `borrowers` are never empty.
pub fn lose_lent(seed: u64, core: &Core, spine: &SimSpine, lenders: &[&ShardSpec], borrowers: &[&ShardSpec]) {
    let mut chance = Chance::new(seed, "lent");
    if chance.percent(50) {
        lose_unread(&mut chance, core, spine, Chance::new(seed, "lender").one_of::<&ShardSpec>(lenders), 0);
    }
    if chance.percent(25) {
        let spec = *Chance::new(seed, "borrower").one_of(borrowers);
        let grants = spec.inputs.iter().position(|input| input.partition.topic.as_str().contains("grants."));
        if let Some(grants) = grants {
            lose_unread(&mut chance, core, spine, spec, grants);
        }
    }
}

/// How many records of a shard's control inputs its groups give up.
#[must_use]
pub fn records_given_up<F>(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<F>]) -> u64 {
    let control = spec.inputs.iter().filter(|input| input.kind == InputKind::Control);
    control.map(|input| given_up_of(broker, groups, &input.partition)).sum()
}

fn given_up_of<F>(broker: &Broker, groups: &[ValidGroup<F>], of: &TopicPartition) -> u64 {
    let lost = facts::lost(groups, of);
    let gone = |offset: Offset| lost.iter().any(|(_, from, to)| (*from..*to).contains(&offset));
    broker.log(of).iter().filter(|stored| !stored.is_forged() && gone(stored.record.offset)).count() as u64
}

/// How many ranges of inputs these groups give up.
#[must_use]
pub fn given_up<F>(groups: &[ValidGroup<F>]) -> u64 {
    groups.iter().map(|group| group.group.lost.len() as u64).sum()
}

/// Whether a record of an input was lost and given up.
#[must_use]
pub fn is_lost<F>(groups: &[ValidGroup<F>], of: &TopicPartition, offset: Offset) -> bool {
    facts::lost(groups, of).iter().any(|(_, from, to)| (*from..*to).contains(&offset))
}
