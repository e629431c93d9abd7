//! What a stage is.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;

use crate::message::Outbox;

/// An input record of this shard: number of the input partition in [`crate::ShardSpec::inputs`], and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputRef {
    /// Number of the input.
    pub input: u32,
    /// Offset of the record.
    pub offset: Offset,
}

/// An input record as it reaches the stage.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Which record.
    pub at: InputRef,
    /// Its partition.
    pub partition: &'a TopicPartition,
    /// The record; cloning it shares the bytes.
    pub record: &'a Record,
    /// On sealed inputs the sender and stamp the runner has checked (fence, sequence, watermark); `None` on open ones.
    pub sender: Option<(&'a SenderId, Stamp)>,
}

/// What a stage decides about.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A record. Never again one whose fact is in the log.
    Record(Arrival<'a>),
    /// A record of a sealed input that is not to be acted on, and why. A fact may say so; without one it is settled.
    /// Nothing was observed of it.
    Refused(Arrival<'a>, DeadReason),
    /// Something due ([`Stage::next_due`]) may be at hand.
    Tick {
        /// All control inputs (commands, reports, …) have been read up to an end that was fetched at or after this
        /// time: what is due at or before it may fire, nothing later may.
        fresh: Timestamp,
    },
    /// More may be possible with what is known already (a job and a free worker, say). Asked after every batch of
    /// inputs and again for as long as facts come back.
    Poll,
    /// This waiting record pins its log beyond the bound: move it elsewhere by a fact that settles it.
    Evict(InputRef),
}

/// Soft knowledge: forgotten at takeover, never durable.
#[derive(Debug)]
pub enum Signal<'a, S> {
    /// A record has arrived and is about to be decided.
    Arrived(Arrival<'a>),
    /// From outside the spine (a compiled policy, say).
    Outside(S),
    /// A new ownership begins with this epoch; state is replayed, nothing is known of the present.
    Owner {
        /// The epoch.
        epoch: u64,
    },
    /// Of so many job inputs something that an owner before has read is still to be read again: what waits between what it settled is not known
    /// until then. Told at the beginning of an ownership, if there is any, and whenever it changes, down to 0.
    ReadAgain {
        /// How many inputs.
        left: usize,
    },
    /// Something due ([`Stage::next_due`]) may be at hand: an [`Input::Tick`] follows. For soft knowledge that changes by time.
    Due,
    /// For this long neither an append nor a read of the shard succeeded (broker away, process stopped).
    Gap(std::time::Duration),
}

/// Facts, and what becomes of the input.
#[derive(Debug)]
pub struct Decision<F> {
    pub(crate) facts: Vec<(F, Option<InputRef>)>,
    pub(crate) waits: bool,
}

impl<F> Default for Decision<F> {
    fn default() -> Self {
        Self { facts: Vec::new(), waits: false }
    }
}

impl<F> Decision<F> {
    /// A fact that settles no input by itself.
    pub fn fact(&mut self, fact: F) {
        self.facts.push((fact, None));
    }

    /// A fact that settles `input`: the present one, or an earlier one that waits.
    pub fn settle(&mut self, input: InputRef, fact: F) {
        self.facts.push((fact, Some(input)));
    }

    /// The present record is not settled: it stays in its log and is read again after a takeover, until a later fact
    /// settles it. Without this, and without facts, a record is settled by having been read.
    pub fn wait(&mut self) {
        self.waits = true;
    }

    /// The facts so far with what they settle; for tests of a stage without its runner.
    #[must_use]
    pub fn facts(&self) -> &[(F, Option<InputRef>)] {
        &self.facts
    }

    /// Whether the input waits.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }
}

/// A deterministic step over an ordered log. No IO, no async, no clock, no randomness: time and ids come with the
/// input. The runner makes facts durable and only then lets messages go.
///
/// The order for a record: `observe(Arrived)`, `decide`, then for every fact `apply` and `emit`.
pub trait Stage {
    /// A durable fact.
    type Fact: Serialize + DeserializeOwned + std::fmt::Debug + Send;
    /// Soft signals from outside.
    type Signal: Send;

    /// What follows from the input. Reads state and soft knowledge, changes neither. `at` never goes back.
    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<Self::Fact>);

    /// The only place where durable state changes, live and in replay. Depends on nothing but state, fact and `at`.
    fn apply(&mut self, fact: &Self::Fact, at: Timestamp);

    /// The messages of a fact, called right after `apply(fact)`, live and in replay. `input` is given when
    /// [`Stage::needs_input`] says so and the fact settles a record; depends on nothing but state, fact, `at` and it.
    fn emit(&self, fact: &Self::Fact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox);

    /// Whether `emit` needs the record this fact settles; only for facts that settle the record being decided.
    fn needs_input(&self, fact: &Self::Fact) -> bool;

    /// Takes soft knowledge in.
    fn observe(&mut self, signal: Signal<'_, Self::Signal>, at: Timestamp);

    /// When a [`Input::Tick`] is wanted next.
    fn next_due(&self) -> Option<Timestamp>;

    /// Whether records of this job input are wanted now (policy at hand, window not full). Asked before each read;
    /// control inputs are always read.
    fn admits(&self, input: u32) -> bool;

    /// What of a fact is counted once it has landed: metric name, label name and label value, all from fixed lists.
    fn tally(fact: &Self::Fact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
        let _ = (fact, count);
    }

    /// Present figures for gauges, by metric name; asked about once a second. A name that ends in `_total` is a count of what
    /// happened since this stage was made: what it has risen by since it was asked last is added to a counter.
    fn figures(&self, publish: &mut dyn FnMut(&'static str, f64)) {
        let _ = publish;
    }

    /// Durable state as JSON text; the same state gives the same bytes (sorted maps).
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn snapshot(&self) -> Result<String, serde_json::Error>;

    /// Replaces the durable state by what `snapshot` gave.
    ///
    /// # Errors
    /// When the text is no snapshot of this stage.
    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error>;
}
