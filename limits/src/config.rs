//! What a limits stage is made from: topics and paces. As written -> checked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{BadTopicName, TopicName, TopicPartition};
use tidegate_protocol::ids::{BadName, PoolName, SenderId, SourceName};
use tidegate_protocol::topics::Topic;
use tidegate_stage::{InputKind, InputSpec, Pace, ShardSpec, Writers};

/// How limits are shared out; every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Partitions of `limits.requests` and `limits.facts`; fixed for their life.
    pub shards: u32,
    /// How long a shard may spend what it holds without renewing it, milliseconds, 1000 or more.
    pub holding_ms: u64,
    /// Largest difference between two shards' clocks for which no holder has to wait, milliseconds. Twice what a runner
    /// tolerates towards its broker, and a margin.
    pub skew_ms: u64,
    /// How long a request waits for others to give back, milliseconds.
    pub recall_ms: u64,
    /// Pause before a shard asks again for what is lent out to others, milliseconds.
    pub retry_ms: u64,
    /// Most keys in all, a shard.
    pub keys: usize,
    /// Most keys of one tenant, a shard; beyond it nothing is granted for new ones.
    pub tenant_keys: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            shards: 4,
            holding_ms: 30_000,
            skew_ms: 5_000,
            recall_ms: 500,
            retry_ms: 250,
            keys: 1_000_000,
            tenant_keys: 100_000,
        }
    }
}

/// A limits stage that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLimitsConfig {
    /// A number is outside its bounds.
    #[error("`{field}` is {value}, but must be {least} to {most}")]
    OutOfBounds {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Least.
        least: u64,
        /// Most.
        most: u64,
    },
    /// Prefix or source make no topic name.
    #[error("the limits stage has no valid topics under this prefix")]
    Topic(#[from] BadTopicName),
    /// A shard makes no sender.
    #[error("the limits stage has no valid sender name")]
    Sender(#[from] BadName),
}

impl Tuning {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`BadLimitsConfig`] for the first that does not hold.
    pub fn check(&self) -> Result<(), BadLimitsConfig> {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (field, value, least, most) in [
            ("shards", self.shards.into(), 1, 10_000),
            ("holding_ms", self.holding_ms, 1_000, 3_600_000),
            ("skew_ms", self.skew_ms, 0, 3_600_000),
            ("recall_ms", self.recall_ms, 1, 60_000),
            ("retry_ms", self.retry_ms, 1, 60_000),
            ("keys", wide(self.keys), 1, 100_000_000),
            ("tenant_keys", wide(self.tenant_keys), 1, 100_000_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(BadLimitsConfig::OutOfBounds { field, value, least, most });
            }
        }
        Ok(())
    }
}

/// Whom it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Prefix of all topics, with its own dot.
    pub prefix: String,
    /// The sources, with their partitions.
    pub sources: BTreeMap<SourceName, u32>,
    /// The pools whose limits are lent, with their shards: those of several.
    pub pools: BTreeMap<PoolName, u32>,
}

/// A checked limits stage.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    pub(crate) holding: Duration,
    pub(crate) skew: Duration,
    pub(crate) recall: Duration,
    pub(crate) retry: Duration,
    pub(crate) keys: usize,
    pub(crate) tenant_keys: usize,
    shards: u32,
    grants: BTreeMap<SourceName, (TopicName, u32)>,
    pool_grants: BTreeMap<PoolName, (TopicName, u32)>,
    requests: TopicName,
    facts: TopicName,
    snapshots: TopicName,
    terms: TopicName,
}

impl LimitsConfig {
    /// Checks layout and tuning.
    ///
    /// # Errors
    /// [`BadLimitsConfig`].
    pub fn new(layout: &Layout, tuning: &Tuning) -> Result<Self, BadLimitsConfig> {
        tuning.check()?;
        let prefix = &layout.prefix;
        let grants = layout.sources.iter().map(|(source, partitions)| {
            let topic = Topic::Grants(source.clone()).name(prefix)?;
            Ok::<_, BadTopicName>((source.clone(), (topic, *partitions)))
        });
        let pool_grants = layout.pools.iter().map(|(pool, shards)| {
            let topic = Topic::PoolGrants(pool.clone()).name(prefix)?;
            Ok::<_, BadTopicName>((pool.clone(), (topic, *shards)))
        });
        Ok(Self {
            holding: Duration::from_millis(tuning.holding_ms),
            skew: Duration::from_millis(tuning.skew_ms),
            recall: Duration::from_millis(tuning.recall_ms),
            retry: Duration::from_millis(tuning.retry_ms),
            keys: tuning.keys,
            tenant_keys: tuning.tenant_keys,
            shards: tuning.shards,
            grants: grants.collect::<Result<_, _>>()?,
            pool_grants: pool_grants.collect::<Result<_, _>>()?,
            requests: Topic::LimitRequests.name(prefix)?,
            facts: Topic::LimitFacts.name(prefix)?,
            snapshots: Topic::Snapshots.name(prefix)?,
            terms: Topic::Shards.name(prefix)?,
        })
    }

