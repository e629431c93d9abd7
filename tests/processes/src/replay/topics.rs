//! A run's topics, by the bare client: the snapshots of all shards at once, then the facts of each in turn, none of them held.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use tidegate_node::config::Config;
use tidegate_node::roles::ShardVisitor;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{SenderId, SourceName};
use tidegate_protocol::signature::Trust;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Headers, Record};
use tidegate_stage::replay::term_of;
use tidegate_stage::{ShardSpec, Stage, snapshots};

use super::Replayed;
use super::shard::{Judged, Outcome, Written};
use crate::broker::{Broker, Met};

/// As the stages' own reader gives it.
fn record(met: Met) -> Record {
    Record {
        offset: met.offset,
        timestamp_ms: met.at_ms,
        key: met.key.map(Bytes::from),
        value: met.value.map(Bytes::from),
        headers: met.headers.into_iter().collect::<Headers>(),
    }
}

/// Partitions of every source of a configuration, as its kernels' facts have them.
pub(super) fn sources(broker: &Broker, config: &Config) -> anyhow::Result<BTreeMap<SourceName, u32>> {
    let there = broker.topics(&config.prefix)?;
    let partitions = |name: &SourceName| -> anyhow::Result<(SourceName, u32)> {
        let facts = Topic::Decisions(name.clone()).name(&config.prefix)?;
        let count = there.get(facts.as_str()).with_context(|| format!("there is no topic `{facts}`"))?;
        Ok((name.clone(), *count))
    };
    config.sources.iter().map(|source| partitions(source.name())).collect()
}

/// What the shards of a configuration are.
#[derive(Default)]
pub(super) struct Specs(pub(super) Vec<ShardSpec>);

impl ShardVisitor for Specs {
    fn shard<S: Stage>(&mut self, spec: ShardSpec, _: &dyn Fn() -> S) {
        self.0.push(spec);
    }
}

/// Judges each shard that it is shown.
pub(super) struct Topics<'a> {
    broker: &'a Broker,
    trust: Arc<dyn Trust>,
    /// The records of `shards`.
    terms: Vec<Record>,
    written: BTreeMap<SenderId, Written>,
    judged: Replayed,
    failed: Option<anyhow::Error>,
}

impl<'a> Topics<'a> {
    /// Reads what these shards have written of their states.
    pub(super) fn read(broker: &'a Broker, trust: Arc<dyn Trust>, specs: &[ShardSpec]) -> anyhow::Result<Self> {
        let mut written: BTreeMap<SenderId, Written> = BTreeMap::new();
        let mut judged = Replayed::default();
        let first = specs.first().context("the configuration has no stages")?;
        let mut tail = broker.tail(&BTreeMap::from([(first.snapshots.to_string(), 1)]))?;
        tail.to_the_ends(&mut |met| {
            let record = record(met);
            let key = record.key.as_deref().unwrap_or_default();
            match specs.iter().find(|spec| snapshots::is_of(&spec.sender, key)) {
                Some(spec) => written.entry(spec.sender.clone()).or_default().meet(spec, &record, &*trust),
                None => judged.broken.push(format!("{}@{} is of no shard", first.snapshots, record.offset)),
            }
        })?;
        let terms = whole(broker, &first.shards)?;
        Ok(Self { broker, trust, terms, written, judged, failed: None })
    }

    fn judge<S: Stage>(&mut self, spec: &ShardSpec, make: &dyn Fn() -> S) -> anyhow::Result<Outcome> {
        let (topic, partition) = (spec.facts.topic.to_string(), spec.facts.partition);
        let term = term_of(&spec.sender, &self.terms)?;
        let written = self.written.remove(&spec.sender).unwrap_or_default();
        let (start, _) = self.broker.ends(&topic, partition)?;
        let mut judged = Judged::begin(spec, make, self.trust.clone(), start, written);
        let mut met = Ok(());
        self.broker.tail_of(&topic, partition)?.to_the_ends(&mut |next| {
            if met.is_ok() {
                met = judged.meet(&record(next), term);
            }
        })?;
        met?;
        judged.end()
    }

    /// What was found.
    pub(super) fn judged(self) -> anyhow::Result<Replayed> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.judged),
        }
    }
}

impl ShardVisitor for Topics<'_> {
    fn shard<S: Stage>(&mut self, spec: ShardSpec, make: &dyn Fn() -> S) {
        if self.failed.is_some() {
            return;
        }
        match self.judge(&spec, make) {
            Ok(outcome) => self.judged.add(spec.sender.as_str(), outcome),
            Err(error) => self.failed = Some(error.context(format!("replay {}", spec.sender))),
        }
    }
}

fn whole(broker: &Broker, topic: &TopicName) -> anyhow::Result<Vec<Record>> {
    Ok(broker.whole(topic.as_str())?.into_iter().map(record).collect())
}
