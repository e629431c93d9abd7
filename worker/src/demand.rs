//! How many further jobs a worker asks for, told from outside its loop.
//!
//! A worker that runs jobs itself asks for as many as it has free slots. One that hands them on (the gateway, to workers
//! that pull over HTTP) asks for as many as somebody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

#[derive(Debug, Default)]
struct Inner {
    jobs: AtomicU32,
    /// What the loop knows of.
    seen: AtomicU32,
    loop_of_worker: AtomicWaker,
}

/// Shared by one worker and whoever tells it. Nothing is asked for at first.
#[derive(Debug, Clone, Default)]
pub struct Demand(Arc<Inner>);

impl Demand {
    /// Asks for so many jobs beyond those the worker has.
    pub fn set(&self, jobs: u32) {
        self.0.jobs.store(jobs, Ordering::Release);
        self.0.loop_of_worker.wake();
    }

    /// The demand when it is another than at the last call; from then on `cx` is woken by changes.
    pub(crate) fn poll_changed(&self, cx: &Context<'_>) -> Option<u32> {
        self.0.loop_of_worker.register(cx.waker());
        let jobs = self.0.jobs.load(Ordering::Acquire);
        // One more than is asked for stands for "never told", so that the first call tells 0.
        let seen = self.0.seen.swap(jobs.saturating_add(1), Ordering::Relaxed);
        (seen != jobs.saturating_add(1)).then_some(jobs)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_asked_for_is_told_once_nothing_at_first() {
        let (demand, cx) = (Demand::default(), &Context::from_waker(Waker::noop()));
        assert_eq!((demand.poll_changed(cx), demand.poll_changed(cx)), (Some(0), None));
        demand.set(3);
        demand.set(5);
        assert_eq!((demand.poll_changed(cx), demand.poll_changed(cx)), (Some(5), None));
        demand.set(0);
        assert_eq!(demand.poll_changed(cx), Some(0));
    }
}
