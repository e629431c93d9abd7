//! The names and partition numbers of all topics of a configuration, as the roles need them.

use tidegate_protocol::address::{BadTopicName, TopicName};
use tidegate_protocol::ids::{PoolName, SourceName};
use tidegate_protocol::topics::Topic;

use crate::config::Config;

/// Topics of one source.
#[derive(Debug, Clone)]
pub struct SourceTopics {
    /// The source.
    pub name: SourceName,
    /// Where its records stand.
    pub raw: TopicName,
    /// Its facts.
    pub decisions: TopicName,
    /// Commands.
    pub commands: TopicName,
}

/// Topics of one pool.
#[derive(Debug, Clone)]
pub struct PoolTopics {
    /// The pool.
    pub name: PoolName,
    /// Its facts.
    pub leases: TopicName,
    /// Operators' commands.
    pub commands: TopicName,
}

/// Names that several roles need.
#[derive(Debug, Clone)]
pub struct Named {
    /// In the order of the configuration.
    pub sources: Vec<SourceTopics>,
    /// In the order of the configuration.
    pub pools: Vec<PoolTopics>,
    /// `finished`.
    pub finished: TopicName,
    /// `dead`.
    pub dead: TopicName,
    /// `shards`.
    pub shards: TopicName,
}

impl Named {
    /// Of this configuration.
    ///
    /// # Errors
    /// [`BadTopicName`] for the first that no broker would take.
    pub fn of(config: &Config) -> Result<Self, BadTopicName> {
        let prefix = &config.prefix;
        let sources = config
            .sources
            .iter()
            .map(|source| {
                let name = source.name().clone();
                let decisions = Topic::Decisions(name.clone()).name(prefix)?;
                let commands = Topic::Commands(name.clone()).name(prefix)?;
                Ok(SourceTopics { raw: source.topic(prefix)?, decisions, commands, name })
            })
            .collect::<Result<_, BadTopicName>>()?;
        let pools = config
            .pools
            .iter()
            .map(|pool| {
                let name = pool.name().clone();
                let leases = Topic::Leases(name.clone()).name(prefix)?;
                let commands = Topic::PoolCommands(name.clone()).name(prefix)?;
                Ok(PoolTopics { leases, commands, name })
            })
            .collect::<Result<_, BadTopicName>>()?;
        Ok(Self {
            sources,
            pools,
            finished: Topic::Finished.name(prefix)?,
            dead: Topic::Dead.name(prefix)?,
            shards: Topic::Shards.name(prefix)?,
        })
    }
}
