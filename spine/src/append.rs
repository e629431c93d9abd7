//! Appending to logs.

use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicPartition};

use crate::{AppendError, NewRecord};

/// Where an append landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landed {
    /// Offset of its first record.
    pub first: Offset,
    /// Offset of its last record; `first` for a single record. Other producers' records may lie between.
    pub last: Offset,
}

/// The outcome of one [`Producer::append`], once it is known. Dropping it does not take the append back.
pub type Landing = BoxFuture<'static, Result<Landed, AppendError>>;

/// What a producer is for.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Shown in the broker's logs; by convention `role-shard`.
    pub name: String,
    /// Bytes handed over and not yet known to have landed; an append that would exceed it is refused with
    /// [`AppendError::Full`]. The caller keeps below it, that is its back-pressure.
    pub max_in_flight_bytes: usize,
    /// How what has gathered for a partition is handed to the broker's client.
    pub gathered: Gathered,
}

/// How records that have gathered for a partition go to the broker. Order, durability and outcomes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gathered {
    /// Sent from the first record on, while the rest is still being handed over: for a load, whose next records never wait.
    #[default]
    Flows,
    /// Handed over as a whole before any of it is sent, so that it is one request: for a stage, whose next step waits for the whole
    /// anyway. Spines without requests need not tell the two apart.
    Whole,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self { name: "tidegate".into(), max_in_flight_bytes: 64 << 20, gathered: Gathered::Flows }
    }
}

/// One idempotent sender with a queue of its own. A shard's owner has one and drops it with the ownership.
///
/// * **Order.** Records of one partition land in the order of the calls, and within a call in the order of the
///   list. Nothing is said about order across partitions.
/// * **Durability.** `Ok` means every record of the call is durable as the spine is configured (Kafka `acks=all`;
///   embedded: written, with `durability=fsync` synced) and readable; `Landed` gives the real offsets.
/// * **No duplicates** from the client's own retries while the producer lives.
/// * **No timeout.** An append whose outcome is unknown stays pending for as long as the broker is away; the adapter
///   retries it. An `Err` is final. After an `Err` later appends may still land, so a record that is missing before
///   one that landed is possible: readers detect that gap by sequence numbers (DESIGN section 2).
/// * **Dropping** the producer abandons what has not landed; it may land later or never. Drop does not block for it.
///   Landings still held then end as well, with `Ok` or [`AppendError::Fatal`].
/// * `append` itself never waits for the spine (for a thread of its client it may, some tens of microseconds); the returned future completes without being polled first.
pub trait Producer: Send {
    /// Hands `records` (at least one) over to `to`.
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing;
}
