//! A stage behind sealed inputs of several senders: notes what it got, some of it only after a while.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::message::Outbox;
use tidegate_stage::{Decision, Delivery, Input, InputRef, Message, Signal, Stage};

use super::stage::AT_ONCE;
use crate::trace::hash_of;

/// How long it sits on every third record.
const LINGERS: Duration = Duration::from_millis(400);

/// A record was got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    /// Number of the fact in this shard's life.
    pub n: u64,
    /// The job's name.
    pub id: String,
}

/// The stage.
#[derive(Debug, Clone)]
pub struct Sink {
    n: u64,
    digest: u64,
    lingering: BTreeMap<InputRef, (Timestamp, String)>,
    finished: TopicPartition,
    window: usize,
}

impl Sink {
    /// A fresh one that reads on while fewer than `window` records linger.
    #[must_use]
    pub fn new(finished: TopicPartition, window: usize) -> Self {
        Self { n: 0, digest: 0, lingering: BTreeMap::new(), finished, window }
    }

    fn id_of(record: &Record) -> String {
        String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
    }

    fn lingers(id: &str) -> bool {
        hash_of(id.as_bytes()).is_multiple_of(3)
    }
}

impl Stage for Sink {
    type Fact = Got;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, _: Timestamp, decision: &mut Decision<Got>) {
        match input {
            Input::Record(arrival) => {
                let id = Self::id_of(arrival.record);
                if Self::lingers(&id) {
                    decision.wait();
                } else {
                    decision.settle(arrival.at, Got { n: self.n, id });
                }
            }
            Input::Tick { fresh } => {
                let due = self.lingering.iter().filter(|(_, (since, _))| *since + LINGERS <= *fresh).take(AT_ONCE);
                for (ahead, (at, (_, id))) in (0..).zip(due) {
                    decision.settle(*at, Got { n: self.n + ahead, id: id.clone() });
                }
            }
            // Not moved: it is gone soon anyway.
            Input::Poll | Input::Evict(_) | Input::Refused(..) => {}
        }
    }

    fn apply(&mut self, fact: &Got, at: Timestamp) {
        self.n += 1;
        self.digest = hash_of(format!("{} {fact:?} {at}", self.digest).as_bytes());
        self.lingering.retain(|_, (_, id)| *id != fact.id);
    }

    fn emit(&self, fact: &Got, _: Timestamp, _: Option<&Record>, outbox: &mut Outbox) {
        outbox.send(Message {
            ordinal: 0,
            delivery: Delivery::Fenced,
            to: self.finished.clone(),
            key: Some(Bytes::from(fact.id.clone())),
            headers: Headers::from_iter([("n", fact.n.to_string())]),
            value: None,
        });
    }

    fn needs_input(&self, _: &Got) -> bool {
        false
    }

    fn observe(&mut self, signal: Signal<'_, ()>, at: Timestamp) {
        if let Signal::Arrived(arrival) = signal {
            let id = Self::id_of(arrival.record);
            if Self::lingers(&id) {
                self.lingering.insert(arrival.at, (at, id));
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.lingering.values().map(|(since, _)| *since + LINGERS).min()
    }

    fn admits(&self, _: u32) -> bool {
        self.lingering.len() < self.window
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&(self.n, self.digest))
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        (self.n, self.digest) = serde_json::from_str(snapshot)?;
        Ok(())
    }
}
