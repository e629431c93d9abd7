//! One run of the relay scenario.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::mpsc;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::ids::SenderId;
use tidegate_spine::{Cleanup, TopicSpec};
use tidegate_stage::{InputKind, InputSpec, Pace, Rules, Run, ShardSpec, Stage};

use super::judge;
use super::load;
use super::sink::Sink;
use super::stage::{FailOpen, Relay, Routes};
use crate::chance::Chance;
use crate::executor::Executor;
use crate::faults;
use crate::ledger::facts::{places, valid};
use crate::ledger::verdicts::{Verdicts, Violation};
use crate::seeds::Outcome;
use crate::spine::{Manners, SimSpine};
use crate::trace::Trace;
use crate::world::{Launch, Shard, World};

/// The load ends.
const LOAD_US: u64 = 3_000_000;
/// Faults end.
const CALM_US: u64 = 6_000_000;
/// Everything must be quiet by then.
const QUIET_US: u64 = 60_000_000;

/// What is wrong with the stage, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    /// Nothing.
    #[default]
    Nothing,
    /// What may not pass passes.
    FailOpen,
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn pace(seed: u64, shard: &str) -> Pace {
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
        fence_alarm: Duration::from_secs(1),
    }
}

fn input(partition: TopicPartition, kind: InputKind, sealed: bool) -> InputSpec {
    InputSpec { partition, kind, sealed, trim: sealed }
}

fn run_of<S: Stage + Send + 'static>(
    launch: Launch,
    rules: Rules,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> futures::future::BoxFuture<'static, ()>
where
    S::Fact: Send,
{
    let Launch { spec, spine, clock, stop, watch } = launch;
    let (_, signals) = mpsc::unbounded();
    Run { spec, spine, clock, make: Box::new(make), signals, stop, watch, rules }.run().boxed()
}

fn relay_spec(seed: u64, number: u32) -> ShardSpec {
    let name = format!("a/{number}");
    ShardSpec {
        sender: SenderId::new(&name).unwrap(),
        facts: topic("a.facts").partition(number),
        inputs: vec![
            input(topic("jobs").partition(number), InputKind::Jobs, false),
            input(topic("overflow").partition(number), InputKind::Jobs, true),
            input(topic("control").partition(number), InputKind::Control, false),
        ],
        outputs: vec![topic("left").partition(0), topic("right").partition(0), topic("overflow").partition(number)],
        snapshots: topic("snapshots"),
        shards: topic("shards"),
        process: String::new(),
        pace: pace(seed, &name),
    }
}

fn sink_spec(seed: u64) -> ShardSpec {
    ShardSpec {
        sender: SenderId::new("b/0").unwrap(),
        facts: topic("b.facts").partition(0),
        inputs: vec![
            input(topic("left").partition(0), InputKind::Jobs, true),
            input(topic("right").partition(0), InputKind::Jobs, true),
        ],
        outputs: vec![topic("finished").partition(0)],
        snapshots: topic("snapshots"),
        shards: topic("shards"),
        process: String::new(),
        pace: pace(seed, "b/0"),
    }
}

