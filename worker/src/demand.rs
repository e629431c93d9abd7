//! How many jobs a worker asks for, told from outside its loop.
//!
//! A worker that runs jobs itself asks for as many as it has free slots. One that hands them on (the gateway, to workers
//! that pull over HTTP) asks for as many as somebody waits for. That is told as a **total**: jobs handed on since the
//! beginning, and those still waited for. The worker takes off what it has started, so that a job that is between its loop
//! and whoever waits for it is never asked for twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

#[derive(Debug, Default)]
struct Inner {
    total: AtomicU64,
    loop_of_worker: AtomicWaker,
}

/// Shared by one worker and whoever tells it. Nothing is asked for at first.
#[derive(Debug, Clone, Default)]
pub struct Demand(Arc<Inner>);

impl Demand {
    /// Asks for so many jobs in all: a job counts from when its handler is started.
    pub fn set_total(&self, jobs: u64) {
        if self.0.total.swap(jobs, Ordering::AcqRel) != jobs {
            self.0.loop_of_worker.wake();
        }
    }

    /// The total; from then on `cx` is woken when it changes.
    pub(crate) fn poll_total(&self, cx: &Context<'_>) -> u64 {
        self.0.loop_of_worker.register(cx.waker());
        self.0.total.load(Ordering::Acquire)
    }
}
