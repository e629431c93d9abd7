//! The loop of a worker: one task that owns lane, links and jobs; everything else is told through it.
//!
//! Each turn takes whatever is ready (records of the lane, jobs that ended, appends that landed, timers), and only then
//! says what is to be said: so a burst is one append, and a single result goes out at once. Nothing here waits for the
//! spine: opening the lane again and making a producer are states, so leases are watched throughout an outage.

mod allot;
pub(crate) mod backoff;
pub mod gate;
mod incarnation;
mod jobs;
mod lane;
mod link;
mod shares;
mod start;
mod turn;

use std::future::Future;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidegate_protocol::address::{BadTopicName, TopicName};
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Spine, SpineError};

use crate::Worker;

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Results the scheduler had not settled when the settle limit was over; they may or may not count, and their jobs
    /// may run again. 0 for a clean end.
    pub unsettled: usize,
}

/// A worker cannot start or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Prefix and pool make no topic name.
    #[error("worker `{worker}` has no topics")]
    Topics {
        /// The worker.
        worker: WorkerId,
        /// Why.
        source: BadTopicName,
    },
    /// A topic does not exist.
    #[error("worker `{worker}`: topic `{topic}` does not exist; run `tidegate topics apply`")]
    NoTopic {
        /// The worker.
        worker: WorkerId,
        /// The topic.
        topic: TopicName,
    },
    /// The spine refuses at the start.
    #[error("worker `{worker}` cannot start")]
    Spine {
        /// The worker.
        worker: WorkerId,
        /// Why.
        source: SpineError,
    },
    /// Another process has the worker's name and began later.
    #[error(
        "another process reports as worker `{worker}` with incarnation {theirs} (ours is {ours}); each process needs a worker id of its own (`tidegate worker --id NAME`)"
    )]
    Superseded {
        /// The name both have.
        worker: WorkerId,
        /// Our incarnation.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
}

/// Wall-clock time at the start plus monotonic time since: a step of the wall clock does nothing to a process that runs.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    at: Timestamp,
}

impl Clock {
    /// Of a process that starts when a wall clock shows `wall`.
    fn starting_at(wall: SystemTime) -> Self {
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), at: Timestamp(0) + since }
    }

    fn now(&self) -> Timestamp {
        self.at + self.start.elapsed()
    }

    fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        (self.start + at.since(self.at)).into()
    }
}

pub(crate) async fn run(
    worker: Worker,
    spine: Arc<dyn Spine>,
    prefix: &str,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Drained, RunError> {
    let mut shutdown = std::pin::pin!(shutdown);
    let started = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(Drained { unsettled: 0 }),
        started = start::start(worker, spine, prefix) => started?,
    };
    started.run(shutdown).await
}
