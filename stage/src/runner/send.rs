//! Messages: stamped, proven, in order, one append per output partition and page.
//!
//! What is handed to the client at once is bounded: a page ends where the bound is met, and the rest of the group waits
//! until something has landed. A takeover may find far more unreleased than an owner at work ever has on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::Stamp;
use tidegate_protocol::headers;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::{Emission, Sealed, Ticket, content};
use tidegate_protocol::signature::Sign;
use tidegate_spine::{Landing, NewRecord, Producer};

use super::watch::Ended;
use crate::control::stamp_headers;
use crate::message::{Delivery, Message};

/// Stamps, proves and appends the messages of one ownership.
pub(crate) struct Sender {
    sender: SenderId,
    name: Bytes,
    epoch: u64,
    epoch_text: Bytes,
    signer: Arc<dyn Sign>,
    outputs: HashMap<TopicPartition, Output>,
}

/// An output partition in this epoch.
#[derive(Default)]
struct Output {
    /// It may get messages that are fenced.
    claimed: bool,
    /// Messages handed over.
    sequence: u64,
}

/// A message with its stamp; its proof follows when all of the group are known.
struct Stamped {
    to: TopicPartition,
    record: NewRecord,
    stamp: Stamp,
    proof: Proof,
}

/// Where a message's proof goes.
enum Proof {
    None,
    Header(usize),
    Ticket(usize),
}

impl Sender {
    pub(crate) fn new(sender: &SenderId, epoch: u64, signer: Arc<dyn Sign>, claimed: &[TopicPartition]) -> Self {
        Self {
            sender: sender.clone(),
            name: Bytes::copy_from_slice(sender.as_str().as_bytes()),
            epoch,
            epoch_text: Bytes::from(epoch.to_string()),
            signer,
            outputs: claimed.iter().map(|to| (to.clone(), Output { claimed: true, sequence: 0 })).collect(),
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
        let mut emission = Emission::default();
        let mut page = Vec::new();
        let mut handed = 0;
        while handed < room {
            let Some((fact, message)) = messages.pop_front() else { break };
            let bytes = message.bytes();
            handed += bytes;
            page.push((self.stamp(group, fact, message, &mut emission)?, bytes));
        }
        let sealed = emission.seal(&*self.signer, self.sender.as_str(), self.epoch, group);
        let mut batches: Vec<(TopicPartition, Vec<NewRecord>, usize)> = Vec::new();
        for (message, bytes) in page {
            let (to, record) = self.prove(message, sealed.as_ref())?;
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

    fn stamp(&mut self, group: Offset, fact: u64, message: Message, emission: &mut Emission) -> Result<Stamped, Ended> {
        let Message { ordinal, delivery, to, key, mut headers, value } = message;
        let output = match self.outputs.get_mut(&to) {
            Some(output) => output,
            None => self.outputs.entry(to.clone()).or_default(),
        };
        if matches!(delivery, Delivery::Fenced | Delivery::Ticketed) && !output.claimed {
            return Err(Ended::Unclaimed { to });
        }
        let index = fact * 256 + u64::from(ordinal);
        let stamp = Stamp { epoch: self.epoch, sequence: output.sequence, group, index };
        output.sequence += 1;
        stamp_headers(&mut headers, &self.name, &self.epoch_text, stamp);
        let mut push = |content| emission.push(&to, stamp.sequence, stamp.index, &content);
        let proof = match delivery {
            Delivery::Fenced | Delivery::Lane => Proof::Header(push(content(key.as_deref(), value.as_deref()))),
            Delivery::Ticketed => Proof::Ticket(push(Ticket::content(value.as_deref().unwrap_or_default()))),
            Delivery::Advisory => Proof::None,
        };
        Ok(Stamped { to, record: NewRecord { key, value, headers }, stamp, proof })
    }

    fn prove(&self, message: Stamped, sealed: Option<&Sealed>) -> Result<(TopicPartition, NewRecord), Ended> {
        let Stamped { to, mut record, stamp, proof } = message;
        match (proof, sealed) {
            (Proof::Header(leaf), Some(sealed)) => record.headers.push(headers::PROOF, sealed.proof(leaf).to_header()),
            (Proof::Ticket(leaf), Some(sealed)) => {
                let ticket = Ticket::new(sealed.proof(leaf), self.sender.clone(), to.clone(), stamp);
                record.value = Some(ticket.splice(record.value.as_deref().unwrap_or_default())?.into());
            }
            (Proof::None | Proof::Header(_) | Proof::Ticket(_), _) => {}
        }
        Ok((to, record))
    }
}
