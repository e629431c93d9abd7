//! One run of a scenario: what all scenarios share.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::{Cleanup, TopicSpec};
use tidegate_stage::{Rules, Run, Stage};

use crate::chance::Chance;
use crate::executor::{Core, Executor};
use crate::faults;
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::seeds::Outcome;
use crate::spine::{Broker, Manners, SimSpine};
use crate::trace::Trace;
use crate::world::{Launch, Shard, World};

/// The load ends.
pub const LOAD_US: u64 = 3_000_000;
/// Faults end.
pub const CALM_US: u64 = 6_000_000;

/// What a judge found, beside what is wrong.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// Snapshots compared.
    pub snapshots: usize,
    /// What was there to be judged, by name.
    pub tried: BTreeMap<&'static str, u64>,
}

/// A run about to begin.
pub struct Stand {
    /// The seed.
    pub seed: u64,
    /// Chance for the scenario's own numbers.
    pub chance: Chance,
    /// Runs it.
    pub executor: Executor,
    /// Time and tasks.
    pub core: Core,
    /// The trace.
    pub trace: Arc<Trace>,
    /// The broker, from outside.
    pub spine: SimSpine,
    partitions: Vec<TopicPartition>,
}

/// A topic's name.
#[must_use]
pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// The run of a shard with the stages that `make` makes.
pub fn run_of<S: Stage + Send + 'static>(
    launch: Launch,
    rules: Rules,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> BoxFuture<'static, ()>
where
    S::Fact: Send,
    S::Signal: Send,
{
    run_told(launch, rules, mpsc::unbounded().1, make)
}

/// As [`run_of`], with signals from outside.
pub fn run_told<S: Stage + Send + 'static>(
    launch: Launch,
    rules: Rules,
    signals: mpsc::UnboundedReceiver<S::Signal>,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> BoxFuture<'static, ()>
where
    S::Fact: Send,
    S::Signal: Send,
{
    let Launch { spec, spine, clock, stop, watch } = launch;
    let keys = crate::keys::stages();
    let make = Box::new(make);
    Run { spec, spine, clock, make, signals, stop, signer: keys.clone(), trust: keys, watch, rules }.run().boxed()
}

impl Stand {
    /// A broker with topics (name, partitions) and nothing else.
    #[must_use]
    pub fn new(seed: u64, keep_trace: bool, logs: &[(TopicName, u32)], keyed: &[TopicName]) -> Self {
        let executor = Executor::default();
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
        let log = Cleanup::Log { retention_ms: None };
        let all = logs.iter().map(|(name, n)| (name, *n, log)).chain(keyed.iter().map(|n| (n, 1, Cleanup::Keyed)));
        let mut of = Vec::new();
        for (name, partitions, cleanup) in all {
            let name = name.clone();
            of.extend((0..partitions).map(|p| name.partition(p)));
            let spec = TopicSpec {
                name,
                partitions,
                cleanup,
                max_record_bytes: 1 << 20,
                broker_time: true,
                replication: None,
            };
            spine.broker().create(spec);
        }
        Self { seed, chance, executor, core, trace, spine, partitions: of }
    }

    /// In some runs everything is written twice to these topics: to `open` ones by whoever may write there, to `sealed` ones by
    /// somebody who may not. True when it is so.
    pub fn storm(&self, open: &[TopicName], sealed: &[TopicName]) -> bool {
        let storms = Chance::new(self.seed, "storm").percent(20);
        if storms {
            self.spine.storm(open.iter().cloned(), false);
            self.spine.storm(sealed.iter().cloned(), true);
        }
        storms
    }

    /// The world of these shards, with faults to come.
    pub fn world(&mut self, shards: Vec<Shard>) -> Arc<World> {
        let processes = u32::try_from(self.chance.within(2..5)).unwrap_or(2);
        let (core, trace) = (self.core.clone(), self.trace.clone());
        let world = World::new(self.seed, self.spine.clone(), core, trace, shards, processes);
        faults::schedule(self.seed, &world, &self.partitions, 100_000, CALM_US - 500_000);
        let calm = world.clone();
        self.core.at(CALM_US, move || calm.calm());
        world
    }

    /// Runs until `judge` misses nothing, or virtual time `quiet_us` is over.
    pub fn run(
        mut self,
        world: &Arc<World>,
        quiet_us: u64,
        judge: impl Fn(&Broker, &mut Verdicts) -> Judged,
    ) -> Outcome {
        let verdicts_now = || {
            let mut verdicts = Verdicts::default();
            let judged = judge(&self.spine.broker(), &mut verdicts);
            for defect in world.defects() {
                verdicts.broken(Invariant::Defect, || defect);
            }
            (verdicts, judged)
        };
        self.executor.run_until(CALM_US + 3_500_000);
        let (mut verdicts, mut judged) = verdicts_now();
        while verdicts.broken.is_empty() && !verdicts.missing.is_empty() && self.core.now() < quiet_us {
            self.executor.run_until(self.core.now() + 2_000_000);
            (verdicts, judged) = verdicts_now();
        }
        let mut violations = verdicts.broken;
        violations.append(&mut verdicts.missing);
        Outcome {
            seed: self.seed,
            hash: self.trace.hash(),
            events: self.trace.events(),
            steps: self.executor.steps,
            takeovers: world.takeovers(),
            snapshots: judged.snapshots as u64,
            tried: judged.tried,
            quiet_us: self.core.now(),
            ended: world.ended(),
            violations,
            lines: self.trace.take_lines(),
        }
    }
}
