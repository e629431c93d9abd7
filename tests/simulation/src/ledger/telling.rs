//! Every message follows from a durable fact, and every fact that speaks is heard once (I1, I2, I4); bounds (I10).

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::control::SnapshotBody;
use tidegate_stage::{InputKind, ShardSpec};

use super::facts::{self, ValidFact, ValidGroup};
use super::messages::{believed, stamp};
use super::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

/// A message that must follow from a fact.
#[derive(Debug)]
pub struct Shown {
    /// Number of its kind.
    pub ordinal: u64,
    /// Topic it goes to.
    pub to: TopicName,
    /// Heard exactly once by a reader that honours fences; otherwise told at least once.
    pub fenced: bool,
    /// Its key.
    pub key: String,
    /// A header that binds it to its fact: name and value.
    pub header: (&'static str, String),
    /// To how many partitions it goes.
    pub copies: usize,
}

/// A message's place: group offset, fact, ordinal.
type Place = (Offset, u64, u64);

/// Checks the messages of one shard, fenced ones in its outputs and the others in `advisory`.
pub fn check<F>(
    broker: &Broker,
    spec: &ShardSpec,
    groups: &[ValidGroup<F>],
    advisory: &[TopicPartition],
    shown: impl Fn(&F) -> Vec<Shown>,
    verdicts: &mut Verdicts,
) {
    let sender = spec.sender.as_str();
    let landed: BTreeMap<Offset, u64> = broker.log(&spec.facts).iter().map(|s| (s.record.offset, s.number)).collect();
    let mut expected: BTreeMap<Place, Shown> = BTreeMap::new();
    for ValidFact { group, index, record, .. } in facts::facts(groups) {
        expected.extend(shown(&record.fact).into_iter().map(|s| ((group, index, s.ordinal), s)));
    }
    let mut told: BTreeSet<Place> = BTreeSet::new();
    for to in spec.outputs.iter().chain(advisory) {
        for stored in broker.log(to).iter().filter(|stored| !stored.is_forged()) {
            let Some((by, _, _, group, index)) = stamp(&stored.record) else { continue };
            if by == sender {
                verdicts.must(landed.get(&group).is_some_and(|n| *n < stored.number), Invariant::I2, || {
                    format!("{to}@{} of {sender} is there before its facts at {group}", stored.record.offset)
                });
                told.insert((group, index / 256, index % 256));
            }
        }
    }
    let mut heard: BTreeMap<Place, usize> = BTreeMap::new();
    for to in &spec.outputs {
        for message in believed(broker.log(to)).into_iter().filter(|m| m.sender == sender) {
            let place = (message.group, message.fact, message.ordinal);
            let at = message.record.offset;
            let Some(fact) = expected.get(&place) else {
                verdicts
                    .broken(Invariant::I2, || format!("{to}@{at} of {sender} follows from no valid fact ({place:?})"));
                continue;
            };
            let key = message.record.key.as_deref().unwrap_or_default();
            let (name, value) = &fact.header;
            let same = fact.to == to.topic
                && fact.fenced
                && fact.key.as_bytes() == key
                && message.record.headers.text(name) == Some(value);
            verdicts.must(same, Invariant::I2, || format!("{to}@{at} of {sender} is not what its fact {place:?} says"));
            *heard.entry(place).or_default() += 1;
        }
    }
    for (place, fact) in &expected {
        if fact.fenced {
            let times = heard.get(place).copied().unwrap_or(0);
            verdicts.must(times <= fact.copies, Invariant::I4, || {
                format!("{sender}: message {place:?} was heard {times} times")
            });
            verdicts.must_in_the_end(times >= fact.copies, Invariant::I1, || {
                format!("{sender}: message {place:?} was never heard")
            });
        } else {
            let was = told.contains(place);
            verdicts.must_in_the_end(was, Invariant::I1, || format!("{sender}: message {place:?} was never told"));
        }
    }
}

/// Bounds that show from outside. One decision may give up to `at_once` facts.
pub fn check_bounds<F>(
    broker: &Broker,
    spec: &ShardSpec,
    groups: &[ValidGroup<F>],
    at_once: usize,
    verdicts: &mut Verdicts,
) {
    let flying = broker.most_in_flight(&spec.facts);
    verdicts.must(flying <= spec.pace.groups_in_flight, Invariant::I10, || {
        format!("{}: {flying} groups were on their way at once", spec.sender)
    });
    for group in groups {
        let facts = group.group.facts.len();
        verdicts.must(facts < spec.pace.group_facts + at_once, Invariant::I10, || {
            format!("{}: the group at {} has {facts} facts", spec.sender, group.offset)
        });
    }
}

/// A place of a job input whose stage makes way when asked: its ranges and its distance stay near their bounds. One read
/// may bring `READ` records more before the stage is asked.
pub fn check_places(snapshots: &[(Offset, SnapshotBody)], spec: &ShardSpec, verdicts: &mut Verdicts) {
    const READ: u64 = 16;
    for (offset, body) in snapshots {
        for place in &body.places {
            let partition = &body.inputs[place.input as usize];
            if !spec.inputs.iter().any(|i| i.partition == *partition && i.kind == InputKind::Jobs) {
                continue;
            }
            let ranges = place.settled.len() as u64;
            let reach = place.settled.last().map_or(0, |(_, to)| to.saturating_sub(place.position));
            let most = spec.pace.place_ranges as u64 + READ;
            verdicts.must(ranges <= most, Invariant::I10, || {
                format!("{}: the snapshot at {offset} has {ranges} ranges of {partition}", spec.sender)
            });
            let most = spec.pace.place_distance.saturating_mul(2) + READ;
            verdicts.must(reach <= most, Invariant::I10, || {
                format!("{}: the snapshot at {offset} reaches {reach} records of {partition} ahead", spec.sender)
            });
            // A run has a record of its own; one that is being read again may be told twice.
            let runs = place.heard.len() as u64;
            verdicts.must(runs <= most * 2, Invariant::I10, || {
                format!("{}: the snapshot at {offset} tells of {runs} runs of {partition}", spec.sender)
            });
        }
    }
}
