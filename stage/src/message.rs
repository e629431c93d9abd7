//! What follows from a fact.

use bytes::Bytes;
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::Headers;

/// How a message is treated at a change of owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// To a sealed topic whose readers act: the claim names the partition, it is fenced, readers check stamps.
    Fenced,
    /// Fenced, and its value, a JSON object, goes further than this record: the proof is put into it as a ticket.
    Ticketed,
    /// To a topic for people and views (`denied`, `dead`): stamped, emitted again after a takeover, never fenced.
    Advisory,
    /// To a worker's lane: not emitted again in replay; the handshake of DESIGN section 5 covers a loss.
    Lane,
}

/// A message; the runner adds stamp headers and appends it once its fact's group has landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Fixed number of this kind of message among all kinds its fact's kind emits. Rises within one `emit` per
    /// output partition; never changes once released.
    pub ordinal: u8,
    /// How it is treated at a change of owner.
    pub delivery: Delivery,
    /// Where to.
    pub to: TopicPartition,
    /// Record key.
    pub key: Option<Bytes>,
    /// Headers of its own.
    pub headers: Headers,
    /// Record value.
    pub value: Option<Bytes>,
}

/// Headers that the runner adds to a stage's own: room to be kept for them.
pub const ADDED_HEADERS: usize = 4;

impl Message {
    /// Size for bounds: key, value and headers, and about what the runner's stamp and proof add. Never 0.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const STAMP: usize = 128;
        const PROOF: usize = 640;
        let proof = if self.delivery == Delivery::Advisory { 0 } else { PROOF };
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        STAMP + proof + length(&self.key) + length(&self.value) + self.headers.bytes()
    }
}

/// Collects what `emit` says.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(crate) messages: Vec<Message>,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { messages: Vec::new() }
    }

    /// Adds a message.
    pub fn send(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// What was said, in order; for tests of a stage without its runner.
    #[must_use]
    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}
