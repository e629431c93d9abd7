//! What must be true of the relay scenario's logs.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::Record;
use tidegate_stage::{InputKind, ShardSpec, Stage};

use super::sink::{Got, Sink};
use super::stage::{AT_ONCE, CONTROL, Control, Fact, Job, OVERFLOW, Todo, What};
use crate::ledger::facts::{self, ValidFact, ValidGroup, valid};
use crate::ledger::messages::{believed, stamp};
use crate::ledger::replay;
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

/// Clocks may be off by this much without fault, with what they drift in a run; microseconds.
const CLOCKS: u64 = 700_000;

/// Where a shard's facts are expected to show.
struct Shown {
    to: TopicPartition,
    fenced: bool,
    id: String,
    n: u64,
}

type Settled<'a, F> = BTreeMap<(TopicPartition, Offset), Vec<ValidFact<'a, F>>>;

fn settled<F>(groups: &[ValidGroup<F>]) -> Settled<'_, F> {
    let mut all: Settled<'_, F> = BTreeMap::new();
    for fact in facts::facts(groups) {
        if let Some(place) = fact.settles.clone() {
            all.entry(place).or_default().push(fact);
        }
    }
    all
}

/// The records of an input that count: all of an open log, the believed ones of a sealed one.
fn inputs(broker: &Broker, spec: &ShardSpec, number: u32) -> Vec<Record> {
    let input = &spec.inputs[number as usize];
    let log = broker.log(&input.partition);
    if input.sealed {
        believed(log).into_iter().map(|b| b.record.clone()).collect()
    } else {
        log.iter().map(|s| s.record.clone()).collect()
    }
}

/// Every job input's record is settled by exactly one fact, and positions never pass one that is not.
fn check_settling<F>(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<F>], verdicts: &mut Verdicts) {
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

/// Every message follows from a durable fact, and every fact that speaks is heard exactly once.
fn check_messages<F>(
    broker: &Broker,
    spec: &ShardSpec,
    groups: &[ValidGroup<F>],
    dead: &TopicPartition,
    shown: impl Fn(&F) -> Option<Shown>,
    verdicts: &mut Verdicts,
) {
    let sender = spec.sender.as_str();
    let landed: BTreeMap<Offset, u64> = broker.log(&spec.facts).iter().map(|s| (s.record.offset, s.number)).collect();
    let by_place: BTreeMap<(Offset, u64), ValidFact<'_, F>> =
        facts::facts(groups).map(|f| ((f.group, f.index), f)).collect();
    let mut heard: BTreeMap<(Offset, u64), Vec<&TopicPartition>> = BTreeMap::new();
    let mut told: BTreeSet<(Offset, u64)> = BTreeSet::new();
    for to in spec.outputs.iter().chain([dead]) {
        for stored in broker.log(to) {
            let Some((by, _, _, group, index)) = stamp(&stored.record) else { continue };
            if by == sender {
                verdicts.must(landed.get(&group).is_some_and(|n| *n < stored.number), Invariant::I2, || {
                    format!("{to}@{} of {sender} is there before its facts at {group}", stored.record.offset)
                });
                if to == dead {
                    told.insert((group, index / 256));
                }
            }
        }
        if to == dead {
            continue;
        }
        for message in believed(broker.log(to)).into_iter().filter(|m| m.sender == sender) {
            let place = (message.group, message.fact);
            let fact = by_place.get(&place);
            let expected = fact.and_then(|f| shown(&f.record.fact));
            let at = message.record.offset;
            let Some(expected) = expected else {
                verdicts
                    .broken(Invariant::I2, || format!("{to}@{at} of {sender} follows from no valid fact ({place:?})"));
                continue;
            };
            let key = message.record.key.as_deref().unwrap_or_default();
            let n = message.record.headers.text("n").and_then(|n| n.parse().ok());
            let same = expected.to == *to && expected.id.as_bytes() == key && Some(expected.n) == n;
            verdicts.must(same, Invariant::I2, || format!("{to}@{at} of {sender} is not what its fact {place:?} says"));
            heard.entry(place).or_default().push(to);
        }
    }
    for (place, fact) in &by_place {
        let Some(expected) = shown(&fact.record.fact) else { continue };
        if expected.fenced {
            let times = heard.get(place).map_or(0, Vec::len);
            verdicts.must(times <= 1, Invariant::I4, || format!("{sender}: fact {place:?} was heard {times} times"));
            verdicts.must_in_the_end(times > 0, Invariant::I1, || format!("{sender}: fact {place:?} was never heard"));
        } else {
            verdicts.must_in_the_end(told.contains(place), Invariant::I1, || {
                format!("{sender}: fact {place:?} was never told")
            });
        }
    }
}

/// Bounds that show from outside.
fn check_bounds<F>(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<F>], verdicts: &mut Verdicts) {
    let flying = broker.most_in_flight(&spec.facts);
    verdicts.must(flying <= spec.pace.groups_in_flight, Invariant::I10, || {
        format!("{}: {flying} groups were on their way at once", spec.sender)
    });
    for group in groups {
        let facts = group.group.facts.len();
        verdicts.must(facts < spec.pace.group_facts + AT_ONCE, Invariant::I10, || {
            format!("{}: the group at {} has {facts} facts", spec.sender, group.offset)
        });
    }
}

