//! How large a record may be, by topic.
//!
//! Kafka limits *batches*, and refuses one as a whole: the small records around a large one would be lost with it.
//! So an append is checked before anything of it is handed over, against what this process has learnt of the topic
//! (by creating, altering or describing it), else against Kafka's own default.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tidegate_protocol::address::TopicName;
use tidegate_spine::NewRecord;

/// Room for a batch's head and a record's framing beside key, value and headers.
const FRAMING: usize = 1024;
/// The smallest batch limit a topic is given: a full batch of small records must fit.
const SMALLEST_BATCH: usize = 1_048_588;
/// What is taken to fit a topic nothing is known of.
const UNKNOWN: usize = 1_000_000;

/// Kafka's `max.message.bytes` for records of up to `record` bytes.
#[must_use]
pub fn batch_limit(record: usize) -> usize {
    record.saturating_add(FRAMING).max(SMALLEST_BATCH)
}

/// The largest record that surely fits Kafka's `max.message.bytes`.
pub(crate) fn record_limit(batch: usize) -> usize {
    batch.saturating_sub(FRAMING)
}

/// What is known of topics.
#[derive(Default)]
pub(crate) struct Limits(RwLock<HashMap<TopicName, usize>>);

impl Limits {
    pub(crate) fn learn(&self, topic: &TopicName, record: usize) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), record);
    }

    pub(crate) fn forget(&self, topic: &TopicName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Largest record of `topic`.
    pub(crate) fn of(&self, topic: &TopicName) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied().unwrap_or(UNKNOWN)
    }
}

/// What a record counts against its topic's limit: many headers take more than the room left for framing.
pub(crate) fn weight(record: &NewRecord) -> usize {
    record.bytes() + (record.headers.len() * 8).saturating_sub(FRAMING / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_turn_around() {
        assert_eq!(record_limit(batch_limit(5_000_000)), 5_000_000);
        assert!(record_limit(batch_limit(10)) >= 1_000_000, "a batch of small records fits every topic");
    }

    #[test]
    fn what_was_learnt_counts() {
        let (limits, topic) = (Limits::default(), TopicName::new("t").unwrap());
        assert_eq!(limits.of(&topic), UNKNOWN);
        limits.learn(&topic, 5);
        assert_eq!(limits.of(&topic), 5);
        limits.forget(&topic);
        assert_eq!(limits.of(&topic), UNKNOWN);
    }
}
