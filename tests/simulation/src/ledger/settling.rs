//! Every record of a job input is settled once, and no position passes one that is not (I1, I4, I6).

use std::collections::BTreeMap;

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::Record;
use tidegate_stage::{InputKind, ShardSpec};

use super::facts::{self, ValidFact, ValidGroup};
use super::messages::believed;
use super::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

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

/// Every job input's record is settled by exactly one fact, and positions never pass one that is not.
pub fn check<F>(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<F>], verdicts: &mut Verdicts) {
    let all = settled(groups);
    let jobs: Vec<(TopicPartition, Vec<Record>)> = (0..)
        .zip(&spec.inputs)
        .filter(|(_, i)| i.kind == InputKind::Jobs)
        .map(|(n, i)| (i.partition.clone(), inputs(broker, spec, n)))
        .collect();
    for (partition, records) in &jobs {
        for record in records {
            let times = all.get(&(partition.clone(), record.offset)).map_or(0, Vec::len);
            verdicts.must(times <= 1, Invariant::I4, || format!("{partition}@{} settled {times} times", record.offset));
            verdicts
                .must_in_the_end(times > 0, Invariant::I1, || format!("{partition}@{} is not settled", record.offset));
        }
    }
    facts::places(groups, |group, known| {
        for (partition, records) in &jobs {
            let Some(recorded) = known.get(partition) else { continue };
            for record in records.iter().filter(|r| recorded.is_done(r.offset)) {
                let by = all.get(&(partition.clone(), record.offset)).and_then(|f| f.iter().map(|f| f.group).min());
                verdicts.must(by.is_some_and(|by| by <= group.offset), Invariant::I6, || {
                    format!(
                        "{}: the group at {} counts {partition}@{} as done, settled by {by:?}",
                        spec.sender, group.offset, record.offset
                    )
                });
            }
        }
    });
}
