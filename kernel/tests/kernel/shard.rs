//! A kernel shard in memory: does with a kernel what the runner does, without groups and without a spine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_kernel::{
    DEFAULT_RECORD_BYTES, INPUT_JOBS, KeptBounds, Kernel, KernelConfig, KernelTopics, PartitionCounts, Pool, Routes,
    Source, SourceWritten, WindowBounds,
};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{Capability, PoolName};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topic_glob::TopicGlob;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Message, Outbox, Signal, Stage};

use crate::people::Ring;

/// A source for tenant-naming envelopes.
pub(crate) const PLAIN: &str = "{name: jobs.raw, tenants: any}";

/// Allows `job.pay.>` up to 1000, denies larger amounts.
pub(crate) const POLICY: &str = "
id: bank
revision: 1
derivers:
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 1000 }
rules:
  - { id: pay, match: { topics: [job.pay.>] }, decision: allow, reason: payments are fine }
  - { id: no-large, invariant: true, match: { risk_tags: [large] }, decision: deny, reason: above the limit }
";

/// What a record, or time, led to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) facts: Vec<KernelFact>,
    pub(crate) settling: usize,
    pub(crate) waits: bool,
    pub(crate) messages: Vec<Message>,
    /// Most facts of one decision.
    pub(crate) largest: usize,
}

impl Outcome {
    pub(crate) fn then(&mut self, later: Self) {
        self.facts.extend(later.facts);
        self.messages.extend(later.messages);
        self.largest = self.largest.max(later.largest);
    }
}

pub(crate) struct Shard {
    pub(crate) kernel: Kernel,
    pub(crate) config: KernelConfig,
    pub(crate) at: Timestamp,
    pub(crate) offset: u64,
    /// Every fact so far, as it would stand in the log.
    pub(crate) log: Vec<(String, Timestamp)>,
}

pub(crate) fn source(yaml: &str) -> Source {
    serde_saphyr::from_str::<SourceWritten>(yaml).unwrap().checked().unwrap()
}

pub(crate) fn pool(name: &str, capabilities: &[&str], topics: &[&str]) -> Pool {
    Pool {
        name: PoolName::new(name).unwrap(),
        capabilities: capabilities.iter().map(|c| Capability::new(c).unwrap()).collect::<BTreeSet<_>>(),
        topics: topics.iter().map(|t| TopicGlob::new(t).unwrap()).collect(),
        buckets: 4,
        tenant_buckets: 2,
        draining: false,
        shards: 1,
    }
}

pub(crate) fn config(source: Source, pools: Vec<Pool>) -> KernelConfig {
    let partitions = PartitionCounts { denied: 4, held: 4, finished: 4, dead: 2, limits: 2 };
    let topics = KernelTopics::new("tidegate.", &source, partitions).unwrap();
    KernelConfig {
        source: Arc::new(source),
        shard: 0,
        routes: Arc::new(Routes::new(pools, "tidegate.").unwrap()),
        topics: Arc::new(topics),
        max_record_bytes: DEFAULT_RECORD_BYTES,
        window: WindowBounds { age: Duration::from_mins(10), ids: 200_000 },
        kept: KeptBounds::default(),
        wallet: tidegate_kernel::wallet::WalletBounds::default(),
        ticket_ttl: tidegate_kernel::DEFAULT_TICKET_TTL,
        ticket_ttl_elsewhere: std::time::Duration::ZERO,
        delegation: tidegate_kernel::DelegationBounds::default(),
        trust: Arc::new(Ring::default()),
        people: Arc::new(Ring::default()),
    }
}

/// The same, where these people's keys are trusted.
pub(crate) fn trusting(config: KernelConfig, ring: &Ring) -> KernelConfig {
    KernelConfig { trust: Arc::new(ring.clone()), people: Arc::new(ring.clone()), ..config }
}

pub(crate) fn record(value: Option<&[u8]>, headers: Headers) -> Record {
    Record { offset: 0, timestamp_ms: 1_700_000_000_000, key: None, value: value.map(Bytes::copy_from_slice), headers }
}

impl Shard {
    pub(crate) fn new(config: KernelConfig) -> Self {
        let kernel = Kernel::new(config.clone()).unwrap();
        Self { kernel, config, at: Timestamp(1_700_000_000_000_000), offset: 0, log: Vec::new() }
    }