fn topics() -> Vec<TopicSpec> {
    let spec = |name: &str, partitions, cleanup| TopicSpec {
        name: topic(name),
        partitions,
        cleanup,
        max_record_bytes: 1 << 20,
        broker_time: true,
        replication: None,
    };
    let log = Cleanup::Log { retention_ms: None };
    let logs = [("jobs", 2), ("control", 2), ("overflow", 2), ("a.facts", 2), ("b.facts", 1)];
    let single = [("left", 1), ("right", 1), ("finished", 1), ("dead", 1)];
    let keyed = [("snapshots", 1), ("shards", 1)];
    (logs.into_iter().chain(single).map(|(name, n)| spec(name, n, log)))
        .chain(keyed.into_iter().map(|(name, n)| spec(name, n, Cleanup::Keyed)))
        .collect()
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

/// Time retention at its limit: what no valid group needs any more goes, of the logs that are not trimmed.
fn retain(spine: &SimSpine, spec: &ShardSpec) {
    let mut broker = spine.broker();
    let groups = valid::<serde_json::Value>(broker.log(&spec.facts), spec.sender.as_str());
    let mut position = 0;
    let control = &spec.inputs[super::stage::CONTROL as usize].partition;
    places(&groups, |_, known| position = known.get(control).map_or(0, |r| r.position));
    broker.trim(control, position);
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, rules: Rules, plant: Plant, keep_trace: bool) -> Outcome {
    let mut executor = Executor::default();
    let core = executor.core();
    let trace = Arc::new(Trace::new(keep_trace));
    let mut chance = Chance::new(seed, "scenario");
    let manners = Manners {
        append_us: chance.within(1_000..60_000),
        read_us: chance.within(1_000..40_000),
        gaps: u32::try_from(chance.within(0..15)).unwrap_or(0),
        split: u32::try_from(chance.within(0..30)).unwrap_or(0),
    };
    let spine = SimSpine::new(core.clone(), trace.clone(), seed, manners);
    let mut partitions = Vec::new();
    for spec in topics() {
        partitions.extend((0..spec.partitions).map(|p| spec.name.partition(p)));
        spine.broker().create(spec);
    }
    let specs = [relay_spec(seed, 0), relay_spec(seed, 1)];
    let windows = [(); 2].map(|()| usize::try_from(chance.within(2..12)).unwrap_or(2));
    let relays = makers(&specs, &windows);
    let behind = sink_spec(seed);
    let (finished, window) = (behind.outputs[0].clone(), usize::try_from(chance.within(2..8)).unwrap_or(2));
    let make_sink = move || Sink::new(finished.clone(), window);
    let mut shards = Vec::new();
    for (spec, make) in specs.iter().zip(relays.clone()) {
        let launch: crate::world::Launcher = match plant {
            Plant::Nothing => Box::new(move |launch| run_of(launch, rules, make.clone())),
            Plant::FailOpen => Box::new(move |launch| {
                let make = make.clone();
                run_of(launch, rules, move || FailOpen(make()))
            }),
        };
        shards.push(Shard { spec: spec.clone(), launch });
    }
    let make = make_sink.clone();
    shards.push(Shard { spec: behind.clone(), launch: Box::new(move |launch| run_of(launch, rules, make.clone())) });

    let processes = u32::try_from(chance.within(2..5)).unwrap_or(2);
    let world = World::new(seed, spine.clone(), core.clone(), trace.clone(), shards, processes);
    for (number, spec) in specs.iter().enumerate() {
        load::submit(seed, number, &core, &spine, &spec.inputs[0].partition, &spec.inputs[2].partition, LOAD_US);
        if chance.percent(50) {
            for step in 1..12 {
                let (spine, spec) = (spine.clone(), spec.clone());
                core.at(step * 500_000, move || retain(&spine, &spec));
            }
        }
    }
    faults::schedule(seed, &world, &partitions, 100_000, CALM_US - 500_000);
    let calm = world.clone();
    core.at(CALM_US, move || calm.calm());

    let dead = topic("dead").partition(0);
    let judge = || {
        let mut verdicts = Verdicts::default();
        let broker = spine.broker();
        let mut snapshots = 0;
        for (spec, make) in specs.iter().zip(&relays) {
            snapshots += judge::relay(&broker, spec, &dead, make, &mut verdicts);
        }
        snapshots += judge::sink(&broker, &behind, &dead, &make_sink, &mut verdicts);
        for defect in world.defects() {
            verdicts.broken(crate::ledger::verdicts::Invariant::Defect, || defect);
        }
        (verdicts, snapshots)
    };
    executor.run_until(CALM_US + 3_500_000);
    let (mut verdicts, mut snapshots) = judge();
    while verdicts.broken.is_empty() && !verdicts.missing.is_empty() && core.now() < QUIET_US {
        executor.run_until(core.now() + 2_000_000);
        (verdicts, snapshots) = judge();
    }
    let mut violations: Vec<Violation> = verdicts.broken;
    violations.append(&mut verdicts.missing);
    Outcome {
        seed,
        hash: trace.hash(),
        events: trace.events(),
        steps: executor.steps,
        takeovers: world.takeovers(),
        snapshots: snapshots as u64,
        quiet_us: core.now(),
        ended: world.ended(),
        violations,
        lines: trace.take_lines(),
    }
}
