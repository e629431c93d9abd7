//! Retention at its limits: what no owner needs any more goes at once, and now and then something goes that one did need.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::IgnoredAny;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{AcceptedLoss, Kind};
use tidegate_protocol::headers;
use tidegate_protocol::signature::{Sign, signed};
use tidegate_protocol::statements;
use tidegate_spine::{Headers, NewRecord};
use tidegate_stage::ShardSpec;

use crate::chance::Chance;
use crate::executor::Core;
use crate::keys;
use crate::ledger::facts::{ValidGroup, facts, places, valid};
use crate::ledger::messages::stamp;
use crate::spine::{Broker, SimSpine, Stored};

/// Up to this offset of a facts log groups are released, whoever takes over: a mark counts when no claim of a higher epoch stands before it.
fn released(log: &[Stored], groups: &[ValidGroup<IgnoredAny>]) -> Option<Offset> {
    let is_claim = |stored: &&Stored| stored.record.headers.text(headers::KIND) == Some("claim") && !stored.is_forged();
    let claims: Vec<Offset> = log.iter().filter(is_claim).map(|stored| stored.record.offset).collect();
    let superseded =
        |group: &ValidGroup<_>| claims.iter().any(|claim| *claim > group.group.epoch && *claim < group.offset);
    groups.iter().filter(|group| !superseded(group)).filter_map(|group| group.group.released).max()
}

/// Time retention at its limit: of these inputs, which are not trimmed, goes what no owner needs any more, to decide or to say again what
/// followed from it: what a place had passed when its group was released.
pub fn retain(spine: &SimSpine, spec: &ShardSpec, inputs: &[TopicPartition]) {
    let mut broker = spine.broker();
    let groups = valid::<IgnoredAny>(broker.log(&spec.facts), spec.sender.as_str());
    let Some(released) = released(broker.log(&spec.facts), &groups) else { return };
    for input in inputs {
        let mut position = 0;
        places(&groups, |group, known| {
            if group.offset <= released {
                position = known.get(input).map_or(0, |recorded| recorded.position);
            }
        });
        broker.trim(input, position);
    }
}

/// Cuts a log so that at most its last few records stay.
pub fn cut(spine: &SimSpine, log: &TopicPartition, keep: u64) {
    let mut broker = spine.broker();
    let end = broker.partition(log).map_or(0, |partition| partition.ends().end);
    broker.trim(log, end.saturating_sub(keep));
}

/// Reads of an input stand still, and meanwhile it is cut: what is read as soon as it lands is lost in no other way. Somebody gives up
/// what is gone, late.
pub fn lose_unread(chance: &mut Chance, core: &Core, spine: &SimSpine, spec: &ShardSpec, input: usize) {
    let (at, keep) = (chance.within(1_000_000..4_000_000), chance.within(0..4));
    let (before, after) = (chance.within(300_000..1_000_000), chance.within(1..300_000));
    let (spine_then, partition) = (spine.clone(), spec.inputs[input].partition.clone());
    core.at(at - before, move || spine_then.stall(&partition, before + after, true));
    cut_and_give_up(chance, core, spine, (spec, input), (at, keep));
}

/// An input is cut above what was settled, and somebody gives up what is gone, late.
pub fn lose(chance: &mut Chance, core: &Core, spine: &SimSpine, spec: &ShardSpec, input: usize) {
    let (at, keep) = (chance.within(200_000..4_500_000), chance.within(0..12));
    cut_and_give_up(chance, core, spine, (spec, input), (at, keep));
}

/// A takeover has said something again, and its original is settled above the place: now and then the input is cut between the two,
/// and given up.
pub fn lose_originals(core: &Core, spine: &SimSpine, spec: &ShardSpec, input: usize) {
    let cut_once = Arc::new(AtomicBool::new(false));
    for step in 2..40 {
        let (cut_once, spine, spec) = (cut_once.clone(), spine.clone(), spec.clone());
        core.at(step * 120_000, move || {
            let partition = &spec.inputs[input].partition;
            if cut_once.load(Ordering::Relaxed) {
                return;
            }
            let Some(copy) = copy_above(&spine.broker(), &spec, partition) else { return };
            cut_once.store(true, Ordering::Relaxed);
            spine.broker().trim(partition, copy);
            give_up(&spine, &spec, partition, &*keys::operator());
        });
    }
}

/// The lowest copy of a record that is settled above the place and still there.
fn copy_above(broker: &Broker, spec: &ShardSpec, partition: &TopicPartition) -> Option<Offset> {
    let groups = valid::<IgnoredAny>(broker.log(&spec.facts), spec.sender.as_str());
    let mut from = broker.partition(partition)?.ends().start;
    places(&groups, |_, known| from = known.get(partition).map_or(from, |recorded| from.max(recorded.position)));
    let settled: BTreeSet<_> = facts(&groups).filter_map(|fact| fact.settles).collect();
    let mut originals = BTreeSet::new();
    let mut genuine = broker.log(partition).iter().filter(|stored| stored.record.offset >= from && !stored.is_forged());
    let copy = genuine.find(|stored| {
        let Some((sender, _, _, group, index)) = stamp(&stored.record) else { return false };
        let of = (sender, group, index);
        let is_copy = originals.contains(&of);
        if settled.contains(&(partition.clone(), stored.record.offset)) {
            originals.insert(of);
        }
        is_copy
    });
    copy.map(|stored| stored.record.offset)
}

/// Somebody gives up what is gone by now.
fn give_up(spine: &SimSpine, spec: &ShardSpec, of: &TopicPartition, signer: &dyn Sign) {
    let (sender, partition) = (spec.sender.clone(), of.clone());
    let before = spine.broker().partition(of).map_or(0, |p| p.ends().start);
    let by = "an operator".to_owned();
    let loss = AcceptedLoss { v: 1, sender, partition, before, by, at_ms: 0, key: None, signature: None };
    let list = [(headers::KIND, Kind::Loss.word().to_owned()), (headers::SENDER, loss.sender.to_string())];
    let record = NewRecord {
        key: Some(loss.record_key().into()),
        value: serde_json::to_vec(&loss).ok().map(|text| signed(signer, statements::LOSS, text).into()),
        headers: Headers::from_iter(list),
    };
    spine.put(&spec.shards.partition(0), record);
}

fn cut_and_give_up(
    chance: &mut Chance,
    core: &Core,
    spine: &SimSpine,
    (spec, input): (&ShardSpec, usize),
    (at, keep): (u64, u64),
) {
    let of = spec.inputs[input].partition.clone();
    let (spine_then, partition) = (spine.clone(), of.clone());
    core.at(at, move || cut(&spine_then, &partition, keep));
    for step in 0..4 {
        // The first is of somebody who may not; and what was trimmed in order may begin later still.
        let signer = if step == 0 { keys::stages() } else { keys::operator() };
        let (spine, spec, of) = (spine.clone(), spec.clone(), of.clone());
        core.at(at + chance.within(0..1_000_000) + step * 500_000, move || give_up(&spine, &spec, &of, &*signer));
    }
}