    /// The facts topic, whose group gives shards out.
    #[must_use]
    pub const fn facts(&self) -> &TopicName {
        &self.facts
    }

    /// Where answers to a shard go; `None` when it is none that may ask, or of a source or pool that is not configured.
    pub(crate) fn grants_of(&self, sender: &SenderId) -> Option<TopicPartition> {
        let (name, shard) = sender.as_str().rsplit_once('/')?;
        let (topic, partitions) = match name.split_once('.')? {
            ("kernel", source) => self.grants.get(&SourceName::new(source).ok()?)?,
            ("scheduler", pool) => self.pool_grants.get(&PoolName::new(pool).ok()?)?,
            _ => return None,
        };
        let shard: u32 = shard.parse().ok()?;
        (shard < *partitions).then(|| topic.partition(shard))
    }

    /// What shard `shard` reads and writes.
    ///
    /// # Errors
    /// [`BadLimitsConfig`] when there is no such shard.
    pub fn shard_spec(&self, shard: u32, process: &str, pace: Pace) -> Result<ShardSpec, BadLimitsConfig> {
        if shard >= self.shards {
            let most = u64::from(self.shards - 1);
            return Err(BadLimitsConfig::OutOfBounds { field: "shard", value: shard.into(), least: 0, most });
        }
        let outputs = self
            .grants
            .values()
            .chain(self.pool_grants.values())
            .flat_map(|(topic, partitions)| (0..*partitions).map(|partition| topic.partition(partition)));
        Ok(ShardSpec {
            sender: SenderId::new(format!("limits/{shard}"))?,
            facts: self.facts.partition(shard),
            inputs: vec![InputSpec {
                partition: self.requests.partition(shard),
                kind: InputKind::Control,
                writers: Writers::Stages(&["kernel", "scheduler"]),
                trim: false,
            }],
            outputs: outputs.collect(),
            snapshots: self.snapshots.clone(),
            shards: self.terms.clone(),
            checkpoints: None,
            process: process.to_owned(),
            pace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_reads_its_requests_and_may_answer_every_shard_of_kernels_and_pools() {
        let sources = BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), 2)]);
        let pools = BTreeMap::from([(PoolName::new("bank").unwrap(), 2)]);
        let config = LimitsConfig::new(&Layout { prefix: "t.".into(), sources, pools }, &Tuning::default()).unwrap();
        let spec = config.shard_spec(1, "p", Pace::default()).unwrap();
        assert_eq!((spec.sender.as_str(), spec.facts.to_string().as_str()), ("limits/1", "t.limits.facts/1"));
        assert_eq!(spec.inputs[0].partition.to_string(), "t.limits.requests/1");
        let outputs: Vec<_> = spec.outputs.iter().map(ToString::to_string).collect();
        assert_eq!(outputs, ["t.grants.jobs.raw/0", "t.grants.jobs.raw/1", "t.grants.bank/0", "t.grants.bank/1"]);
        let grants = |sender: &str| config.grants_of(&SenderId::new(sender).unwrap()).map(|to| to.to_string());
        assert_eq!(grants("kernel.jobs.raw/1").as_deref(), Some("t.grants.jobs.raw/1"));
        assert_eq!(grants("scheduler.bank/1").as_deref(), Some("t.grants.bank/1"));
        for other in [
            "kernel.jobs.raw/2",
            "kernel.other/0",
            "scheduler.bank/2",
            "scheduler.jobs.raw/0",
            "kernel.bank/0",
            "kernel.jobs.raw",
            "kernel.jobs.raw/x",
        ] {
            assert_eq!(grants(other), None, "{other}");
        }
        let error = config.shard_spec(4, "p", Pace::default()).unwrap_err();
        assert_eq!(error.to_string(), "`shard` is 4, but must be 0 to 3");
        let error = Tuning { holding_ms: 5, ..Tuning::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "`holding_ms` is 5, but must be 1000 to 3600000");
    }
}
