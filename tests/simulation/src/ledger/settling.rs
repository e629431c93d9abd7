//! Every record of a job input is settled once, and no position passes one that is not (I1, I4, I6). What is recorded
//! as lost is gone indeed, and somebody has given it up.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::AcceptedLoss;
use tidegate_protocol::signature::Sign;
use tidegate_protocol::withdrawal::Withdrawal;
use tidegate_spine::Record;
use tidegate_stage::{InputKind, ShardSpec};

use super::facts::{self, ValidFact, ValidGroup};
use super::messages::{believed, stamp};
use super::verdicts::{Invariant, Verdicts};
use crate::keys;
use crate::spine::Broker;

/// A record that is not counted as done yet, and the group from which on it may be.
type Open = (Offset, Option<Offset>);

/// Facts by the record they settle.
pub type Settled<'a, F> = BTreeMap<(TopicPartition, Offset), Vec<ValidFact<'a, F>>>;

/// Facts by the record they settle.
#[must_use]
pub fn settled<F>(groups: &[ValidGroup<F>]) -> Settled<'_, F> {
    let mut all: Settled<'_, F> = BTreeMap::new();
    for fact in facts::facts(groups) {
        if let Some(place) = fact.settles.clone() {
            all.entry(place).or_default().push(fact);
        }
    }
    all
}

/// The records of an input that count: all of an open log, the believed ones of a sealed one.
#[must_use]
pub fn inputs(broker: &Broker, spec: &ShardSpec, number: u32) -> Vec<Record> {
    let input = &spec.inputs[number as usize];
    let log = broker.log(&input.partition);
    if input.writers.sealed() {
        believed(log).into_iter().map(|b| b.record.clone()).collect()
    } else {
        log.iter().map(|s| s.record.clone()).collect()
    }
}

/// Whether a record has to be settled by a fact: a withdrawal of a job that is not there leads to nothing.
fn needs_a_fact(record: &Record) -> bool {
    record.value.as_deref().is_none_or(|value| Withdrawal::read(value).is_none())
}

/// Every job input's record is settled by exactly one fact, and positions never pass one that is not.
pub fn check<F>(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<F>], verdicts: &mut Verdicts) {
    let all = settled(groups);
    let jobs: Vec<(TopicPartition, Vec<Record>)> = (0..)
        .zip(&spec.inputs)
        .filter(|(_, i)| i.kind == InputKind::Jobs)
        .map(|(n, i)| (i.partition.clone(), inputs(broker, spec, n)))
        .collect();
    for input in &spec.inputs {
        check_lost(broker, spec, &input.partition, &facts::lost(groups, &input.partition), verdicts);
    }
    for (partition, records) in &jobs {
        let lost = facts::lost(groups, partition);
        for record in records {
            let given_up = lost.iter().any(|(_, from, to)| (*from..*to).contains(&record.offset));
            let times = all.get(&(partition.clone(), record.offset)).map_or(0, Vec::len);
            verdicts.must(times <= 1, Invariant::I4, || format!("{partition}@{} settled {times} times", record.offset));
            verdicts.must_in_the_end(times > 0 || given_up || !needs_a_fact(record), Invariant::I1, || {
                format!("{partition}@{} is not settled", record.offset)
            });
        }
    }
    // By partition: records not counted as done yet, and the group from which on each may be.
    let mut open: Vec<(&TopicPartition, Vec<Open>)> = jobs
        .iter()
        .map(|(partition, records)| {
            let lost = facts::lost(groups, partition);
            let by = |record: &Record| {
                let facts = all.get(&(partition.clone(), record.offset)).into_iter().flatten().map(|fact| fact.group);
                let given_up = lost.iter().filter(|(_, from, to)| (*from..*to).contains(&record.offset));
                (record.offset, facts.chain(given_up.map(|(by, ..)| by.offset)).min())
            };
            (partition, records.iter().filter(|record| needs_a_fact(record)).map(by).collect())
        })
        .collect();
    facts::places(groups, |group, known| {
        for (partition, records) in &mut open {
            let Some(recorded) = known.get(*partition) else { continue };
            records.retain(|(offset, by)| {
                let done = recorded.is_done(*offset);
                verdicts.must(!done || by.is_some_and(|by| by <= group.offset), Invariant::I6, || {
                    format!(
                        "{}: the group at {} counts {partition}@{offset} as done, settled by {by:?}",
                        spec.sender, group.offset
                    )
                });
                !done
            });
        }
    });
}

/// How many records of a shard's sealed inputs were settled, and then given up with what was not, while a copy stood behind the range:
/// these must not be taken as new.
#[must_use]
pub fn lost_originals<F: DeserializeOwned>(broker: &Broker, spec: &ShardSpec) -> u64 {
    let groups = facts::valid::<F>(broker.log(&spec.facts), spec.sender.as_str());
    let settled = settled(&groups);
    let of = |record: &Record| stamp(record).map(|(sender, _, _, group, index)| (sender.to_owned(), group, index));
    let sealed = spec.inputs.iter().filter(|input| input.writers.sealed()).map(|input| &input.partition);
    let copies = sealed.map(|partition| {
        let genuine = || broker.log(partition).iter().filter(|stored| !stored.is_forged()).map(|stored| &stored.record);
        let lost = facts::lost(&groups, partition).into_iter().map(|(_, from, to)| {
            let gone = genuine().filter(|record| (from..to).contains(&record.offset));
            let gone = gone.filter(|record| settled.contains_key(&(partition.clone(), record.offset)));
            let originals: BTreeSet<_> = gone.filter_map(of).collect();
            let behind: BTreeSet<_> = genuine().filter(|record| record.offset >= to).filter_map(of).collect();
            originals.intersection(&behind).count() as u64
        });
        lost.sum::<u64>()
    });
    copies.sum()
}

/// Recorded losses are of what is gone, and were accepted.
fn check_lost<F>(
    broker: &Broker,
    spec: &ShardSpec,
    partition: &TopicPartition,
    lost: &[(&ValidGroup<F>, Offset, Offset)],
    verdicts: &mut Verdicts,
) {
    let start = broker.partition(partition).map_or(0, |p| p.ends().start);
    let operator = keys::operator().key().to_string();
    let accepted = |group: &ValidGroup<F>, to: Offset| {
        let losses = broker.log(&spec.shards.partition(0)).iter().filter(|s| s.number < group.number);
        let mut losses = losses.filter_map(|s| serde_json::from_slice(s.record.value.as_deref()?).ok());
        losses.any(|loss: AcceptedLoss| {
            let by_operator = loss.key.as_ref() == Some(&operator);
            by_operator && loss.sender == spec.sender && loss.partition == *partition && loss.before >= to
        })
    };
    for (group, from, to) in lost {
        verdicts.must(from < to && *to <= start && accepted(group, *to), Invariant::I1, || {
            let group = group.offset;
            format!("{}: the group at {group} gives up {partition} {from}..{to}; it begins at {start}", spec.sender)
        });
    }
}