/// The facts say what the records ask for.
fn check_relay_verdicts(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<Fact>], verdicts: &mut Verdicts) {
    let all = settled(groups);
    for (number, fact) in (0..).zip(facts::facts(groups)) {
        let n = fact.record.fact.n;
        verdicts
            .must(n == number, Invariant::I7, || format!("{}: fact {number} of the log says it is {n}", spec.sender));
    }
    for number in [super::stage::JOBS, OVERFLOW] {
        let partition = &spec.inputs[number as usize].partition;
        for record in inputs(broker, spec, number) {
            let job: Option<Job> = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).ok();
            for fact in all.get(&(partition.clone(), record.offset)).into_iter().flatten() {
                let what = &fact.record.fact.what;
                let right = match (&job, what) {
                    (None, What::Refused) => true,
                    (Some(job), What::Denied { id }) => job.todo == Todo::Deny && job.id == *id,
                    (Some(job), What::Passed { id, .. }) => job.todo == Todo::Go && job.id == *id,
                    (Some(job), What::Freed { job: of, .. } | What::Moved { job: of, .. }) => {
                        matches!(job.todo, Todo::Hold | Todo::Queue) && job.id == of.id
                    }
                    (Some(job), What::Expired { job: of, .. }) => job.todo == Todo::Hold && job.id == of.id,
                    _ => false,
                };
                verdicts.must(right, Invariant::I3, || {
                    format!("{partition}@{} asks for {job:?}, and got {what:?}", record.offset)
                });
            }
        }
    }
}

/// Control records have their effect once, and before anything expires that they would have saved.
fn check_control(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<Fact>], verdicts: &mut Verdicts) {
    let all = settled(groups);
    let partition = &spec.inputs[CONTROL as usize].partition;
    let mut released: BTreeMap<String, u64> = BTreeMap::new();
    for stored in broker.log(partition) {
        let record = &stored.record;
        match serde_json::from_slice(record.value.as_deref().unwrap_or_default()) {
            Ok(Control::Credit(_)) => {
                let times = all.get(&(partition.clone(), record.offset)).map_or(0, Vec::len);
                verdicts.must(times <= 1, Invariant::I4, || {
                    format!("{partition}@{} credited {times} times", record.offset)
                });
                verdicts.must_in_the_end(times > 0, Invariant::I1, || {
                    format!("{partition}@{} was never credited", record.offset)
                });
            }
            Ok(Control::Release(id)) => {
                released.insert(id, u64::try_from(record.timestamp_ms).unwrap_or(0) * 1_000);
            }
            Err(_) => {}
        }
    }
    let mut answered = BTreeSet::new();
    for fact in facts::facts(groups) {
        match &fact.record.fact.what {
            What::Noted { id } => drop(answered.insert(id.clone())),
            What::Freed { job, .. } => drop(answered.insert(job.id.clone())),
            What::Expired { job, until, .. } => {
                let late = released.get(&job.id).is_none_or(|at| at + CLOCKS >= until.0);
                verdicts.must(late, Invariant::DueAfterReading, || {
                    format!(
                        "{}: {} expired at {until}, though released at {:?}",
                        spec.sender,
                        job.id,
                        released.get(&job.id)
                    )
                });
                verdicts
                    .must(fact.record.at >= *until, Invariant::DueAfterReading, || format!("{} expired early", job.id));
            }
            What::Refused
            | What::Denied { .. }
            | What::Passed { .. }
            | What::Held { .. }
            | What::Moved { .. }
            | What::Credited { .. } => {}
        }
    }
    for id in released.keys() {
        verdicts.must_in_the_end(answered.contains(id), Invariant::I1, || format!("release of {id} had no effect"));
    }
}

