//! Where a record stands: topic, partition, offset.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The full name of a broker topic, prefix included. Cheap to clone.
///
/// 1 to 249 characters of `[A-Za-z0-9._-]`, not `.` or `..`: Kafka's rule, which every adapter can keep.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A topic name that no broker would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic name `{name}` is not 1 to 249 characters of letters, digits, `.`, `_` and `-`")]
pub struct BadTopicName {
    /// The name as written.
    pub name: String,
}

impl TopicName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`BadTopicName`] when it is empty, too long, `.`, `..`, or has another character.
    pub fn new(name: impl AsRef<str>) -> Result<Self, BadTopicName> {
        let name = name.as_ref();
        let legal = !name.is_empty()
            && name.len() <= 249
            && name != "."
            && name != ".."
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if legal { Ok(Self(Arc::from(name))) } else { Err(BadTopicName { name: name.to_owned() }) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One partition of this topic.
    #[must_use]
    pub fn partition(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.clone(), partition }
    }
}

impl Serialize for TopicName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::text::deserialize(from, |name| Self::new(name))
    }
}

impl TryFrom<String> for TopicName {
    type Error = BadTopicName;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// One partition of one topic; shown as `topic/partition`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The place of a record in its partition. Offsets only rise; neighbours may differ by more than one
/// (compaction, transaction markers), so nothing may assume `+ 1`.
pub type Offset = u64;
