//! A stage that judges records, passes some on, holds some and lets some wait.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::message::Outbox;
use tidegate_stage::{Decision, Delivery, Input, InputRef, Message, Signal, Stage};

use crate::trace::hash_of;

/// The inputs by number.
pub const JOBS: u32 = 0;
/// What it moved out of the way itself.
pub const OVERFLOW: u32 = 1;
/// Most facts of one decision.
pub const AT_ONCE: usize = 4;
/// Releases and credits.
pub const CONTROL: u32 = 2;

/// A job's record, and what it becomes when it is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// What is to become of it.
    #[serde(rename = "do")]
    pub todo: Todo,
    /// How long it may be held, microseconds.
    #[serde(default)]
    pub hold_us: u64,
    /// When a held one expires; set when it is moved.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Todo {
    /// Passed at once.
    Go,
    /// Never passed.
    Deny,
    /// Held until released or expired.
    Hold,
    /// Waits, unknown to the facts, for credit.
    Queue,
}

/// A control record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// This held job may go.
    Release(String),
    /// So many waiting jobs may go.
    Credit(u64),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields say what their variant does")]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Not a job.
    Refused,
    /// A job that may not pass.
    Denied { id: String },
    /// A job that passed, by its record.
    Passed { id: String, right: bool },
    /// A job that is held.
    Held { at: (u32, u64), job: Job, until: Timestamp },
    /// A held or waiting job that passed.
    Freed { at: (u32, u64), job: Job, right: bool },
    /// A held job whose time is over.
    Expired { at: (u32, u64), job: Job, until: Timestamp },
    /// A job that was moved out of the way.
    Moved { at: (u32, u64), job: Job },
    /// A release for a job that is not held now.
    Noted { id: String },
    /// Credit.
    Credited { count: u64 },
}

/// A fact: what happened, numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Number of the fact in this shard's life.
    pub n: u64,
    /// What happened.
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    at: (u32, u64),
    job: Job,
    until: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    n: u64,
    /// A hash over all facts: whoever missed or doubled one has another.
    digest: u64,
    held: BTreeMap<String, Held>,
    noted: BTreeSet<String>,
    credit: u64,
}

/// Where its messages go.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Sealed.
    pub left: TopicPartition,
    /// Sealed.
    pub right: TopicPartition,
    /// Sealed, read by itself.
    pub overflow: TopicPartition,
    /// For people.
    pub dead: TopicPartition,
}

/// The stage.
#[derive(Debug, Clone)]
pub struct Relay {
    state: State,
    /// Jobs that wait for credit, soft.
    waiting: BTreeMap<InputRef, Job>,
    routes: Routes,
    window: usize,
}

impl Relay {
    /// A fresh one that reads on while fewer than `window` jobs wait.
    #[must_use]
    pub fn new(routes: Routes, window: usize) -> Self {
        Self { state: State::default(), waiting: BTreeMap::new(), routes, window }
    }

    fn fact(&self, ahead: u64, what: What) -> Fact {
        Fact { n: self.state.n + ahead, what }
    }

    /// Depends on when it is decided, so that two decisions on one record differ.
    fn right(&self, ahead: u64, at: Timestamp) -> bool {
        (self.state.n + ahead + at.0 / 7).is_multiple_of(2)
    }

    fn held_at(&self, at: InputRef) -> Option<&Held> {
        self.state.held.values().find(|h| h.at == (at.input, at.offset))
    }

    fn decide_job(&self, job: Job, input: InputRef, at: Timestamp, decision: &mut Decision<Fact>) {
        let place = (input.input, input.offset);
        let noted = self.state.noted.contains(&job.id);
        match job.todo {
            Todo::Deny => decision.fact(self.fact(0, What::Denied { id: job.id })),
            Todo::Go => decision.fact(self.fact(0, What::Passed { id: job.id, right: self.right(0, at) })),
            Todo::Hold if self.held_at(input).is_some() => decision.wait(),
            Todo::Hold if noted => {
                decision.fact(self.fact(0, What::Freed { at: place, job, right: self.right(0, at) }));
            }
            Todo::Hold => {
                let until = job.until.unwrap_or(at + std::time::Duration::from_micros(job.hold_us));
                decision.fact(self.fact(0, What::Held { at: place, job, until }));
                decision.wait();
            }
            Todo::Queue => decision.wait(),
        }
    }

    fn decide_control(&self, record: &Record, at: Timestamp, decision: &mut Decision<Fact>) {
        match serde_json::from_slice(record.value.as_deref().unwrap_or_default()) {
            Ok(Control::Credit(count)) => decision.fact(self.fact(0, What::Credited { count })),
            Ok(Control::Release(id)) => match self.state.held.get(&id) {
                Some(Held { at: place, job, .. }) => {
                    let what = What::Freed { at: *place, job: job.clone(), right: self.right(0, at) };
                    decision.settle(InputRef { input: place.0, offset: place.1 }, self.fact(0, what));
                }
                None => decision.fact(self.fact(0, What::Noted { id })),
            },
            Err(_) => {}
        }
    }
}

fn job_of(record: &Record) -> Option<Job> {
    serde_json::from_slice(record.value.as_deref()?).ok()
}

