//! Which topics a configuration needs, by the one table in `protocol`.

use std::collections::BTreeMap;

use tidegate_kernel::Source;
use tidegate_protocol::address::{BadTopicName, TopicName};
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::topics::{Kind, Topic};
use tidegate_spine::{Cleanup, Spine, SpineError, TopicSpec};

use crate::config::Config;

/// A topic there should be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which.
    pub topic: Topic,
    /// How it should be.
    pub spec: TopicSpec,
    /// Somebody else's: it must exist, nothing else is asked of it.
    pub foreign: bool,
    /// It may only be verified.
    pub adopt: bool,
}

/// It cannot be said which topics are needed.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// A name no broker takes.
    #[error("a topic of this configuration has no valid name")]
    Name(#[from] BadTopicName),
    /// The spine was asked for the partitions of an adopted topic and did not answer.
    #[error("the spine could not be asked about its topics")]
    Spine(#[from] SpineError),
    /// An adopted topic does not exist: its companions' partitions follow from its own.
    #[error("topic `{topic}` of source `{source_name}` does not exist; make it, or correct the source's `topic`")]
    NoForeignTopic {
        /// The source.
        source_name: String,
        /// Its topic.
        topic: TopicName,
    },
}

/// All topics, in the order of the table. Asks the spine for the partitions of adopted topics.
///
/// # Errors
/// [`WantedError`].
pub async fn wanted(config: &Config, spine: &dyn Spine) -> Result<Vec<Wanted>, WantedError> {
    let partitions = source_partitions(config, spine).await?;
    table(config, &partitions)
}

/// The same without a spine: `None` where an adopted topic would have to be asked for its partitions.
///
/// # Errors
/// [`WantedError::Name`].
pub fn wanted_unasked(config: &Config) -> Result<Option<Vec<Wanted>>, WantedError> {
    if config.sources.iter().any(|source| source.adopted()) {
        return Ok(None);
    }
    let sources = config.sources.iter().map(|source| source.name());
    let partitions = sources.map(|name| (name.clone(), config.topics.partitions_of(name))).collect();
    table(config, &partitions).map(Some)
}

fn table(config: &Config, partitions: &BTreeMap<SourceName, u32>) -> Result<Vec<Wanted>, WantedError> {
    let mut all = Vec::new();
    let settings = &config.topics;
    let mut add = |topic: Topic, name: TopicName, partitions: u32, foreign: bool| {
        let kind = topic.row().kind;
        let spec = TopicSpec {
            name,
            partitions,
            cleanup: match kind {
                Kind::Backlog => Cleanup::Log { retention_ms: None },
                Kind::Log => Cleanup::Log { retention_ms: settings.retention.log_ms },
                Kind::Facts => Cleanup::Log { retention_ms: settings.retention.facts_ms },
                Kind::Short => Cleanup::Log { retention_ms: settings.retention.short_ms },
                Kind::Keyed => Cleanup::Keyed,
            },
            max_record_bytes: settings.record_bytes,
            broker_time: true,
            replication: settings.replication,
        };
        all.push(Wanted { topic, spec, foreign, adopt: settings.adopt || foreign });
    };
    let prefix = &config.prefix;
    for source in &config.sources {
        let (name, raw) = (source.name().clone(), source.topic(prefix)?);
        let partitions = partitions.get(&name).copied().unwrap_or(1);
        add(Topic::Raw(name.clone()), raw, partitions, source.adopted());
        for topic in [
            Topic::Decisions(name.clone()),
            Topic::Commands(name.clone()),
            Topic::Outcomes(name.clone()),
            Topic::Grants(name),
        ] {
            let full = topic.name(prefix)?;
            add(topic, full, partitions, false);
        }
    }
    for pool in &config.pools {
        let name = || pool.name().clone();
        for (topic, partitions) in [
            (Topic::Approved(name()), pool.route.buckets),
            (Topic::Withdrawals(name()), pool.shards),
            (Topic::Work(name()), pool.lanes),
            (Topic::Reports(name()), pool.shards),
            (Topic::Leases(name()), pool.shards),
            (Topic::PoolCommands(name()), pool.shards),
            (Topic::Overflow(name()), pool.route.buckets),
            (Topic::PoolGrants(name()), pool.shards),
        ] {
            if matches!(topic, Topic::PoolGrants(_)) && !pool.borrows() {
                continue;
            }
            let full = topic.name(prefix)?;
            add(topic, full, partitions, false);
        }
    }
    for (topic, partitions) in [
        (Topic::LimitRequests, config.limits.escrow.shards),
        (Topic::LimitFacts, config.limits.escrow.shards),
        (Topic::Denied, settings.shared_partitions),
        (Topic::Held, settings.shared_partitions),
        (Topic::Finished, settings.shared_partitions),
        (Topic::Dead, settings.shared_partitions),
        (Topic::Snapshots, 1),
        (Topic::Shards, 1),
        (Topic::AuditCheckpoints, 1),
    ] {
        let full = topic.name(prefix)?;
        add(topic, full, partitions, false);
    }
    Ok(all)
}

/// Partitions of a source's topic, and so of its companions: as configured, or as an adopted topic has them.
async fn partitions_of(config: &Config, source: &Source, spine: &dyn Spine) -> Result<u32, WantedError> {
    let (name, raw) = (source.name(), source.topic(&config.prefix)?);
    if !source.adopted() {
        return Ok(config.topics.partitions_of(name));
    }
    let state = spine.describe(std::slice::from_ref(&raw)).await?.into_iter().next().flatten();
    let missing = || WantedError::NoForeignTopic { source_name: name.to_string(), topic: raw.clone() };
    Ok(state.ok_or_else(missing)?.partitions)
}

/// Every source with its partitions.
///
/// # Errors
/// [`WantedError`].
pub(crate) async fn source_partitions(
    config: &Config,
    spine: &dyn Spine,
) -> Result<BTreeMap<SourceName, u32>, WantedError> {
    let mut all = BTreeMap::new();
    for source in &config.sources {
        all.insert(source.name().clone(), partitions_of(config, source, spine).await?);
    }
    Ok(all)
}
