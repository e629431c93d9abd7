//! Slots that jobs lend while they wait for jobs that they spawned: what handlers say, and the loop hears.
//!
//! Bounded by the jobs that run: of each the last word alone is kept until the loop takes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;

use futures::task::AtomicWaker;

use crate::session::JobKey;

/// Which job: shard of the pool and assignment.
type Slot = (usize, JobKey);

#[derive(Debug, Default)]
struct Inner {
    said: Mutex<BTreeMap<Slot, bool>>,
    loop_of_worker: AtomicWaker,
}

/// Shared by a worker's loop and the contexts of its jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lending(Arc<Inner>);

impl Lending {
    /// One more or one less part of a job waits. Counted and said in one step, so that the last word is true.
    fn count(&self, slot: &Slot, waiting: &AtomicUsize, more: bool) {
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if more { waiting.fetch_add(1, Ordering::AcqRel) } else { waiting.fetch_sub(1, Ordering::AcqRel) };
        if before == usize::from(!more) {
            said.insert(slot.clone(), more);
            drop(said);
            self.0.loop_of_worker.wake();
        }
    }

    /// What was said since the last call, and of each job the last word; from then on `cx` is woken by the next.
    pub(crate) fn take(&self, cx: &Context<'_>) -> BTreeMap<Slot, bool> {
        self.0.loop_of_worker.register(cx.waker());
        std::mem::take(&mut *self.0.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The slot of one job.
#[derive(Debug, Clone)]
pub(crate) struct Lender {
    lending: Lending,
    slot: Arc<Slot>,
    /// How many parts of the job wait.
    waiting: Arc<AtomicUsize>,
}

impl Lender {
    pub(crate) fn new(lending: Lending, slot: Slot) -> Self {
        Self { lending, slot: Arc::new(slot), waiting: Arc::default() }
    }

    pub(crate) fn lend(&self) -> Lent {
        self.lending.count(&self.slot, &self.waiting, true);
        Lent(self.clone())
    }
}

/// While it is held the job's slot is free for jobs that others spawned; dropped, the job has it back at once. Made by
/// [`Context::lend_slot`](crate::Context::lend_slot).
#[derive(Debug)]
#[must_use = "dropped at once it lends nothing"]
pub struct Lent(Lender);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.lending.count(&self.0.slot, &self.0.waiting, false);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tidegate_protocol::facts::Token;

    use super::*;

    #[test]
    fn a_job_waits_while_any_part_of_it_does_and_the_last_word_counts() {
        let source = "jobs/0@1".parse().unwrap();
        let slot = (0, JobKey { source, token: Token { epoch: 1, attempt: 1 } });
        let lending = Lending::default();
        let lender = Lender::new(lending.clone(), slot.clone());
        let cx = Context::from_waker(Waker::noop());
        let heard = || lending.take(&cx).remove(&slot);
        assert_eq!(heard(), None);
        let (one, other) = (lender.lend(), lender.lend());
        assert_eq!((heard(), heard()), (Some(true), None));
        drop(one);
        assert_eq!(heard(), None, "a part of it still waits");
        drop(other);
        assert_eq!(heard(), Some(false));
        drop(lender.lend());
        assert_eq!(heard(), Some(false));
    }
}