    /// A shard of [`PLAIN`] with one pool for payments and [`POLICY`].
    pub(crate) fn usual() -> Self {
        let mut shard = Self::new(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]));
        shard.policy(POLICY);
        shard
    }

    pub(crate) fn policy(&mut self, yaml: &str) {
        let policy = tidegate_policy::load([("policy.yaml", yaml)], None).unwrap();
        self.kernel.observe(Signal::Outside(Arc::new(policy)), self.at);
    }

    /// The next record of input `input`.
    pub(crate) fn feed(&mut self, input: u32, record: Record) -> Outcome {
        self.feed_all(input, [record])
    }

    /// The next records of input `input`, read in one batch.
    pub(crate) fn feed_all(&mut self, input: u32, records: impl IntoIterator<Item = Record>) -> Outcome {
        let read = records.into_iter().map(|record| self.reads(input, record));
        let mut outcome = read
            .reduce(|mut before, next| {
                before.then(next);
                before
            })
            .unwrap_or_default();
        // As the runner does after every batch.
        outcome.then(self.polled());
        outcome
    }

    fn reads(&mut self, input: u32, mut record: Record) -> Outcome {
        self.at = self.at + Duration::from_millis(1);
        record.offset = self.offset;
        self.offset += 1;
        let topic = [
            &self.config.topics.source,
            &self.config.topics.commands,
            &self.config.topics.outcomes,
            &self.config.topics.grants,
        ]
        .get(input as usize)
        .map_or_else(|| TopicName::new("other").unwrap(), |topic| (*topic).clone());
        let arrival = Arrival {
            at: InputRef { input, offset: record.offset },
            partition: &topic.partition(self.config.shard),
            record: &record,
            sender: None,
        };
        self.kernel.observe(Signal::Arrived(arrival), self.at);
        self.decide(&Input::Record(arrival))
    }

    /// Time passes: what is due happens, with everything said before then known.
    pub(crate) fn pass(&mut self, time: Duration) -> Outcome {
        let end = self.at + time;
        let mut outcome = self.polled();
        while let Some(due) = self.kernel.next_due().filter(|due| *due <= end) {
            self.at = self.at.max(due);
            let mut step = self.decide(&Input::Tick { fresh: self.at });
            step.then(self.polled());
            assert!(!step.facts.is_empty(), "it says it is due at {due}, but nothing happens");
            outcome.then(step);
        }
        self.at = end;
        outcome
    }

    fn polled(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let step = self.decide(&Input::Poll);
            if step.facts.is_empty() {
                return outcome;
            }
            outcome.then(step);
        }
    }

    /// Decides, applies and emits.
    fn decide(&mut self, input: &Input<'_>) -> Outcome {
        let present = match input {
            Input::Record(arrival) | Input::Refused(arrival, _) => Some((arrival.at, arrival.record)),
            Input::Tick { .. } | Input::Poll | Input::Evict(_) => None,
        };
        let mut decision = Decision::default();
        self.kernel.decide(input, self.at, &mut decision);
        let mut outcome = Outcome {
            facts: Vec::new(),
            settling: decision.facts().iter().filter(|(_, s)| s.is_some() && *s == present.map(|(at, _)| at)).count(),
            waits: decision.waits(),
            messages: Vec::new(),
            largest: decision.facts().len(),
        };
        for (fact, settles) in decision.facts() {
            // As it would come back from the log.
            let text = serde_json::to_string(fact).unwrap();
            let fact: KernelFact = serde_json::from_str(&text).unwrap();
            self.kernel.apply(&fact, self.at);
            let mut outbox = Outbox::new();
            let record = present.map(|(_, record)| record);
            let input = record.filter(|_| settles.is_some() && self.kernel.needs_input(&fact));
            self.kernel.emit(&fact, self.at, input, &mut outbox);
            outcome.messages.extend(outbox.into_messages());
            self.log.push((text, self.at));
            outcome.facts.push(fact);
        }
        outcome
    }

    /// The next job record.
    pub(crate) fn job(&mut self, value: &str) -> Outcome {
        self.feed(INPUT_JOBS, record(Some(value.as_bytes()), Headers::new()))
    }

    /// A fact as it would come from the log.
    pub(crate) fn fact(&mut self, fact: &KernelFact) {
        let text = serde_json::to_string(fact).unwrap();
        self.kernel.apply(&serde_json::from_str(&text).unwrap(), self.at);
        self.log.push((text, self.at));
    }

    /// A new owner's kernel: everything replayed from the log.
    pub(crate) fn replayed(&self) -> Kernel {
        let mut kernel = Kernel::new(self.config.clone()).unwrap();
        for (fact, at) in &self.log {
            kernel.apply(&serde_json::from_str(fact).unwrap(), *at);
        }
        kernel
    }
}
