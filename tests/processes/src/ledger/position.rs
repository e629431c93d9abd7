//! Where a job's record stands: its identity.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Partition and offset in the one source of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Partition of the raw topic.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
}

/// The name of the source of a run.
pub const SOURCE: &str = "jobs.raw";

impl Position {
    /// Reads `jobs.raw/partition@offset`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (partition, offset) = text.strip_prefix(SOURCE)?.strip_prefix('/')?.split_once('@')?;
        Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SOURCE}/{}@{}", self.partition, self.offset)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no position in {SOURCE}")))
    }
}
