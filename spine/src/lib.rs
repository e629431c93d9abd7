//! The broker boundary: small traits with their promises in prose, and nothing of any broker.
//!
//! Two ideas only: a **log** (partitioned, replayable, with owned shards and offsets in acknowledgements) of which a
//! **keyed topic** is the kind that can be read back whole ([`keyed`]), and an **inbox**, a message addressed to one
//! member ([`inbox`]). Adapters implement [`Spine`] and what it hands out ([`Producer`], [`Reader`], [`Membership`]);
//! keyed reads and inboxes are written once over those; a [`Layer`] stands in front of a spine and changes some of it. The feature `conformance` has the suite that every adapter
//! passes.
//!
//! Deliberately absent: transactions (the protocol of DESIGN section 2 needs none), committed offsets as truth,
//! automatic topic creation, any timeout on an append.

pub mod append;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod inbox;
pub mod keyed;
pub mod layer;
pub mod ownership;
pub mod read;
pub mod record;
pub mod rights;
pub mod topics;

pub use append::{Gathered, Landed, Landing, Producer, ProducerOptions};
pub use error::{AppendError, ErrorClass, ReadError, SpineError};
pub use layer::Layer;
pub use ownership::{Change, MemberOptions, Membership, Released};
pub use read::{ReadHandle, ReadProgress, Reader, Start};
pub use record::{Headers, NewRecord, Record};
pub use rights::{Operation, Rights};
pub use topics::{Cleanup, CleanupFound, Ends, TopicSettings, TopicSpec, TopicState};

use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

/// A spine: the broker, as everything above the adapters sees it. Shared as `Arc<dyn Spine>`.
///
/// Every future fails with [`SpineError::Unavailable`] within a bounded time (10 s unless configured) when no broker
/// answers; nothing is retried for ever except appends and reads that were taken.
pub trait Spine: Send + Sync {
    /// The URL it was opened with, secrets removed; for logs and errors.
    fn url(&self) -> &str;

    /// A new producer.
    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>>;

    /// A new reader; `name` shows in the broker's logs where readers are clients of their own.
    fn reader(&self, name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>>;

    /// Joins a group.
    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>>;

    /// First and next offsets, fetched *after* this call (never from a cache); same order as asked.
    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>>;

    /// The state of the named topics, `None` for one that does not exist; same order as asked.
    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>>;

    /// What this process may do with the named topics; same order as asked. A spine that knows no users allows everything.
    fn rights<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Box::pin(std::future::ready(Ok(topics.iter().map(|_| Rights::all()).collect())))
    }

    /// What this process may do with the named groups, whether they exist or not; same order as asked. [`Operation::Read`] is joining
    /// one.
    fn group_rights<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Box::pin(std::future::ready(Ok(groups.iter().map(|_| Rights::all()).collect())))
    }

    /// All topics whose name starts with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<TopicName>, SpineError>>;

    /// Creates a topic; one that exists is [`SpineError::Invalid`]. When this (and likewise `alter` and `delete`)
    /// returns, every later call on this spine sees the change.
    fn create<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>>;

    /// Alters cleanup, record size and timestamps of an existing topic and adds partitions up to the spec's number.
    fn alter<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>>;

    /// Deletes a topic with its records.
    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), SpineError>>;

    /// Lets records below `before` go (they may stay readable for a while: whole segments).
    fn trim<'a>(&'a self, partition: &'a TopicPartition, before: Offset) -> BoxFuture<'a, Result<(), SpineError>>;
}
