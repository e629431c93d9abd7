//! Messages: stamped, in order, one append per output partition and page.
//!
//! What is handed to the client at once is bounded: a page ends where the bound is met, and the rest of the group waits
//! until something has landed. A takeover may find far more unreleased than an owner at work ever has on its way.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::SenderId;
use tidegate_spine::{Landing, NewRecord, Producer};

use super::watch::Ended;
use crate::control::stamp_headers;
use crate::message::{Delivery, Message};

/// Stamps and appends the messages of one ownership.
pub(crate) struct Sender {
    name: Bytes,
    epoch: u64,
    epoch_text: Bytes,
    claimed: HashSet<TopicPartition>,
    /// Messages handed over per output partition in this epoch.
    sequences: HashMap<TopicPartition, u64>,
}

impl Sender {
    pub(crate) fn new(sender: &SenderId, epoch: u64, claimed: &[TopicPartition]) -> Self {
        Self {
            name: Bytes::copy_from_slice(sender.as_str().as_bytes()),
            epoch,
            epoch_text: Bytes::from(epoch.to_string()),
            claimed: claimed.iter().cloned().collect(),
            sequences: HashMap::new(),
        }
    }

    /// Hands the first messages of `group` over, until `room` bytes are on their way or none is left; returns what is
    /// on its way, with the size it was told to have.
    pub(crate) fn send(
        &mut self,
        producer: &mut dyn Producer,
        group: Offset,
        messages: &mut VecDeque<(u64, Message)>,
        room: usize,
    ) -> Result<Vec<(Landing, usize)>, Ended> {
        let mut batches: Vec<(TopicPartition, Vec<NewRecord>, usize)> = Vec::new();
        let mut handed = 0;
        while handed < room {
            let Some((fact, message)) = messages.pop_front() else { break };
            let bytes = message.bytes();
            handed += bytes;
            let Message { ordinal, delivery, to, key, mut headers, value } = message;
            if delivery == Delivery::Fenced && !self.claimed.contains(&to) {
                return Err(Ended::Unclaimed { to });
            }
            let sequence = match self.sequences.get_mut(&to) {
                Some(next) => next,
                None => self.sequences.entry(to.clone()).or_insert(0),
            };
            let stamp = Stamp { epoch: self.epoch, sequence: *sequence, group, index: fact * 256 + u64::from(ordinal) };
            *sequence += 1;
            stamp_headers(&mut headers, &self.name, &self.epoch_text, stamp);
            let record = NewRecord { key, value, headers };
            match batches.iter_mut().find(|(partition, ..)| *partition == to) {
                Some((_, batch, size)) => {
                    batch.push(record);
                    *size += bytes;
                }
                None => batches.push((to, vec![record], bytes)),
            }
        }
        Ok(batches.into_iter().map(|(to, batch, bytes)| (producer.append(&to, batch), bytes)).collect())
    }
}
