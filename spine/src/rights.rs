//! What a process may do with topics and groups.

use std::collections::BTreeSet;

/// Something that can be done with a topic, or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read its records; join the group.
    Read,
    /// Append records.
    Write,
    /// Let records go ([`Spine::trim`](crate::Spine::trim)).
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// Kafka's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Delete => "Delete",
        }
    }
}

/// What a process may do with one topic or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// This, and nothing else.
    Told(BTreeSet<Operation>),
    /// The spine does not say, and why: it shows when it is tried.
    Untold(String),
}

impl Rights {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::Told(Operation::ALL.into())
    }
}
