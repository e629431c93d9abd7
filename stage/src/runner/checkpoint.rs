//! Checkpoints of the own log, where the spec names a place for them.
//!
//! A checkpoint says that a group counts, so it says no more than a snapshot does: the group had landed before an end of
//! the log was asked for, and the log, read back up to that end, shows no barrier of a newer owner. Nothing that comes
//! later makes such a group void.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use tidegate_protocol::address::Offset;
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_spine::{Landing, NewRecord};

use super::live::Live;
use super::takeover::micros;
use super::watch::{Ended, ShardEvent};
use crate::stage::Stage;

/// The last group of this owner that has landed.
struct Head {
    offset: Offset,
    sequence: u64,
    hash: String,
}

/// Checkpoints taken, on their way and said.
#[derive(Default)]
pub(crate) struct Checkpoints {
    /// The head before the end was asked for.
    taken: Option<Head>,
    on_its_way: Option<(Landing, Bytes)>,
    /// The group of the last one written, and when.
    said: Option<(Offset, u64)>,
}

impl<S: Stage> Live<'_, S> {
    fn landed_head(&self) -> Option<Head> {
        let sequence = self.log.next?.checked_sub(1)?;
        Some(Head { offset: self.log.head_offset?, sequence, hash: self.log.head.clone() })
    }

    /// Whether the head is one that no checkpoint names.
    pub(crate) fn has_unsaid_head(&self) -> bool {
        let landed = self.log.next.is_some_and(|next| next > 0);
        landed
            && self.run.spec.checkpoints.is_some()
            && self.checkpoints.on_its_way.is_none()
            && self.log.head_offset > self.checkpoints.said.map(|(offset, _)| offset)
    }

    /// Whether a stop waits for a checkpoint.
    pub(crate) fn owes_checkpoint(&self) -> bool {
        self.checkpoints.on_its_way.is_some() || self.has_unsaid_head()
    }

    /// Before the log's end is asked for.
    pub(crate) fn take_checkpoint(&mut self) {
        self.checkpoints.taken = if self.has_unsaid_head() { self.landed_head() } else { None };
    }

    /// Once the log was read back up to that end.
    pub(crate) fn write_checkpoint(&mut self) -> Result<(), Ended> {
        let (Some(head), Some(to)) = (self.checkpoints.taken.take(), &self.run.spec.checkpoints) else { return Ok(()) };
        let mono = self.run.clock.mono_us();
        let every = micros(self.run.spec.pace.checkpoint_every);
        let due = self.checkpoints.said.is_none_or(|(_, when)| mono.saturating_sub(when) >= every);
        if !due && self.stopping.is_none() {
            return Ok(());
        }
        let sender = &self.run.spec.sender;
        let checkpoint = Checkpoint {
            v: 1,
            sender: sender.clone(),
            facts: self.run.spec.facts.clone(),
            epoch: self.epoch,
            sequence: head.sequence,
            offset: head.offset,
            head: head.hash,
            wall_ms: self.run.clock.wall_us() / 1_000,
            key: None,
            signature: None,
        };
        let text = Bytes::from(checkpoint.to_signed(&*self.run.signer)?);
        let record = NewRecord {
            key: Some(Bytes::copy_from_slice(sender.as_str().as_bytes())),
            value: Some(text.clone()),
            ..NewRecord::default()
        };
        let landing = self.producer.append(to, vec![record]);
        self.checkpoints.on_its_way = Some((landing, text));
        self.checkpoints.said = Some((head.offset, mono));
        Ok(())
    }

    /// True when one has landed.
    pub(crate) fn poll_checkpoint(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let Some((landing, _)) = &mut self.checkpoints.on_its_way else { return Ok(false) };
        let Poll::Ready(landed) = landing.poll_unpin(cx) else { return Ok(false) };
        landed.map_err(Ended::Append)?;
        if let Some((_, text)) = self.checkpoints.on_its_way.take() {
            self.run.watch.event(&self.run.spec.sender, &ShardEvent::Checkpoint { text });
        }
        Ok(true)
    }
}
