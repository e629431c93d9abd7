//! Tasks, events and virtual time, in one thread and one order.
//!
//! Events are ordered by (time, number). A task belongs to a process; a process that crashed has no tasks any more, one
//! that is stopped keeps its wakes and is polled when it goes on. Every poll takes a microsecond, so that a task which
//! wakes itself does not stop time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use futures::channel::oneshot;
use futures::future::BoxFuture;

/// A simulated process; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// The process of what cannot crash: the load and the judge.
pub const OUTSIDE: Process = Process(0);

type Call = Box<dyn FnOnce() + Send>;

struct Event {
    at: u64,
    number: u64,
    call: Call,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct State {
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<Event>>,
    ready: VecDeque<u64>,
    queued: BTreeSet<u64>,
    stopped: BTreeMap<Process, Vec<u64>>,
    crashed: BTreeSet<Process>,
    new: Vec<(u64, Process, BoxFuture<'static, ()>)>,
    drop_tasks: Vec<u64>,
    crash_news: bool,
}

/// Time and wakes; shared by everything in the simulation.
#[derive(Clone, Default)]
pub struct Core(Arc<Mutex<State>>);

/// Names a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId(u64);

struct Alarm {
    task: u64,
    core: Core,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.core.wake(self.task);
    }
}

/// The lock's content, whatever happened to others who held it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Virtual time in microseconds since the run's begin.
    #[must_use]
    pub fn now(&self) -> u64 {
        locked(&self.0).now
    }

    /// Calls `call` at virtual time `at`.
    pub fn at(&self, at: u64, call: impl FnOnce() + Send + 'static) {
        let mut state = locked(&self.0);
        let number = state.number;
        state.number += 1;
        let at = at.max(state.now);
        state.events.push(Reverse(Event { at, number, call: Box::new(call) }));
    }

    /// Calls `call` after `delay`.
    pub fn after(&self, delay: u64, call: impl FnOnce() + Send + 'static) {
        self.at(self.now() + delay, call);
    }

    /// Completes at virtual time `at`.
    pub fn sleep_until(&self, at: u64) -> impl Future<Output = ()> + Send + 'static {
        let (done, slept) = oneshot::channel();
        self.at(at, move || {
            let _ = done.send(());
        });
        async move {
            let _ = slept.await;
        }
    }

    /// Starts a task of `process`.
    pub fn spawn(&self, process: Process, task: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let mut state = locked(&self.0);
        let number = state.number;
        state.number += 1;
        state.new.push((number, process, Box::pin(task)));
        TaskId(number)
    }

    /// Drops a task.
    pub fn abort(&self, task: TaskId) {
        locked(&self.0).drop_tasks.push(task.0);
    }

    /// Ends a process: its tasks are dropped before anything else of them runs.
    pub fn crash(&self, process: Process) {
        let mut state = locked(&self.0);
        state.crashed.insert(process);
        state.crash_news = true;
    }

    /// Whether it has crashed.
    #[must_use]
    pub fn is_crashed(&self, process: Process) -> bool {
        locked(&self.0).crashed.contains(&process)
    }

    /// Stops a process: its tasks are not polled until [`Self::resume`].
    pub fn stop(&self, process: Process) {
        locked(&self.0).stopped.entry(process).or_default();
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_stopped(&self, process: Process) -> bool {
        locked(&self.0).stopped.contains_key(&process)
    }

    /// Lets a stopped process go on.
    pub fn resume(&self, process: Process) {
        let mut state = locked(&self.0);
        let kept = state.stopped.remove(&process).unwrap_or_default();
        state.ready.extend(kept);
    }

    fn wake(&self, task: u64) {
        let mut state = locked(&self.0);
        if state.queued.insert(task) {
            state.ready.push_back(task);
        }
    }
}

struct Task {
    process: Process,
    waker: Waker,
    future: BoxFuture<'static, ()>,
}

/// Polls tasks and calls events.
#[derive(Default)]
pub struct Executor {
    core: Core,
    tasks: BTreeMap<u64, Task>,
    /// Polls and events so far.
    pub steps: u64,
}

impl Executor {
    /// Time and wakes of this executor.
    #[must_use]
    pub fn core(&self) -> Core {
        self.core.clone()
    }

    /// Runs everything up to virtual time `until`, which it then is.
    pub fn run_until(&mut self, until: u64) {
        loop {
            self.settle();
            let mut state = locked(&self.core.0);
            let due = state.events.peek().map(|Reverse(event)| event.at);
            if due.is_some_and(|at| at <= state.now) {
                let call = state.events.pop().map(|Reverse(event)| event.call);
                drop(state);
                self.steps += 1;
                if let Some(call) = call {
                    call();
                }
                continue;
            }
            if let Some(task) = state.ready.pop_front() {
                state.now += 1;
                drop(state);
                self.poll(task);
                continue;
            }
            match due {
                Some(at) if at <= until => state.now = at,
                _ => {
                    state.now = state.now.max(until);
                    return;
                }
            }
        }
    }

    /// Takes new tasks in and lets dropped ones go.
    fn settle(&mut self) {
        loop {
            let (new, mut gone, crashed) = {
                let mut state = locked(&self.core.0);
                let crashed =
                    if std::mem::take(&mut state.crash_news) { state.crashed.clone() } else { BTreeSet::new() };
                (std::mem::take(&mut state.new), std::mem::take(&mut state.drop_tasks), crashed)
            };
            for (number, process, future) in new {
                let waker = Waker::from(Arc::new(Alarm { task: number, core: self.core.clone() }));
                if !self.core.is_crashed(process) {
                    self.tasks.insert(number, Task { process, waker, future });
                    self.core.wake(number);
                }
            }
            gone.extend(self.tasks.iter().filter(|(_, t)| crashed.contains(&t.process)).map(|(n, _)| *n));
            if gone.is_empty() {
                return;
            }
            for number in gone {
                drop(self.tasks.remove(&number));
            }
        }
    }

    fn poll(&mut self, number: u64) {
        self.steps += 1;
        let mut state = locked(&self.core.0);
        let Some(task) = self.tasks.get_mut(&number) else {
            state.queued.remove(&number);
            return;
        };
        if let Some(kept) = state.stopped.get_mut(&task.process) {
            kept.push(number);
            return;
        }
        state.queued.remove(&number);
        drop(state);
        let waker = task.waker.clone();
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            drop(self.tasks.remove(&number));
        }
    }
}

impl Drop for Executor {
    /// Tasks and events hold what holds the core: let them go, or nothing of a run is ever freed.
    fn drop(&mut self) {
        self.tasks.clear();
        loop {
            let (events, new) = {
                let mut state = locked(&self.core.0);
                (std::mem::take(&mut state.events), std::mem::take(&mut state.new))
            };
            if events.is_empty() && new.is_empty() {
                return;
            }
        }
    }
}
