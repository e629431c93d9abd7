//! Who owns which shard.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

use crate::SpineError;

/// How a member joins.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// The group; all members of a role for one source or pool share it.
    pub group: String,
    /// The facts topic: partition n stands for shard n. Nothing is fetched through the membership.
    pub topic: TopicName,
    /// A stable name of the process for static membership, or `None`.
    pub instance: Option<String>,
    /// Silence after which the group gives a member's shards to others, milliseconds (Kafka `session.timeout.ms`).
    pub session_timeout_ms: u32,
}

/// A change in what this member owns.
#[derive(Debug)]
pub enum Change {
    /// These partitions are now ours. None: the group has answered, and others have them all for now.
    Assigned(Vec<u32>),
    /// These are to be given up in order. The group waits (bounded, a few seconds) until `released` is dropped.
    Revoked {
        /// Partition numbers.
        partitions: Vec<u32>,
        /// Drop it once their owners here have stopped.
        released: Released,
    },
    /// These were given to somebody else already (session lost).
    Lost(Vec<u32>),
}

/// Dropping it tells the group that revoked partitions have been let go.
pub struct Released(#[expect(dead_code, reason = "held only for its drop")] Box<dyn Send>);

impl Released {
    /// Wraps whatever the adapter wants dropped.
    #[must_use]
    pub fn new(on_drop: impl Send + 'static) -> Self {
        Self(Box::new(on_drop))
    }
}

impl std::fmt::Debug for Released {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Released")
    }
}

/// Membership in a group that shares out the partitions of one topic.
///
/// A hint, not a lock: two members may believe for a while that they own the same partition (a paused process, a
/// lost session). What makes that harmless is claim, fence and barrier (DESIGN section 2), not the group. While all
/// members live and the spine answers, every partition has an owner within a few seconds.
pub trait Membership: Send {
    /// The next change. The first one comes as soon as the group has taken the member in, also when it gives nothing.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<Change, SpineError>>;

    /// Publishes positions for lag tools, best effort. Tidegate itself never reads them.
    fn commit(&mut self, positions: &[(TopicPartition, Offset)]);

    /// Leaves at once so that the others need not wait for the session timeout.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}
