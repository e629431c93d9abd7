//! Retention at its limits: what no owner needs any more goes at once, and now and then something goes that one did need.

use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::{AcceptedLoss, Kind};
use tidegate_protocol::headers;
use tidegate_protocol::signature::signed;
use tidegate_protocol::statements;
use tidegate_spine::{Headers, NewRecord};
use tidegate_stage::ShardSpec;

use crate::chance::Chance;
use crate::executor::Core;
use crate::keys;
use crate::ledger::facts::{places, valid};
use crate::spine::SimSpine;

/// Time retention at its limit: of these inputs, which are not trimmed, goes what no valid group needs any more.
pub fn retain(spine: &SimSpine, spec: &ShardSpec, inputs: &[TopicPartition]) {
    let mut broker = spine.broker();
    let groups = valid::<serde::de::IgnoredAny>(broker.log(&spec.facts), spec.sender.as_str());
    for input in inputs {
        let mut position = 0;
        places(&groups, |_, known| position = known.get(input).map_or(0, |recorded| recorded.position));
        broker.trim(input, position);
    }
}

/// Cuts a log so that at most its last few records stay.
pub fn cut(spine: &SimSpine, log: &TopicPartition, keep: u64) {
    let mut broker = spine.broker();
    let end = broker.partition(log).map_or(0, |partition| partition.ends().end);
    broker.trim(log, end.saturating_sub(keep));
}

/// An input is cut above what was settled, and somebody gives up what is gone, late.
pub fn lose(chance: &mut Chance, core: &Core, spine: &SimSpine, spec: &ShardSpec, input: usize) {
    let (of, sender, shards) = (spec.inputs[input].partition.clone(), spec.sender.clone(), spec.shards.partition(0));
    let (at, keep) = (chance.within(200_000..4_500_000), chance.within(0..12));
    let (spine_then, partition) = (spine.clone(), of.clone());
    core.at(at, move || cut(&spine_then, &partition, keep));
    for step in 0..4 {
        // The first is of somebody who may not; and what was trimmed in order may begin later still.
        let signer = if step == 0 { keys::stages() } else { keys::operator() };
        let (spine, of, sender, shards) = (spine.clone(), of.clone(), sender.clone(), shards.clone());
        core.at(at + chance.within(0..1_000_000) + step * 500_000, move || {
            let before = spine.broker().partition(&of).map_or(0, |p| p.ends().start);
            let by = "an operator".to_owned();
            let loss = AcceptedLoss { v: 1, sender, partition: of, before, by, at_ms: 0, key: None, signature: None };
            let list = [(headers::KIND, Kind::Loss.word().to_owned()), (headers::SENDER, loss.sender.to_string())];
            let record = NewRecord {
                key: Some(loss.record_key().into()),
                value: serde_json::to_vec(&loss).ok().map(|text| signed(&*signer, statements::LOSS, text).into()),
                headers: Headers::from_iter(list),
            };
            spine.put(&shards, record);
        });
    }
}