impl Stage for Relay {
    type Fact = Fact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<Fact>) {
        match input {
            Input::Record(arrival) if arrival.at.input == CONTROL => {
                self.decide_control(arrival.record, at, decision);
            }
            Input::Record(arrival) => match job_of(arrival.record) {
                Some(job) => self.decide_job(job, arrival.at, at, decision),
                None => decision.fact(self.fact(0, What::Refused)),
            },
            Input::Refused(..) => {}
            Input::Tick { fresh } => {
                let due = self.state.held.values().filter(|h| h.until <= *fresh).take(AT_ONCE);
                for (ahead, held) in (0..).zip(due) {
                    let what = What::Expired { at: held.at, job: held.job.clone(), until: held.until };
                    let settles = InputRef { input: held.at.0, offset: held.at.1 };
                    decision.settle(settles, self.fact(ahead, what));
                }
            }
            Input::Poll => {
                let room = usize::try_from(self.state.credit).unwrap_or(usize::MAX);
                for (ahead, (place, job)) in (0..).zip(self.waiting.iter().take(room.min(AT_ONCE))) {
                    let at_place = (place.input, place.offset);
                    let what = What::Freed { at: at_place, job: job.clone(), right: self.right(ahead, at) };
                    decision.settle(*place, self.fact(ahead, what));
                }
            }
            Input::Evict(place) => {
                let at_place = (place.input, place.offset);
                let held = self.held_at(*place).map(|h| Job { until: Some(h.until), ..h.job.clone() });
                if let Some(job) = held.or_else(|| self.waiting.get(place).cloned()) {
                    decision.settle(*place, self.fact(0, What::Moved { at: at_place, job }));
                }
            }
        }
    }

    fn apply(&mut self, fact: &Fact, at: Timestamp) {
        let text = format!("{} {fact:?} {at}", self.state.digest);
        self.state.digest = hash_of(text.as_bytes());
        self.state.n += 1;
        match &fact.what {
            What::Held { at, job, until } => {
                self.state.held.insert(job.id.clone(), Held { at: *at, job: job.clone(), until: *until });
            }
            What::Freed { at, job, .. } => {
                self.state.held.remove(&job.id);
                self.state.noted.remove(&job.id);
                self.waiting.remove(&InputRef { input: at.0, offset: at.1 });
                if job.todo == Todo::Queue {
                    self.state.credit = self.state.credit.saturating_sub(1);
                }
            }
            What::Expired { job, .. } => drop(self.state.held.remove(&job.id)),
            What::Moved { at, job } => {
                self.state.held.remove(&job.id);
                self.waiting.remove(&InputRef { input: at.0, offset: at.1 });
            }
            What::Noted { id } => drop(self.state.noted.insert(id.clone())),
            What::Credited { count } => self.state.credit += count,
            What::Refused | What::Denied { .. } | What::Passed { .. } => {}
        }
    }

    fn emit(&self, fact: &Fact, _: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
        let side = |right: &bool| if *right { &self.routes.right } else { &self.routes.left };
        let text = |job: &Job| serde_json::to_vec(job).ok().map(Bytes::from);
        let (to, delivery, id, value) = match &fact.what {
            What::Passed { id, right } => {
                (side(right), Delivery::Fenced, id.as_str(), input.and_then(|r| r.value.clone()))
            }
            What::Freed { job, right, .. } => (side(right), Delivery::Fenced, job.id.as_str(), text(job)),
            What::Moved { job, .. } => (&self.routes.overflow, Delivery::Fenced, job.id.as_str(), text(job)),
            What::Refused => (&self.routes.dead, Delivery::Advisory, "", input.and_then(|r| r.value.clone())),
            What::Denied { id } => (&self.routes.dead, Delivery::Advisory, id.as_str(), None),
            What::Expired { job, .. } => (&self.routes.dead, Delivery::Advisory, job.id.as_str(), text(job)),
            What::Held { .. } | What::Noted { .. } | What::Credited { .. } => return,
        };
        let key = Some(Bytes::from(id.to_owned()));
        let headers = Headers::from_iter([("n", fact.n.to_string())]);
        outbox.send(Message { ordinal: 0, delivery, to: to.clone(), key, headers, value });
    }

    fn needs_input(&self, fact: &Fact) -> bool {
        matches!(fact.what, What::Passed { .. } | What::Refused)
    }

    fn observe(&mut self, signal: Signal<'_, ()>, _: Timestamp) {
        if let Signal::Arrived(arrival) = signal
            && arrival.at.input != CONTROL
            && let Some(job) = job_of(arrival.record)
            && job.todo == Todo::Queue
        {
            self.waiting.insert(arrival.at, job);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.state.held.values().map(|h| h.until).min()
    }

    fn admits(&self, _: u32) -> bool {
        self.waiting.len() < self.window
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.state)
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        self.state = serde_json::from_str(snapshot)?;
        Ok(())
    }
}

/// The planted bug: what may not pass passes.
#[derive(Debug, Clone)]
pub struct FailOpen(pub Relay);

impl Stage for FailOpen {
    type Fact = Fact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<Fact>) {
        let mut right = Decision::default();
        self.0.decide(input, at, &mut right);
        for (fact, settles) in right.facts() {
            let mut fact = fact.clone();
            if let What::Denied { id } = &fact.what {
                fact.what = What::Passed { id: id.clone(), right: false };
            }
            match settles {
                Some(settles) => decision.settle(*settles, fact),
                None => decision.fact(fact),
            }
        }
        if right.waits() {
            decision.wait();
        }
    }

    fn apply(&mut self, fact: &Fact, at: Timestamp) {
        self.0.apply(fact, at);
    }

    fn emit(&self, fact: &Fact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
        self.0.emit(fact, at, input, outbox);
    }

    fn needs_input(&self, fact: &Fact) -> bool {
        self.0.needs_input(fact)
    }

    fn observe(&mut self, signal: Signal<'_, ()>, at: Timestamp) {
        self.0.observe(signal, at);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    fn admits(&self, input: u32) -> bool {
        self.0.admits(input)
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        self.0.restore(snapshot)
    }
}
