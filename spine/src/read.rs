//! Reading logs.

use std::task::{Context, Poll};

use tidegate_protocol::address::{Offset, TopicPartition};

use crate::{ReadError, Record};

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first record the log still holds.
    Earliest,
    /// The first record at or above this offset. Below the log's start or above its end is
    /// [`ReadError::Truncated`], never a silent jump.
    At(Offset),
}

/// Names an opened partition within its reader. Never used again after `close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadHandle(pub u32);

/// What one `poll_read` brought besides records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadProgress {
    /// Everything below this offset has been delivered by this handle or does not exist for readers (compacted,
    /// transaction markers, aborted). The next record has this offset or a higher one.
    pub position: Offset,
}

/// Reads any number of partitions, each on its own: one that is not polled does not hold up the others.
///
/// * Records of a partition arrive in offset order, each once per `open`; only committed ones
///   (`isolation.level=read_committed`).
/// * Errors of transport are retried inside and logged; `poll_read` is then simply `Pending`. An `Err` is about that
///   partition (or `Fatal`: about the reader) and stays until the handle is closed.
/// * A partition that nobody polls, or that is paused, buffers a bounded number of bytes.
pub trait Reader: Send {
    /// Opens a partition. Errors, also an unknown topic, are reported by `poll_read`.
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle;

    /// Forgets a partition; what it had buffered is dropped.
    fn close(&mut self, handle: ReadHandle);

    /// Pushes up to `max` records that are already here to `into`. `Ready(Ok)` when at least one was pushed or the
    /// position moved; otherwise `Pending`, and the task is woken when something arrives for this handle.
    fn poll_read(
        &mut self,
        handle: ReadHandle,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>>;

    /// Stops delivering and, where it can, fetching; `poll_read` is `Pending` until resumed. Nothing is lost.
    fn pause(&mut self, handle: ReadHandle);

    /// Goes on after the last record delivered. Wakes the task.
    fn resume(&mut self, handle: ReadHandle);
}
