//! One run of the relay scenario.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::IgnoredAny;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_protocol::ids::SenderId;
use tidegate_spine::Record;
use tidegate_stage::{InputKind, InputSpec, Pace, Rules, ShardSpec, Writers};

use super::judge;
use super::load;
use super::sink::Sink;
use super::stage::{CONTROL, FailOpen, JOBS, Relay, Routes};
use crate::chance::Chance;
use crate::ledger::settling;
use crate::plants::Plant;
use crate::retention;
use crate::run::{Judged, LOAD_US, Stand, run_of, topic};
use crate::seeds::Outcome;
use crate::spine::Broker;
use crate::world::{Launcher, Shard};

/// Everything must be quiet by then.
const QUIET_US: u64 = 60_000_000;

/// Small bounds, so that a run meets them.
pub(crate) fn pace(seed: u64, shard: &str) -> Pace {
    let mut chance = Chance::new(seed, &format!("pace {shard}"));
    let mut up_to = |from: u64, to: u64| usize::try_from(chance.within(from..to)).unwrap_or(1);
    Pace {
        group_facts: up_to(1, 20),
        group_bytes: up_to(500, 20_000),
        groups_in_flight: up_to(1, 4),
        message_bytes: 64 << 10,
        idle_group: Duration::from_millis(up_to(100, 1_500) as u64),
        idle_records: up_to(1, 30) as u64,
        snapshot_facts: up_to(3, 20) as u64,
        place_distance: up_to(6, 40) as u64,
        place_ranges: up_to(2, 10),
        clock_skew: Duration::from_millis(400),
        backoff: (Duration::from_millis(20), Duration::from_millis(500)),
        idle_read_back: Duration::from_millis(up_to(50, 1_000) as u64),
        checkpoint_every: Duration::from_millis(200),
        fence_alarm: Duration::from_secs(1),
        snapshot_every: None,
    }
}

fn input(partition: TopicPartition, kind: InputKind, writers: Writers) -> InputSpec {
    InputSpec { partition, kind, writers, trim: writers.sealed() }
}

const RELAYS: Writers = Writers::Stages(&["a"]);

fn relay_spec(seed: u64, number: u32) -> ShardSpec {
    let name = format!("a/{number}");
    ShardSpec {
        sender: SenderId::new(&name).unwrap(),
        facts: topic("a.facts").partition(number),
        inputs: vec![
            input(topic("jobs").partition(number), InputKind::Jobs, Writers::Anyone),
            input(topic("overflow").partition(number), InputKind::Jobs, RELAYS),
            input(topic("control").partition(number), InputKind::Control, Writers::Anyone),
        ],
        outputs: vec![topic("left").partition(0), topic("right").partition(0), topic("overflow").partition(number)],
        snapshots: topic("snapshots"),
        shards: topic("shards"),
        checkpoints: Some(topic("checkpoints").partition(0)),
        process: String::new(),
        pace: pace(seed, &name),
    }
}

fn sink_spec(seed: u64) -> ShardSpec {
    ShardSpec {
        sender: SenderId::new("b/0").unwrap(),
        facts: topic("b.facts").partition(0),
        inputs: vec![
            input(topic("left").partition(0), InputKind::Jobs, RELAYS),
            input(topic("right").partition(0), InputKind::Jobs, RELAYS),
        ],
        outputs: vec![topic("finished").partition(0)],
        snapshots: topic("snapshots"),
        shards: topic("shards"),
        checkpoints: Some(topic("checkpoints").partition(0)),
        process: String::new(),
        pace: pace(seed, "b/0"),
    }
}

fn routes(spec: &ShardSpec) -> Option<Routes> {
    let [left, right, overflow] = &spec.outputs[..] else { return None };
    let dead = topic("dead").partition(0);
    Some(Routes { left: left.clone(), right: right.clone(), overflow: overflow.clone(), dead })
}

fn makers(specs: &[ShardSpec], windows: &[usize]) -> Vec<impl Fn() -> Relay + Clone + Send + Sync + 'static> {
    specs
        .iter()
        .zip(windows)
        .filter_map(|(spec, window)| {
            let (routes, window) = (routes(spec)?, *window);
            Some(move || Relay::new(routes.clone(), window))
        })
        .collect()
}

/// Now and then records of a job input are lost.
fn lose(seed: u64, stand: &Stand, spec: &ShardSpec) {
    let mut chance = Chance::new(seed, &format!("loss {}", spec.sender));
    if chance.percent(10) {
        let input = usize::from(chance.percent(30));
        retention::lose(&mut chance, &stand.core, &stand.spine, spec, input);
    }
}

/// Now and then the sink's inputs are cut in front of what was said again.
fn lose_originals(seed: u64, stand: &Stand, behind: &ShardSpec) {
    let mut chance = Chance::new(seed, "loss of originals");
    for input in 0..behind.inputs.len() {
        if chance.percent(25) {
            retention::lose_originals(&stand.core, &stand.spine, behind, input);
        }
    }
}

/// A facts log as a run left it.
#[derive(Debug, Clone)]
pub struct FactsLeft {
    /// Whose.
    pub sender: SenderId,
    /// Where.
    pub facts: TopicPartition,
    /// Every record, in order.
    pub records: Vec<Record>,
    /// What its owners said of it, in signed checkpoints.
    pub checkpoints: Vec<Checkpoint>,
}

