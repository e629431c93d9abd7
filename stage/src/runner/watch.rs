//! What a runner tells its process.

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::Refused;
use tidegate_spine::{AppendError, Ends, ReadError, SpineError};

use crate::facts::BrokenChain;

/// Told by a runner as it happens; must not block.
pub trait Watch: Send + Sync {
    /// Something happened to the shard.
    fn event(&self, shard: &SenderId, event: &ShardEvent);
}

/// What happens to a shard.
#[derive(Debug)]
pub enum ShardEvent {
    /// A takeover is complete: the shard is worked on under this epoch.
    Owning {
        /// The epoch.
        epoch: u64,
        /// Facts that were replayed.
        replayed: u64,
        /// Messages that are emitted again.
        emitted_again: u64,
    },
    /// An output takes no fence; it is waited for.
    FenceStalls {
        /// The output.
        output: TopicPartition,
    },
    /// Records of an input are gone before they were settled: the shard stands still until an operator accepts the loss
    /// (`tidegate sources accept-loss`) or the log has them again.
    InputLost {
        /// The input.
        partition: TopicPartition,
        /// The lowest offset that is needed.
        from: Offset,
        /// Where the log begins now.
        start: Offset,
    },
    /// Records of an input are given up, as an operator has accepted; the range stands in the facts with the next group.
    LossAccepted {
        /// The input.
        partition: TopicPartition,
        /// The lowest offset that was needed.
        from: Offset,
        /// Where reading goes on.
        to: Offset,
        /// Who accepted it.
        by: String,
    },
    /// Records of an input below `before` are needed no more: behind the last snapshot but one.
    TrimWanted {
        /// The partition.
        partition: TopicPartition,
        /// Everything below may go.
        before: Offset,
    },
    /// A checkpoint of the facts log has landed.
    Checkpoint {
        /// Its signed text ([`tidegate_protocol::checkpoint`]).
        text: bytes::Bytes,
    },
    /// How far the inputs are read, for lag tools.
    Positions(Vec<Reached>),
    /// The ownership ended; another begins after a pause unless it was stopped.
    Ended(Ended),
}

/// How far a shard has read an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The input.
    pub input: TopicPartition,
    /// Its lowest offset that is not settled: where a next owner reads on.
    pub position: Offset,
    /// The next offset to be read.
    pub head: Offset,
    /// Records below that which are not settled.
    pub open: u64,
}

impl Reached {
    /// Records that are not settled, of a log that has these ends.
    #[must_use]
    pub fn unsettled(&self, ends: Ends) -> u64 {
        self.open + ends.end.saturating_sub(self.head.max(ends.start))
    }
}

/// Why an ownership ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was asked to stop, and everything decided has landed.
    #[error("stopped")]
    Stopped,
    /// A newer owner has the shard, or claimed it and was not heard of again.
    #[error("superseded by epoch {by}")]
    Superseded {
        /// Its epoch.
        by: u64,
    },
    /// An append failed; nothing is decided again in this epoch.
    #[error("an append failed")]
    Append(#[source] AppendError),
    /// An input or the facts log cannot be read.
    #[error("a read failed")]
    Read(#[source] ReadError),
    /// Records of an input are gone before they were settled.
    #[error("records {from} to {start} of `{partition}` are gone before they were settled")]
    InputLost {
        /// The input.
        partition: TopicPartition,
        /// The lowest offset that is needed.
        from: Offset,
        /// Where the log begins now.
        start: Offset,
    },
    /// The spine did not answer a question.
    #[error("the spine did not answer")]
    Spine(#[source] SpineError),
    /// Snapshots or terms could not be read.
    #[error("snapshots or terms could not be read")]
    Keyed(#[source] tidegate_spine::keyed::ReadWholeError),
    /// This machine's clock is off.
    #[error("this machine's clock is {skew_ms} ms off the spine's; set it, then the shard is taken")]
    Clock {
        /// By how much.
        skew_ms: u64,
    },
    /// The facts log was altered.
    #[error("the facts log cannot be trusted")]
    Chain(#[source] BrokenChain),
    /// The claim landed too long after it was made; nobody counts it.
    #[error("the claim landed more than a minute after it was made and does not count")]
    LateClaim,
    /// This process's own records would not count here.
    #[error(
        "this process signs as key `{key}`, and its claim is not believed here ({why}): list the key in `keys.trusted`"
    )]
    Untrusted {
        /// The key it signs with.
        key: String,
        /// Why not.
        why: Refused,
    },
    /// The log has groups, and none that this configuration believes: most likely keys were taken out of it.
    #[error(
        "the facts log has {groups} groups and none is believed here ({why}): put the keys they were signed with back into `keys.trusted` (with `until`); going on would decide everything again"
    )]
    Unheard {
        /// How many.
        groups: u64,
        /// Why the last was not.
        why: Refused,
    },
    /// The facts log no longer reaches back to a snapshot.
    #[error(
        "the facts log starts at {start}, but the newest complete snapshot stands at {snapshot:?}: facts are lost; restore the log"
    )]
    FactsLost {
        /// Where the log starts.
        start: Offset,
        /// Where the snapshot stands.
        snapshot: Option<Offset>,
    },
    /// A stage sends to a partition that its claim does not name: a defect of the stage's spec.
    #[error("a message goes to `{to}`, which the claim does not name")]
    Unclaimed {
        /// Where to.
        to: TopicPartition,
    },
    /// A fact, mark or snapshot could not be written or read as JSON.
    #[error("a record could not be encoded or decoded: {reason}")]
    Codec {
        /// Why.
        reason: String,
    },
}

impl Ended {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Superseded { .. } => "superseded",
            Self::Append(_) => "append",
            Self::Read(_) => "read",
            Self::InputLost { .. } => "input_lost",
            Self::Spine(_) => "spine",
            Self::Keyed(_) => "keyed",
            Self::Clock { .. } => "clock",
            Self::Chain(_) => "chain",
            Self::LateClaim => "late_claim",
            Self::Untrusted { .. } => "untrusted",
            Self::Unheard { .. } => "unheard",
            Self::FactsLost { .. } => "facts_lost",
            Self::Unclaimed { .. } => "unclaimed",
            Self::Codec { .. } => "codec",
        }
    }
}

impl From<serde_json::Error> for Ended {
    fn from(error: serde_json::Error) -> Self {
        Self::Codec { reason: error.to_string() }
    }
}