/// Judges one shard of the relay; the number of snapshots seen.
pub fn relay<S: Stage<Fact = Fact>>(
    broker: &Broker,
    spec: &ShardSpec,
    dead: &TopicPartition,
    make: &dyn Fn() -> S,
    verdicts: &mut Verdicts,
) -> usize {
    let groups = valid::<Fact>(broker.log(&spec.facts), spec.sender.as_str());
    check_settling(broker, spec, &groups, verdicts);
    check_relay_verdicts(broker, spec, &groups, verdicts);
    check_control(broker, spec, &groups, verdicts);
    let [left, right, overflow] = &spec.outputs[..] else { return 0 };
    check_messages(broker, spec, &groups, dead, |fact: &Fact| expected(fact, [left, right, overflow], dead), verdicts);
    check_bounds(broker, spec, &groups, verdicts);
    replay::check(broker.log(&spec.snapshots.partition(0)), spec.sender.as_str(), &groups, make, verdicts)
}

fn expected(fact: &Fact, [left, right, overflow]: [&TopicPartition; 3], dead: &TopicPartition) -> Option<Shown> {
    let side = |is_right: bool| if is_right { right } else { left };
    let (to, fenced, id) = match &fact.what {
        What::Passed { id, right } => (side(*right), true, id.as_str()),
        What::Freed { job, right, .. } => (side(*right), true, job.id.as_str()),
        What::Moved { job, .. } => (overflow, true, job.id.as_str()),
        What::Refused => (dead, false, ""),
        What::Denied { id } => (dead, false, id.as_str()),
        What::Expired { job, .. } => (dead, false, job.id.as_str()),
        What::Held { .. } | What::Noted { .. } | What::Credited { .. } => return None,
    };
    Some(Shown { to: to.clone(), fenced, id: id.to_owned(), n: fact.n })
}

/// Judges the shard behind it.
pub fn sink(
    broker: &Broker,
    spec: &ShardSpec,
    dead: &TopicPartition,
    make: &dyn Fn() -> Sink,
    verdicts: &mut Verdicts,
) -> usize {
    let groups = valid::<Got>(broker.log(&spec.facts), spec.sender.as_str());
    check_settling(broker, spec, &groups, verdicts);
    let mut ids = BTreeSet::new();
    for (number, fact) in (0..).zip(facts::facts(&groups)) {
        let Got { n, id } = &fact.record.fact;
        verdicts
            .must(*n == number, Invariant::I7, || format!("{}: fact {number} of the log says it is {n}", spec.sender));
        verdicts.must(ids.insert(id.clone()), Invariant::I4, || format!("{id} was got twice"));
    }
    let [finished] = &spec.outputs[..] else { return 0 };
    check_messages(
        broker,
        spec,
        &groups,
        dead,
        |fact: &Got| Some(Shown { to: finished.clone(), fenced: true, id: fact.id.clone(), n: fact.n }),
        verdicts,
    );
    check_bounds(broker, spec, &groups, verdicts);
    replay::check(broker.log(&spec.snapshots.partition(0)), spec.sender.as_str(), &groups, make, verdicts)
}
