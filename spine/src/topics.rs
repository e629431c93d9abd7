//! Topics as they should be and as they are.

use tidegate_protocol::address::{Offset, TopicName};

/// How old records go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// By age in milliseconds, whole segments at a time; `None`: never by age, its reader trims it.
    Log {
        /// Age limit.
        retention_ms: Option<u64>,
    },
    /// The latest record of each key stays (compaction); a null value removes the key in time.
    Keyed,
}

/// A topic as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full name.
    pub name: TopicName,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Cleanup.
    pub cleanup: Cleanup,
    /// Largest record, bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// Timestamps are the broker's (Kafka `message.timestamp.type=LogAppendTime`).
    pub broker_time: bool,
    /// Copies where the spine replicates; `None` takes the broker's default.
    pub replication: Option<u16>,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Full name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// How it is kept, or why the spine does not tell: what is not known is not taken for right.
    pub settings: Result<TopicSettings, String>,
}

/// How a topic's records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Cleanup.
    pub cleanup: CleanupFound,
    /// Bytes of a partition above which its oldest records go, read or not; `None`: however many there are.
    pub retention_bytes: Option<u64>,
    /// Largest record in bytes.
    pub max_record_bytes: usize,
    /// Whether timestamps are the broker's.
    pub broker_time: bool,
}

/// How old records go away, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupFound {
    /// One of ours.
    Known(Cleanup),
    /// Another, in the spine's own word (Kafka: `compact,delete` loses the latest record of a key by its age).
    Other(String),
}

/// First and next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The first offset the log still holds (equal to `end` when empty).
    pub start: Offset,
    /// One above the last record that can be read now.
    pub end: Offset,
}
