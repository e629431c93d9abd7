//! How many jobs the shards of a pool in this process have, as each of them tells about once a second.
//!
//! What a scheduler has stands in its state, which its runner owns; so it is wrapped, and writes down what it has whenever its
//! figures are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::Scheduler;
use tidegate_spine::Record;
use tidegate_stage::{Decision, Input, Outbox, Signal, Stage};
use tokio::time::Instant;

/// What a shard has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Has {
    /// Jobs that are ready and stand in no log: they were leased, or delayed.
    pub(crate) requeued: usize,
    /// Jobs leased.
    pub(crate) leased: usize,
    /// Assignments that workers would take now.
    pub(crate) free: u64,
    /// All jobs: those that wait in memory, run, are delayed or tried again.
    pub(crate) jobs: usize,
}

/// Of the shards that this process has: when each said last what it has, and what.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<BTreeMap<u32, Option<(Instant, Has)>>>);

impl Figures {
    fn shards_now(&self) -> MutexGuard<'_, BTreeMap<u32, Option<(Instant, Has)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard is here, and has said nothing yet.
    pub(crate) fn expect(&self, shard: u32) {
        self.shards_now().insert(shard, None);
    }

    /// The shard is here no longer.
    pub(crate) fn forget(&self, shard: u32) {
        self.shards_now().remove(&shard);
    }

    fn say(&self, shard: u32, has: Has) {
        // One that is here no longer says nothing more.
        if let Some(said) = self.shards_now().get_mut(&shard) {
            *said = Some((Instant::now(), has));
        }
    }

    /// Jobs of all shards here, once each has spoken after `since`.
    pub(crate) fn since(&self, since: Instant) -> Option<usize> {
        let fresh = |said: &Option<(Instant, Has)>| said.filter(|(at, _)| *at > since).map(|(_, has)| has.jobs);
        self.shards_now().values().map(fresh).sum()
    }

    /// What all shards here have together, as they said last; `None` while one has said nothing yet.
    pub(crate) fn together(&self) -> Option<Has> {
        self.shards_now().values().try_fold(Has::default(), |all, said| {
            let (_, has) = (*said)?;
            Some(Has {
                requeued: all.requeued + has.requeued,
                leased: all.leased + has.leased,
                free: all.free + has.free,
                jobs: all.jobs + has.jobs,
            })
        })
    }

    /// Which are here.
    pub(crate) fn shards(&self) -> BTreeSet<u32> {
        self.shards_now().keys().copied().collect()
    }
}

/// What is left in a pool, as far as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Shards that this process has, of all.
    pub shards: (usize, u32),
    /// Jobs that wait, run or are delayed there; `None`: not every shard has said so.
    pub jobs: Option<usize>,
    /// Records in their logs that are not settled.
    pub records: u64,
}

impl Left {
    /// Whether nothing is.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self.jobs, Some(0)) && self.records == 0
    }

    /// Whether shards of the pool are elsewhere, or nowhere.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        u32::try_from(self.shards.0).is_ok_and(|here| here < self.shards.1)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.jobs {
            Some(jobs) => write!(f, "{jobs} jobs that wait, run or are delayed")?,
            None => f.write_str("shards that have not said yet what they have")?,
        }
        write!(f, ", {} records in its logs", self.records)
    }
}

/// A scheduler that writes down what it has.
pub(crate) struct Counted {
    scheduler: Scheduler,
    shard: u32,
    figures: Arc<Figures>,
}

impl Counted {
    pub(crate) const fn new(scheduler: Scheduler, shard: u32, figures: Arc<Figures>) -> Self {
        Self { scheduler, shard, figures }
    }
}

impl Stage for Counted {
    type Fact = SchedulerFact;
    type Signal = <Scheduler as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        self.scheduler.decide(input, at, decision);
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        self.scheduler.apply(fact, at);
    }

    fn emit(&self, fact: &SchedulerFact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
        self.scheduler.emit(fact, at, input, outbox);
    }

    fn needs_input(&self, fact: &SchedulerFact) -> bool {
        self.scheduler.needs_input(fact)
    }

    fn observe(&mut self, signal: Signal<'_, Self::Signal>, at: Timestamp) {
        self.scheduler.observe(signal, at);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.scheduler.next_due()
    }

    fn admits(&self, input: u32) -> bool {
        self.scheduler.admits(input)
    }

    fn tally(fact: &SchedulerFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
        Scheduler::tally(fact, count);
    }

    fn figures(&self, publish: &mut dyn FnMut(&'static str, f64)) {
        let gauges = self.scheduler.gauges();
        let has = Has {
            requeued: gauges.requeued,
            leased: gauges.leased,
            free: gauges.free_credit,
            jobs: gauges.waiting + gauges.requeued + gauges.delayed + gauges.leased,
        };
        self.figures.say(self.shard, has);
        self.scheduler.figures(publish);
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        self.scheduler.snapshot()
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        self.scheduler.restore(snapshot)
    }
}
