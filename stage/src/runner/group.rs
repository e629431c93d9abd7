//! A group being gathered, on its way, and its messages on their way.

use std::collections::VecDeque;

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{FactRecord, LostRange, Place};
use tidegate_protocol::merkle::{self, Hash};
use tidegate_protocol::signature::Sign;
use tidegate_protocol::statements;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Landing;

use crate::message::Message;
use crate::stage::InputRef;

/// Facts and messages that the next group will hold.
#[derive(Debug, Default)]
pub(crate) struct Building {
    /// Encoded fact records, separated by commas.
    pub(crate) bytes: Vec<u8>,
    pub(crate) facts: u64,
    /// Each fact record's leaf.
    pub(crate) leaves: Vec<Hash>,
    pub(crate) settles: Vec<InputRef>,
    /// (the fact's number in the group, message).
    pub(crate) messages: Vec<(u64, Message)>,
    /// Timestamps of the job records decided here, for latencies.
    pub(crate) submitted_ms: Vec<i64>,
    /// What is counted once they have landed: metric, label, value.
    pub(crate) tally: Vec<(&'static str, &'static str, &'static str)>,
}

impl Building {
    /// Encodes a fact and returns its number in the group.
    pub(crate) fn push<F: serde::Serialize>(
        &mut self,
        fact: &F,
        at: Timestamp,
        settles: Option<InputRef>,
    ) -> Result<u64, serde_json::Error> {
        if self.facts > 0 {
            self.bytes.push(b',');
        }
        let record = FactRecord { at, settles: settles.map(|s| (s.input, s.offset)), fact };
        let from = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, &record)?;
        self.leaves.push(merkle::leaf(&[self.bytes.get(from..).unwrap_or_default()]));
        self.settles.extend(settles);
        self.facts += 1;
        Ok(self.facts - 1)
    }
}

/// The parts of a group's record besides its facts.
#[derive(serde::Serialize)]
pub(crate) struct Header<'a> {
    pub(crate) v: u32,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) released: Option<Offset>,
    pub(crate) previous: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) inputs: &'a [tidegate_protocol::address::TopicPartition],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) places: &'a [Place],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) lost: &'a [LostRange],
}

impl Header<'_> {
    /// The whole record's value: the header's object with `facts` put in behind, signed over its root.
    pub(crate) fn with_facts(
        &self,
        facts: &[u8],
        leaves: Vec<Hash>,
        sender: &str,
        signer: &dyn Sign,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let header = serde_json::to_vec(self)?;
        Ok(statements::group_text(header, facts, leaves, |root| {
            (signer.key().as_str(), signer.sign(&statements::group(sender, self.epoch, root)))
        }))
    }
}

impl Sending {
    pub(crate) fn new(
        group: Offset,
        messages: Vec<(u64, Message)>,
        settles: Vec<InputRef>,
        submitted_ms: Vec<i64>,
    ) -> Self {
        let speaks = !messages.is_empty();
        Self { group, unsent: messages.into(), landings: VecDeque::new(), speaks, settles, submitted_ms }
    }
}

/// A group on its way.
pub(crate) struct Flying {
    pub(crate) landing: Landing,
    pub(crate) settles: Vec<InputRef>,
    pub(crate) messages: Vec<(u64, Message)>,
    pub(crate) submitted_ms: Vec<i64>,
    pub(crate) tally: Vec<(&'static str, &'static str, &'static str)>,
    /// Hash of its value: the chain's head once it has landed.
    pub(crate) hash: String,
    pub(crate) sequence: u64,
    /// The snapshot taken as it was sealed waits for its offset.
    pub(crate) snapshot: bool,
}

/// Messages of a landed group: on their way, and those the client has no room for yet.
pub(crate) struct Sending {
    pub(crate) group: Offset,
    /// (the fact's number in the group, message), in order.
    pub(crate) unsent: VecDeque<(u64, Message)>,
    /// In order, with their sizes.
    pub(crate) landings: VecDeque<(Landing, usize)>,
    /// Whether it had any.
    pub(crate) speaks: bool,
    pub(crate) settles: Vec<InputRef>,
    pub(crate) submitted_ms: Vec<i64>,
}
