//! What must be true of the relay scenario's logs.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_stage::{ShardSpec, Stage};

use super::sink::{Got, Sink};
use super::stage::{AT_ONCE, CONTROL, Control, Fact, JOBS, Job, OVERFLOW, Todo, What};
use crate::ledger::facts::{self, ValidGroup, valid};
use crate::ledger::replay;
use crate::ledger::settling::{self, inputs, settled};
use crate::ledger::telling::{self, Shown};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

/// Clocks may be off by this much without fault, with what they drift in a run; microseconds.
const CLOCKS: u64 = 700_000;

/// The facts say what the records ask for.
fn check_relay_verdicts(broker: &Broker, spec: &ShardSpec, groups: &[ValidGroup<Fact>], verdicts: &mut Verdicts) {
    let all = settled(groups);
    for (number, fact) in (0..).zip(facts::facts(groups)) {
        let n = fact.record.fact.n;
        verdicts
            .must(n == number, Invariant::I7, || format!("{}: fact {number} of the log says it is {n}", spec.sender));
    }
    for number in [JOBS, OVERFLOW] {
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
    settling::check(broker, spec, &groups, verdicts);
    check_relay_verdicts(broker, spec, &groups, verdicts);
    check_control(broker, spec, &groups, verdicts);
    let [left, right, overflow] = &spec.outputs[..] else { return 0 };
    let topics = [left, right, overflow, dead].map(|p| &p.topic);
    telling::check(broker, spec, &groups, std::slice::from_ref(dead), |fact| expected(fact, topics), verdicts);
    telling::check_bounds(broker, spec, &groups, AT_ONCE, verdicts);
    let snapshots = broker.log(&spec.snapshots.partition(0));
    telling::check_places(&replay::written(snapshots, spec.sender.as_str()), spec, verdicts);
    replay::check(snapshots, spec.sender.as_str(), &groups, make, verdicts)
}

fn expected(fact: &Fact, [left, right, overflow, dead]: [&TopicName; 4]) -> Vec<Shown> {
    let side = |is_right: bool| if is_right { right } else { left };
    let (to, fenced, id) = match &fact.what {
        What::Passed { id, right } => (side(*right), true, id.as_str()),
        What::Freed { job, right, .. } => (side(*right), true, job.id.as_str()),
        What::Moved { job, .. } => (overflow, true, job.id.as_str()),
        What::Refused => (dead, false, ""),
        What::Denied { id } => (dead, false, id.as_str()),
        What::Expired { job, .. } => (dead, false, job.id.as_str()),
        What::Held { .. } | What::Noted { .. } | What::Credited { .. } => return Vec::new(),
    };
    vec![Shown { ordinal: 0, to: to.clone(), fenced, key: id.to_owned(), header: ("n", fact.n.to_string()), copies: 1 }]
}

/// Judges the shard behind it: every job is got once at most.
pub fn sink(
    broker: &Broker,
    spec: &ShardSpec,
    dead: &TopicPartition,
    make: &dyn Fn() -> Sink,
    verdicts: &mut Verdicts,
) -> usize {
    let groups = valid::<Got>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    let mut ids = BTreeSet::new();
    for (number, fact) in (0..).zip(facts::facts(&groups)) {
        let Got { n, id } = &fact.record.fact;
        verdicts
            .must(*n == number, Invariant::I7, || format!("{}: fact {number} of the log says it is {n}", spec.sender));
        verdicts.must(ids.insert(id.clone()), Invariant::I4, || format!("{id} was got twice"));
    }
    let [finished] = &spec.outputs[..] else { return 0 };
    let shown = |fact: &Got| {
        let header = ("n", fact.n.to_string());
        vec![Shown { ordinal: 0, to: finished.topic.clone(), fenced: true, key: fact.id.clone(), header, copies: 1 }]
    };
    telling::check(broker, spec, &groups, std::slice::from_ref(dead), shown, verdicts);
    telling::check_bounds(broker, spec, &groups, AT_ONCE, verdicts);
    replay::check(broker.log(&spec.snapshots.partition(0)), spec.sender.as_str(), &groups, make, verdicts)
}
