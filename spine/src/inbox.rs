//! Messages addressed to one member of a group.
//!
//! A topic's partitions are **lanes**; a member reads the lane its name hashes to and skips what is addressed to
//! others (counted by [`Inbox::skipped`]; many skips mean too few lanes). A lane has short retention and is read from
//! its end: what was sent before the member fixed its position is not for it.

use std::task::{Context, Poll};

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

use crate::{ReadError, ReadHandle, Reader, Record, Spine, SpineError, Start};

/// The header that names the member a message is for.
pub const TO: &str = "tg-to";

/// The lane of `member` among `lanes` (at least 1). Fixed for ever: both sides compute it.
#[must_use]
pub fn lane_of(member: &str, lanes: u32) -> u32 {
    tidegate_protocol::topics::partition_of(member.as_bytes(), lanes)
}

/// One member's end of its lane.
pub struct Inbox {
    member: Bytes,
    lane: TopicPartition,
    position: Offset,
    reader: Box<dyn Reader>,
    handle: ReadHandle,
    batch: Vec<Record>,
    skipped: u64,
}

impl Inbox {
    /// Opens the lane of `member` at its present end; every message appended after this returns is received.
    ///
    /// # Errors
    /// [`SpineError`], e.g. the topic does not exist.
    pub async fn open(spine: &dyn Spine, topic: &TopicName, member: &str) -> Result<Self, SpineError> {
        let state = spine.describe(std::slice::from_ref(topic)).await?.into_iter().next().flatten();
        let lanes = state.ok_or_else(|| SpineError::UnknownTopic { topic: topic.clone() })?.partitions;
        let lane = topic.partition(lane_of(member, lanes));
        let position = spine.ends(std::slice::from_ref(&lane)).await?.first().map_or(0, |e| e.end);
        let mut reader = spine.reader(member).await?;
        let handle = reader.open(&lane, Start::At(position));
        let member = Bytes::copy_from_slice(member.as_bytes());
        Ok(Self { member, lane, position, reader, handle, batch: Vec::new(), skipped: 0 })
    }

    /// The lane's partition and the offset at which this inbox was opened.
    #[must_use]
    pub fn opened_at(&self) -> (&TopicPartition, Offset) {
        (&self.lane, self.position)
    }

    /// Messages for other members met so far.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Pushes messages for this member to `into`; `Ready` when there was at least one.
    ///
    /// # Errors
    /// [`ReadError`]; `Truncated` when the member was away for longer than the lane's retention: open a new inbox
    /// and say Hello again.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Record>) -> Poll<Result<(), ReadError>> {
        let before = into.len();
        while into.len() == before {
            match self.reader.poll_read(self.handle, 256, cx, &mut self.batch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(_)) => {}
            }
            for record in self.batch.drain(..) {
                if record.headers.get(TO) == Some(&self.member) {
                    into.push(record);
                } else {
                    self.skipped += 1;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
