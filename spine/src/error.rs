//! Broker errors, sorted once, in the adapter.

use std::time::Duration;

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

/// What whoever gets an error does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing is wrong with the request; the spine is away or busy and may take long. Wait, keep everything.
    Wait,
    /// This try failed; a new try of the same request may succeed.
    Retry,
    /// The request itself is refused (too large, unknown topic, no right) and will be again.
    Refuse,
    /// The client is unusable (fenced, corrupt, closed): drop it and start again.
    Fatal,
}

/// An append did not land, or it is not known whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The record is larger than the topic or the client takes. Nothing of this append landed.
    #[error(
        "record of {bytes} bytes is too large for `{to}` (limit {limit:?}); make it smaller or raise the limit of topic and client"
    )]
    TooLarge {
        /// Where to.
        to: TopicPartition,
        /// Size of the largest record in the append.
        bytes: usize,
        /// The limit when known.
        limit: Option<usize>,
    },
    /// The topic or partition does not exist.
    #[error("`{to}` does not exist; run `tidegate topics apply`")]
    UnknownTopic {
        /// Where to.
        to: TopicPartition,
    },
    /// More bytes are in flight than [`crate::ProducerOptions::max_in_flight_bytes`]. Nothing of this append was taken.
    #[error("producer queue is full ({limit} bytes in flight)")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// Refused by the broker (rights, quota, invalid record).
    #[error("append to `{to}` was refused: {reason}")]
    Refused {
        /// Where to.
        to: TopicPartition,
        /// The client's words.
        reason: String,
    },
    /// The producer cannot go on (fenced, fatal client error, closed, the process of an embedded spine ends).
    #[error("producer can no longer be used: {reason}")]
    Fatal {
        /// The client's words.
        reason: String,
    },
}

impl AppendError {
    /// How to treat it. An adapter never reports what it is still retrying, so there is no `Wait` here.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::TooLarge { .. } | Self::UnknownTopic { .. } | Self::Refused { .. } => ErrorClass::Refuse,
            Self::Full { .. } => ErrorClass::Retry,
            Self::Fatal { .. } => ErrorClass::Fatal,
        }
    }
}

/// A partition cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The records from `requested` on are gone (retention, trim) or the log was made anew and is shorter.
    #[error(
        "`{from}` holds nothing at offset {requested} (it now starts at {start:?}); records were lost to retention or the topic was made anew"
    )]
    Truncated {
        /// The partition.
        from: TopicPartition,
        /// The offset asked for.
        requested: Offset,
        /// Where the log starts now, when known.
        start: Option<Offset>,
    },
    /// The topic or partition does not exist.
    #[error("`{from}` does not exist; run `tidegate topics apply`")]
    UnknownTopic {
        /// The partition.
        from: TopicPartition,
    },
    /// No right to read it.
    #[error("reading `{from}` was refused: {reason}")]
    Refused {
        /// The partition.
        from: TopicPartition,
        /// The client's words.
        reason: String,
    },
    /// The reader cannot go on.
    #[error("reader can no longer be used: {reason}")]
    Fatal {
        /// The client's words.
        reason: String,
    },
}

impl ReadError {
    /// How to treat it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Truncated { .. } | Self::UnknownTopic { .. } | Self::Refused { .. } => ErrorClass::Refuse,
            Self::Fatal { .. } => ErrorClass::Fatal,
        }
    }
}

/// A question to the spine (ends, topics, connecting, ownership) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpineError {
    /// No broker answered in time.
    #[error("no answer from {spine} within {after:?}: {reason}; is it up, and is the address right?")]
    Unavailable {
        /// The spine's URL, secrets removed.
        spine: String,
        /// How long was waited.
        after: Duration,
        /// The client's words.
        reason: String,
    },
    /// The credentials or rights do not suffice.
    #[error("{spine} refused: {reason}; check the credentials and the rights in the config's `spine` section")]
    Denied {
        /// The spine's URL, secrets removed.
        spine: String,
        /// The client's words.
        reason: String,
    },
    /// A topic that does not exist.
    #[error("topic `{topic}` does not exist; run `tidegate topics apply`")]
    UnknownTopic {
        /// The topic.
        topic: TopicName,
    },
    /// The request or the settings are wrong.
    #[error("{spine}: {reason}")]
    Invalid {
        /// The spine's URL, secrets removed.
        spine: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Another process has the embedded folder open.
    #[error("data folder `{folder}` is in use by another process; stop it, or choose another folder")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The client is unusable.
    #[error("{spine} can no longer be used: {reason}")]
    Fatal {
        /// The spine's URL, secrets removed.
        spine: String,
        /// The client's words.
        reason: String,
    },
}

impl SpineError {
    /// How to treat it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } => ErrorClass::Wait,
            Self::Denied { .. } | Self::UnknownTopic { .. } | Self::Invalid { .. } | Self::InUse { .. } => {
                ErrorClass::Refuse
            }
            Self::Fatal { .. } => ErrorClass::Fatal,
        }
    }
}
