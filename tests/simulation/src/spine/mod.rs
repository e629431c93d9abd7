//! A simulated spine: keeps every promise of [`tidegate_spine`] and not one more.
//!
//! Each process has a [`SimSpine`] of its own on one [`Broker`]. An append lands after a random time, in order within
//! its partition and in none across them; what a client that is gone had handed over lands late, in part or never. A
//! reader sees what landed some time later. `ends` tells the truth of a moment between question and answer.

mod broker;
mod producing;
mod reading;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::headers;
use tidegate_spine::{
    CleanupFound, Ends, MemberOptions, Membership, NewRecord, Producer, ProducerOptions, Reader, Record, Spine,
    SpineError, TopicSettings, TopicSpec, TopicState,
};

pub use broker::{Broker, FORGED, Manners, Partition, Stored};
use producing::{Client, SimProducer};
use reading::SimReader;

use crate::executor::{Core, OUTSIDE, Process, locked};
use crate::trace::{Trace, hash_of};

const URL: &str = "sim:";

/// A process's client of the broker.
#[derive(Clone)]
pub struct SimSpine {
    core: Core,
    trace: Arc<Trace>,
    broker: Arc<Mutex<Broker>>,
    process: Process,
}

fn describe(record: &Record) -> String {
    let header = |name| record.headers.text(name).unwrap_or("").to_owned();
    let value = record.value.as_deref().map_or_else(|| "null".into(), String::from_utf8_lossy);
    let short: String = value.chars().filter(|c| !c.is_control()).take(2000).collect();
    format!(
        "{} {} e{} [{}] {short}",
        header(headers::KIND),
        header(headers::SENDER),
        header(headers::EPOCH),
        header(headers::STAMP)
    )
}

impl SimSpine {
    /// A broker, as seen from outside all processes.
    #[must_use]
    pub fn new(core: Core, trace: Arc<Trace>, seed: u64, manners: Manners) -> Self {
        Self { core, trace, broker: Arc::new(Mutex::new(Broker::new(seed, manners))), process: OUTSIDE }
    }

    /// The same broker as seen by `process`.
    #[must_use]
    pub fn of(&self, process: Process) -> Self {
        Self { process, ..self.clone() }
    }

    /// The broker's state.
    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        locked(&self.broker)
    }

    /// From now on everything that is written to these topics is written a second time, up to 1.5 s later: by a client that does not know
    /// whether the first landed, say. Where only stages may write the second is `forged`: somebody copies what they read.
    pub fn storm(&self, topics: impl IntoIterator<Item = TopicName>, forged: bool) {
        self.broker().storms.extend(topics.into_iter().map(|topic| (topic, forged)));
    }

    /// A record has landed: where there is a storm it will once more.
    fn storms(&self, broker: &mut Broker, to: &TopicPartition, mut record: NewRecord) {
        let Some(forged) = broker.storms.get(&to.topic).copied() else { return };
        if forged {
            record.headers.push(FORGED, "yes");
        }
        let (spine, to, delay) = (self.clone(), to.clone(), broker.storm_chance.delay(0..1_500_000));
        self.core.after(delay, move || spine.put_as(&to, record, true));
    }

    /// Puts a record into a log from outside, as soon as the broker takes it.
    pub fn put(&self, to: &TopicPartition, record: NewRecord) {
        self.put_as(to, record, false);
    }

    fn put_as(&self, to: &TopicPartition, record: NewRecord, again: bool) {
        let now = self.core.now();
        let mut broker = self.broker();
        let stalled = broker.partition(to).map_or(0, |p| p.appends_stall_until);
        let blocked = broker.down_until.max(stalled);
        if blocked > now {
            drop(broker);
            let (spine, to) = (self.clone(), to.clone());
            return self.core.at(blocked + 1, move || spine.put_as(&to, record, again));
        }
        if !again {
            self.storms(&mut broker, to, record.clone());
        }
        let hash = hash_of(record.value.as_deref().unwrap_or_default());
        if let Some(offset) = broker.store(to, record, now) {
            self.core_trace(now, "put", &[hash, offset], || {
                let what = broker.log(to).last().map_or_else(String::new, |s| describe(&s.record));
                format!("{to}@{offset} {what}")
            });
        }
        self.announce(&mut broker, to);
    }

    /// Nothing lands, is read or is answered for `time`.
    pub fn outage(&self, time: u64) {
        let until = self.core.now() + time;
        let mut broker = self.broker();
        broker.down_until = broker.down_until.max(until);
    }

    /// Appends to a partition (or reads of it) stand still for `time`.
    pub fn stall(&self, of: &TopicPartition, time: u64, reads: bool) {
        let until = self.core.now() + time;
        if let Some(partition) = self.broker().partition_mut(of) {
            let stall = if reads { &mut partition.reads_stall_until } else { &mut partition.appends_stall_until };
            *stall = until.max(*stall);
        }
    }

    /// The next append to this partition that has another one right behind it is lost; what is behind it lands.
    pub fn lose(&self, of: &TopicPartition) {
        self.broker().losing.insert(of.clone());
    }

    /// Nothing is lost any more.
    pub fn lose_nothing(&self) {
        self.broker().losing.clear();
    }

    /// `process` crashes instead of its `nth` operation from now on.
    pub fn crash_at(&self, process: Process, nth: u64) {
        self.broker().crash_at.insert(process, nth);
    }

    /// Counts an operation; true when the process has crashed instead of it.
    fn operation(&self) -> bool {
        if self.core.is_crashed(self.process) {
            return true;
        }
        let mut broker = self.broker();
        let Some(left) = broker.crash_at.get_mut(&self.process) else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        broker.crash_at.remove(&self.process);
        drop(broker);
        let process = self.process;
        self.core_trace(self.core.now(), "crash", &[u64::from(process.0)], || format!("{process:?} at an operation"));
        self.core.crash(process);
        true
    }

    fn core_trace(&self, now: u64, what: &str, numbers: &[u64], line: impl FnOnce() -> String) {
        self.trace.event(now, what, numbers, line);
    }

    fn trace(&self, what: &str, process: Process, of: &TopicPartition, number: u64, line: impl FnOnce() -> String) {
        let numbers = [u64::from(process.0), hash_of(of.topic.as_str().as_bytes()), u64::from(of.partition), number];
        self.trace.event(self.core.now(), what, &numbers, line);
    }

    /// An answer of the broker: a moment passes, the question is answered, another moment passes.
    fn asked<'a, T: Send + 'a>(
        &'a self,
        answer: impl FnOnce(&mut Broker) -> Result<T, SpineError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, SpineError>> {
        if self.operation() {
            return Box::pin(std::future::pending());
        }
        async move {
            let (there, back, patience) = {
                let mut broker = self.broker();
                let chance = &mut broker.ask_chance;
                (chance.delay(50..8_000), chance.delay(50..8_000), chance.within(100_000..3_000_000))
            };
            self.core.sleep_until(self.core.now() + there).await;
            let down_until = self.broker().down_until;
            let asked = self.core.now();
            if down_until > asked {
                self.core.sleep_until(down_until.min(asked + patience)).await;
                if self.broker().down_until > self.core.now() {
                    let after = Duration::from_micros(patience);
                    return Err(SpineError::Unavailable { spine: URL.into(), after, reason: "an outage".into() });
                }
            }
            let answered = answer(&mut self.broker());
            self.core.sleep_until(self.core.now() + back).await;
            answered
        }
        .boxed()
    }
}

