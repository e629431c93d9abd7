//! The background thread: changes of topics, closed segments, retention, compaction, patience of groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use futures::channel::oneshot;
use tidegate_spine::{Cleanup, SpineError};

use crate::catalog::Catalog;
use crate::compaction;
use crate::groups::Groups;
use crate::partition::Partition;
use crate::segment::SegmentFile;
use crate::writer::now_ms;

/// How often retention looks by itself; compaction also looks when a segment is closed.
const ROUND: Duration = Duration::from_secs(30);

type Task = Box<dyn FnOnce(&Catalog, &Arc<Groups>) + Send>;

/// What the keeper is asked.
pub(crate) enum Duty {
    /// Something that changes topics or segments; it answers by itself.
    Do(Task),
    /// A segment that is full: sync and index it.
    Seal(Arc<Partition>, Arc<SegmentFile>),
    /// Something may be due sooner than thought.
    Look,
    /// Finish what was asked before, close the segments, end.
    Stop,
}

/// Has the keeper do `what` and waits for the answer.
pub(crate) async fn ask<T: Send + 'static>(
    keeper: &Sender<Duty>,
    spine: &str,
    what: impl FnOnce(&Catalog, &Arc<Groups>) -> Result<T, SpineError> + Send + 'static,
) -> Result<T, SpineError> {
    let (answer, answered) = oneshot::channel();
    // Both fail only when the keeper has ended, which the answer then says; nobody has to wait for an answer.
    drop(keeper.send(Duty::Do(Box::new(move |catalog, groups| drop(answer.send(what(catalog, groups)))))));
    let ended =
        |_| Err(SpineError::Fatal { spine: spine.to_owned(), reason: "its background thread has ended".into() });
    answered.await.unwrap_or_else(ended)
}

/// Until `Stop`.
pub(crate) fn run(duties: &Receiver<Duty>, catalog: &Catalog, groups: &Arc<Groups>) {
    let mut next_round = Instant::now() + ROUND;
    loop {
        let now = Instant::now();
        if next_round <= now {
            clean(catalog);
            next_round = now + ROUND;
        }
        let due = groups.expire(now).map_or(next_round, |due| due.min(next_round));
        match duties.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Duty::Do(task)) => task(catalog, groups),
            Ok(Duty::Seal(partition, segment)) => {
                // Without an index the segment is walked at the next start; nothing is lost.
                if let Err(error) = partition.seal(&segment) {
                    tracing::warn!(partition = %partition.at, %error, "a full segment could not be indexed");
                }
                if matches!(catalog.cleanup_of(&partition), Cleanup::Keyed) {
                    compact(&partition, false);
                }
            }
            Ok(Duty::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Duty::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for partition in catalog.all() {
        if let Err(error) = partition.seal_active() {
            tracing::warn!(partition = %partition.at, %error, "a segment could not be indexed");
        }
    }
}

fn compact(partition: &Partition, always: bool) {
    if let Err(error) = compaction::compact(partition, always, now_ms()) {
        tracing::warn!(partition = %partition.at, %error, "compaction failed; it is tried again later");
    }
}

/// Retention and compaction of everything, now.
pub(crate) fn clean(catalog: &Catalog) {
    for partition in catalog.all() {
        match catalog.cleanup_of(&partition) {
            Cleanup::Log { retention_ms: Some(age) } => {
                let before = now_ms().saturating_sub_unsigned(age);
                let expired = partition.roll_if_older(before).and_then(|closed| {
                    closed.map_or(Ok(()), |segment| partition.seal(&segment))?;
                    catalog.let_go(&partition, partition.older_than(before))
                });
                if let Err(error) = expired {
                    tracing::warn!(partition = %partition.at, %error, "retention failed; it is tried again later");
                }
            }
            Cleanup::Log { retention_ms: None } => {}
            Cleanup::Keyed => compact(&partition, false),
        }
    }
}

/// As [`clean`], and compacts whatever is closed, worth it or not.
pub(crate) fn clean_all(catalog: &Catalog) {
    clean(catalog);
    for partition in catalog.all() {
        if matches!(catalog.cleanup_of(&partition), Cleanup::Keyed) {
            // Everything written so far is closed first, so that it takes part.
            match partition.roll_if_older(i64::MAX) {
                Ok(Some(segment)) => drop(partition.seal(&segment)),
                Ok(None) => {}
                Err(error) => tracing::warn!(partition = %partition.at, %error, "a segment could not be closed"),
            }
            compact(&partition, true);
        }
    }
}
