//! What a shard consists of.

use std::time::Duration;

use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::ids::SenderId;

/// What kind of input a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Jobs: paused while the stage does not admit them, bounded by the place's bounds.
    Jobs,
    /// Commands, outcomes, grants, reports: read first, never paused.
    Control,
}

/// Who may write an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Anyone: control records are ordinary input.
    Anyone,
    /// These stages alone (`kernel`, …): fences are honoured, and what is not proven to be a message of theirs is refused.
    Stages(&'static [&'static str]),
}

impl Writers {
    /// Whether stages alone may write.
    #[must_use]
    pub const fn sealed(self) -> bool {
        matches!(self, Self::Stages(_))
    }
}

/// One input partition of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// The partition.
    pub partition: TopicPartition,
    /// Its kind.
    pub kind: InputKind,
    /// Who may write it.
    pub writers: Writers,
    /// Trim it behind the last snapshot but one (topics that hold backlog and are ours).
    pub trim: bool,
}

/// Bounds and paces of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Most facts in one group.
    pub group_facts: usize,
    /// Most bytes of one group (kept below the facts topic's record limit).
    pub group_bytes: usize,
    /// Groups that may be on their way at once, at least 1.
    pub groups_in_flight: usize,
    /// Message bytes decided and not landed beyond which nothing more is decided; also the most that is handed to the
    /// client at once. The client itself may hold four times this.
    pub message_bytes: usize,
    /// A group without facts is written when positions or `released` moved and this long passed.
    pub idle_group: Duration,
    /// Or when this many records were read without a group.
    pub idle_records: u64,
    /// Facts after which a snapshot is taken.
    pub snapshot_facts: u64,
    /// Time after which one is taken of any new facts, fewer than those; `None`: their number alone counts.
    pub snapshot_every: Option<Duration>,
    /// Longest distance from a job input's position to what was read, in records; beyond it the oldest waiting job is
    /// evicted. With half as many waiting, no more of the input is read.
    pub place_distance: u64,
    /// Most ranges of settled offsets above a position; as above.
    pub place_ranges: usize,
    /// Largest difference between this machine's clock and the spine's at the claim.
    pub clock_skew: Duration,
    /// First and longest pause before a new ownership after one failed.
    pub backoff: (Duration, Duration),
    /// Silence after which the own facts log is read back for a higher barrier.
    pub idle_read_back: Duration,
    /// Shortest time between two checkpoints of an owner; an orderly stop writes one at once.
    pub checkpoint_every: Duration,
    /// An output that takes no fence for this long raises an alarm (it is waited for all the same).
    pub fence_alarm: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            group_facts: 2_000,
            group_bytes: 700 << 10,
            groups_in_flight: 1,
            message_bytes: 16 << 20,
            idle_group: Duration::from_secs(5),
            idle_records: 10_000,
            snapshot_facts: 50_000,
            snapshot_every: None,
            place_distance: 65_536,
            place_ranges: 1_024,
            clock_skew: Duration::from_secs(2),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            idle_read_back: Duration::from_secs(1),
            checkpoint_every: Duration::from_secs(5),
            fence_alarm: Duration::from_secs(30),
        }
    }
}

/// A shard of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSpec {
    /// `stage.name/shard`.
    pub sender: SenderId,
    /// Its facts partition.
    pub facts: TopicPartition,
    /// Its inputs; the stage knows them by their number here.
    pub inputs: Vec<InputSpec>,
    /// Every partition it may write fenced messages to.
    pub outputs: Vec<TopicPartition>,
    /// The keyed topic of snapshots.
    pub snapshots: TopicName,
    /// The keyed topic of terms.
    pub shards: TopicName,
    /// Where signed checkpoints of the facts log go, if anywhere.
    pub checkpoints: Option<TopicPartition>,
    /// The process, for people who read claims.
    pub process: String,
    /// Bounds and paces.
    pub pace: Pace,
}