fn unknown(topic: &TopicName) -> SpineError {
    SpineError::UnknownTopic { topic: topic.clone() }
}

impl Spine for SimSpine {
    fn url(&self) -> &str {
        URL
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        self.asked(move |broker| {
            let client = broker.id();
            let held = broker.append_chance.percent(50);
            broker.clients.insert(client, Client::new(self.process, options.max_in_flight_bytes, held));
            let producer: Box<dyn Producer> = Box::new(SimProducer { spine: self.clone(), client });
            Ok(producer)
        })
    }

    fn reader(&self, _: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        self.asked(move |_| {
            let reader: Box<dyn Reader> = Box::new(SimReader { spine: self.clone(), handles: Vec::new() });
            Ok(reader)
        })
    }

    fn join(&self, _: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        let reason = "in the simulation `world` gives the shards out".to_owned();
        Box::pin(std::future::ready(Err(SpineError::Invalid { spine: URL.into(), reason })))
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>> {
        self.asked(move |broker| {
            of.iter().map(|p| broker.partition(p).map(Partition::ends).ok_or_else(|| unknown(&p.topic))).collect()
        })
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        self.asked(move |broker| {
            let state = |name: &TopicName| {
                broker.topics.get(name).map(|(spec, _)| TopicState {
                    name: name.clone(),
                    partitions: spec.partitions,
                    settings: Ok(TopicSettings {
                        cleanup: CleanupFound::Known(spec.cleanup),
                        retention_bytes: None,
                        max_record_bytes: spec.max_record_bytes,
                        broker_time: spec.broker_time,
                    }),
                })
            };
            Ok(topics.iter().map(state).collect())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<TopicName>, SpineError>> {
        self.asked(move |broker| Ok(broker.topics.keys().filter(|n| n.as_str().starts_with(prefix)).cloned().collect()))
    }

    fn create<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.asked(move |broker| {
            broker.create(topic.clone());
            Ok(())
        })
    }

    fn alter<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.asked(move |broker| {
            let (spec, partitions) = broker.topics.get_mut(&topic.name).ok_or_else(|| unknown(&topic.name))?;
            *spec = topic.clone();
            partitions.resize_with(topic.partitions as usize, Partition::default);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), SpineError>> {
        self.asked(move |broker| broker.topics.remove(topic).map(drop).ok_or_else(|| unknown(topic)))
    }

    fn trim<'a>(&'a self, partition: &'a TopicPartition, before: Offset) -> BoxFuture<'a, Result<(), SpineError>> {
        self.asked(move |broker| {
            broker.trim(partition, before);
            Ok(())
        })
    }
}
