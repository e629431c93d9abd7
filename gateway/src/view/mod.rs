//! The whole story of every recent job, in bounded memory.
//!
//! [`View`] takes facts and messages in any order across partitions (a lease may be read before its decision) and in
//! order within one; [`tail`] reads them from the spine. What was evicted is no longer known here: the logs still have it.

mod believe;
mod ended;
mod fold;
mod hold;
mod lending;
mod questions;
mod shelf;
pub mod story;
pub mod tail;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::Place;
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::ids::{JobId, PoolName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::LimitsFact;
use tidegate_protocol::time::Timestamp;
use tokio::sync::watch;

use crate::fleet::known::{Known, Pool};

pub use believe::{before_death, dead as read_dead};
pub use ended::TooManyWait;
pub use hold::{GivenApproval, HoldStory, PayloadSummary, RefusedCommand};
pub use lending::{LentTo, LimitStanding};
pub use questions::{Changes, Filter};
pub use story::{Attempt, DeadRecord, State, Story, Times};

/// Bounds of a view.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most jobs; the oldest ended is put out first.
    pub jobs: usize,
    /// Largest output kept of a job, bytes; a larger one is left out of its story.
    pub output_bytes: usize,
    /// Most records of `dead`.
    pub dead: usize,
    /// Most requests that wait at once.
    pub waiters: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { jobs: 200_000, output_bytes: 8 << 10, dead: 10_000, waiters: 10_000 }
    }
}

/// How a job is named in a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKey {
    /// By its record.
    Position(SourcePosition),
    /// By its id; of any tenant when none is given.
    Id {
        /// The id.
        id: JobId,
        /// Its tenant.
        tenant: Option<TenantId>,
    },
}

/// The jobs known to this process. Shared as `Arc<View>`.
#[derive(Debug)]
pub struct View {
    shelf: Mutex<shelf::Shelf>,
    lending: Mutex<lending::Lending>,
    fleet: Mutex<Known>,
    /// Counts what shards say of operators' commands.
    fleet_changed: watch::Sender<u64>,
    /// Number of the last change.
    changed: watch::Sender<u64>,
    /// Whether everything that was there at the start has been read.
    caught_up: watch::Sender<bool>,
    bounds: Bounds,
}

impl View {
    /// Is told the number of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// An empty view.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            shelf: Mutex::new(shelf::Shelf::new(bounds)),
            lending: Mutex::default(),
            fleet: Mutex::default(),
            fleet_changed: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            caught_up: watch::Sender::new(false),
            bounds,
        }
    }

    /// Whether everything that was there when reading began has been read.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Waits until everything that was there when reading began has been read.
    pub async fn caught_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.caught_up.subscribe().wait_for(|yes| *yes).await;
    }

    /// Jobs in the view.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelf().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests that wait for a job to end.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shelf().waiting
    }

    /// Takes a kernel's fact.
    pub fn kernel_fact(&self, at: Timestamp, fact: KernelFact) {
        self.change(|shelf| fold::kernel(shelf, at, fact));
    }

    /// Takes a scheduler's fact.
    pub fn scheduler_fact(&self, pool: &PoolName, at: Timestamp, fact: SchedulerFact) {
        self.change(|shelf| fold::scheduler(shelf, pool, at, fact));
    }

    /// Takes a fact of the limits stage.
    pub fn limits_fact(&self, at: Timestamp, fact: LimitsFact) {
        self.lending().take(fact, at);
    }

    /// Keys of limits whose id begins with `of`, at most `most`, as they stand at the latest fact.
    #[must_use]
    pub fn limits(&self, of: &str, most: usize) -> Vec<LimitStanding> {
        self.lending().standing(of, most)
    }

    /// Takes what a scheduler's fact of that shard says of its pool; before [`Self::scheduler_fact`].
    pub fn fleet_fact(&self, pool: &PoolName, shard: u32, at: Timestamp, fact: &SchedulerFact) {
        let decided = if let SchedulerFact::LeaseGranted { source, .. } = fact {
            self.shelf().at(source).and_then(|story| story.times.decided_ms)
        } else {
            None
        };
        self.known().take(pool, shard, at, fact, decided);
        if matches!(
            fact,
            SchedulerFact::WorkerCordoned { .. }
                | SchedulerFact::WorkerUncordoned { .. }
                | SchedulerFact::PoolCommandRefused { .. }
        ) {
            self.fleet_changed.send_modify(|changes| *changes += 1);
        }
    }

    /// Told when a shard says what became of an operator's command.
    pub(crate) fn fleet_changes(&self) -> watch::Receiver<u64> {
        self.fleet_changed.subscribe()
    }

    /// Takes what a group of a stage says of its shard's places.
    pub(crate) fn moved(&self, inputs: &[TopicPartition], places: &[Place]) {
        if !places.is_empty() {
            self.known().moved(inputs, places);
        }
    }

    /// The lowest offset of an input that its stage has not settled, and how many records above it are settled; `None` when
    /// no stage has said.
    #[must_use]
    pub fn place(&self, input: &TopicPartition) -> Option<(Offset, u64)> {
        self.known().place(input)
    }

    /// Every input of which a stage has said how far it is.
    #[must_use]
    pub fn inputs(&self) -> Vec<TopicPartition> {
        let mut inputs: Vec<TopicPartition> = self.known().inputs().cloned().collect();
        inputs.sort();
        inputs
    }

    /// What the facts say of a pool.
    pub(crate) fn fleet<T>(&self, pool: &PoolName, look: impl FnOnce(&Pool) -> T) -> T {
        match self.known().pool(pool) {
            Some(known) => look(known),
            None => look(&Pool::default()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // As for the shelf.
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lending(&self) -> MutexGuard<'_, lending::Lending> {
        // As for the shelf.
        self.lending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record of `dead`.
    pub fn dead(&self, dead: DeadRecord) {
        metrics::counter!(crate::metrics::DEAD, "reason" => dead.reason_label()).increment(1);
        self.change(|shelf| shelf.add_dead(dead));
    }

    fn change(&self, by: impl FnOnce(&mut shelf::Shelf)) {
        let (before, after) = {
            let mut shelf = self.shelf();
            let before = shelf.last_change();
            by(&mut shelf);
            (before, shelf.last_change())
        };
        if after != before {
            self.changed.send_replace(after);
        }
    }

    fn shelf(&self) -> MutexGuard<'_, shelf::Shelf> {
        // No code panics while it holds the lock; a poisoned one is as good.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
