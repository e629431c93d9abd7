//! Threads for librdkafka calls that block: as many as are blocked at once, kept for a while, without a runtime.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// More than are ever asked at once; further jobs wait.
const MOST: usize = 32;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(20);

/// A pool that grows with need. Dropping it ends idle threads once what was handed over is done.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), work: Condvar::new() }))
    }

    /// Runs `job` on a thread; the receiver is cancelled only if no thread could be had.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        self.hand_over(Box::new(move || {
            // Nobody waits any more: the question was dropped.
            if !done.is_canceled() {
                let _ = done.send(job());
            }
        }));
        result
    }

    /// Runs `job` whoever waits for it.
    pub(crate) fn detach(&self, job: impl FnOnce() + Send + 'static) {
        self.hand_over(Box::new(job));
    }

    fn hand_over(&self, job: Job) {
        let mut state = self.0.state();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            self.0.work.notify_one();
        } else if state.threads < MOST {
            let shared = Arc::clone(&self.0);
            let spawned = std::thread::Builder::new().name("kafka-ask".into()).spawn(move || serve(&shared));
            match spawned {
                Ok(_) => state.threads += 1,
                // Without any thread the job would never run; dropping it cancels its receiver.
                Err(_) if state.threads == 0 => drop(state.jobs.pop_back()),
                Err(_) => {}
            }
        }
    }
}

fn serve(shared: &Shared) {
    let mut state = shared.state();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            job();
            state = shared.state();
            continue;
        }
        state.idle += 1;
        let (woken, waited) = shared.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        if waited.timed_out() && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn jobs_that_wait_for_each_other_all_run() {
        let threads = Threads::new();
        let barrier = Arc::new(Barrier::new(8));
        let all: Vec<_> = (0..8)
            .map(|n| {
                let barrier = Arc::clone(&barrier);
                threads.run(move || {
                    barrier.wait();
                    n
                })
            })
            .collect();
        let done = futures::executor::block_on(futures::future::join_all(all));
        assert_eq!(done.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_is_used_again() {
        let threads = Threads::new();
        for n in 0..100 {
            assert_eq!(futures::executor::block_on(threads.run(move || n)), Ok(n));
            // The answer is here before its thread is idle again.
            while threads.0.state().idle == 0 {
                std::thread::yield_now();
            }
        }
        assert_eq!(threads.0.state().threads, 1);
    }
}
