//! A client without anything around it.

use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicPartition};

/// A bare client of a spine.
pub(crate) trait Bare: Send + Sync {
    /// Reads some partitions of one topic from the start.
    fn reader<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, anyhow::Result<Box<dyn BareReader>>>;
    /// An idempotent sender.
    fn sender(&self) -> BoxFuture<'_, anyhow::Result<Box<dyn BareSender>>>;
}

/// A record as far as the floor needs it.
pub(crate) struct BareRecord {
    pub(crate) partition: u32,
    pub(crate) offset: Offset,
    pub(crate) source: Option<String>,
    pub(crate) value: Vec<u8>,
}

/// Reads.
pub(crate) trait BareReader: Send {
    /// Waits for at least one record, takes what is here.
    fn next<'a>(&'a mut self, into: &'a mut Vec<BareRecord>) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// A record to append: value and headers.
pub(crate) struct BareNew {
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Appends in order per partition.
pub(crate) trait BareSender: Send {
    /// Hands over at once; the future completes when all are acknowledged.
    fn send(&mut self, to: &TopicPartition, records: Vec<BareNew>) -> BoxFuture<'static, anyhow::Result<()>>;
}