fn said(broker: &Broker, spec: &ShardSpec) -> Vec<Checkpoint> {
    let all = spec.checkpoints.iter().flat_map(|at| broker.log(at));
    let read = all.map(|stored| serde_json::from_slice(stored.record.value.as_deref().unwrap_or_default()).unwrap());
    read.filter(|checkpoint: &Checkpoint| checkpoint.sender == spec.sender).collect()
}

/// The facts logs that a seed leaves, for those who read logs.
#[must_use]
pub fn facts_left(seed: u64) -> Vec<FactsLeft> {
    let left = RefCell::new(Vec::new());
    let outcome = run_and(seed, tidegate_stage::Rules::default(), Plant::Nothing, false, &|broker, specs| {
        let of = |spec: &ShardSpec| FactsLeft {
            sender: spec.sender.clone(),
            facts: spec.facts.clone(),
            records: broker.log(&spec.facts).iter().map(|stored| stored.record.clone()).collect(),
            checkpoints: said(broker, spec),
        };
        *left.borrow_mut() = specs.iter().map(of).collect();
    });
    assert!(outcome.passed(), "seed {seed} is red");
    left.into_inner()
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, rules: Rules, plant: Plant, keep_trace: bool) -> Outcome {
    run_and(seed, rules, plant, keep_trace, &|_, _| {})
}

/// Runs one seed; `look` sees the broker whenever it is judged.
fn run_and(seed: u64, rules: Rules, plant: Plant, keep_trace: bool, look: &dyn Fn(&Broker, &[ShardSpec])) -> Outcome {
    let logs = [("jobs", 2), ("control", 2), ("overflow", 2), ("a.facts", 2), ("b.facts", 1)];
    let single = [("left", 1), ("right", 1), ("finished", 1), ("dead", 1), ("checkpoints", 1)];
    let logs: Vec<_> = logs.into_iter().chain(single).map(|(name, n)| (topic(name), n)).collect();
    let mut stand = Stand::new(seed, keep_trace, &logs, &[topic("snapshots"), topic("shards")]);
    let specs = [relay_spec(seed, 0), relay_spec(seed, 1)];
    let windows = [(); 2].map(|()| usize::try_from(stand.chance.within(2..12)).unwrap_or(2));
    let relays = makers(&specs, &windows);
    let behind = sink_spec(seed);
    let (finished, window) = (behind.outputs[0].clone(), usize::try_from(stand.chance.within(2..8)).unwrap_or(2));
    let make_sink = move || Sink::new(finished.clone(), window);
    let mut shards = Vec::new();
    for (spec, make) in specs.iter().zip(relays.clone()) {
        let launch: Launcher = match plant {
            Plant::FailOpen => Box::new(move |launch| {
                let make = make.clone();
                run_of(launch, rules, move || FailOpen(make()))
            }),
            Plant::Nothing
            | Plant::StaleToken
            | Plant::OtherInput
            | Plant::TicketUnchecked
            | Plant::RevokedLives
            | Plant::LostCancel
            | Plant::StrikesForgotten
            | Plant::ShareIgnored
            | Plant::LostSpend
            | Plant::ExpiredRuns
            | Plant::ExpiredStarts
            | Plant::SameLife
            | Plant::OrderIgnored
            | Plant::SelectorIgnored
            | Plant::OutOfTurn
            | Plant::NeverRises
            | Plant::StallIgnored
            | Plant::KernelByRecord
            | Plant::SchedulerByRecord
            | Plant::ProgressUnheard => Box::new(move |launch| run_of(launch, rules, make.clone())),
        };
        shards.push(Shard { spec: spec.clone(), launch });
    }
    let make = make_sink.clone();
    shards.push(Shard { spec: behind.clone(), launch: Box::new(move |launch| run_of(launch, rules, make.clone())) });
    for (number, spec) in specs.iter().enumerate() {
        let (jobs, control) = (&spec.inputs[JOBS as usize].partition, &spec.inputs[CONTROL as usize].partition);
        load::submit(seed, number, &stand.core, &stand.spine, jobs, control, LOAD_US);
        if stand.chance.percent(50) {
            for step in 1..12 {
                let (spine, spec) = (stand.spine.clone(), spec.clone());
                let control = [spec.inputs[CONTROL as usize].partition.clone()];
                stand.core.at(step * 500_000, move || retention::retain(&spine, &spec, &control));
            }
        }
    }
    specs.iter().for_each(|spec| lose(seed, &stand, spec));
    lose_originals(seed, &stand, &behind);
    let world = stand.world(shards);
    let dead = topic("dead").partition(0);
    let [first, second] = specs.clone();
    let all = [first, second, behind.clone()];
    stand.run(&world, QUIET_US, |broker, verdicts| {
        look(broker, &all);
        let relays = specs.iter().zip(&relays);
        let snapshots: usize = relays.map(|(spec, make)| judge::relay(broker, spec, &dead, make, verdicts)).sum();
        let sink = judge::sink(broker, &behind, &dead, &make_sink, verdicts);
        let lost = all.iter().map(|spec| settling::lost_originals::<IgnoredAny>(broker, spec)).sum();
        let tried = BTreeMap::from([("settled messages given up in front of their copies", lost)]);
        Judged { snapshots: snapshots + sink, tried }
    })
}
