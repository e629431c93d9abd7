//! A file per fact, or pair of facts: when it is decided, what it changes, what it emits.
//!
//! | fact | file |
//! |---|---|
//! | `WorkRefused`, `JobDuplicate` (and waiting, which is no fact) | [`arrived`] |
//! | `WorkerWelcomed` | [`welcomed`] |
//! | `WorkerOutrun` | [`outrun`] |
//! | `LeaseGranted` | [`granted`] |
//! | `LeaseExpired` | [`expired`] |
//! | `JobFinished` | [`ended`] |
//! | `ResultRefused`, `ResultRepeated` | [`refused`] |
//! | `JobMoved` | [`moved`] |
//! | `JobReturned` | [`returned`] |
//! | `JobRetried` | [`retried`] |
//! | `JobDelayed`, `JobDue` | [`delayed`] |
//! | `CancelAsked`, `WithdrawalKept`, `WithdrawalMoved` | [`cancelled`], [`overdue`] |
//! | `WorkerForgotten` | [`forgotten`] |
//! | `SliceRequested`, `SliceGranted`, `SliceReturned` | [`slices`] |
//! | `WorkerCordoned`, `WorkerUncordoned`, `PoolCommandRefused` | [`cordoned`] |
//!
//! Ordinals of messages (fixed for ever): 0 for the only one a fact emits; of `JobFinished`: `finished` 0, `dead` 1,
//! `Settled` 2, the kernel's outcome 3; of `JobReturned`: the outcome 0, the job 1; of `WorkerWelcomed`: `Welcome` 0, `Drain` 1.

pub(crate) mod arrived;
pub(crate) mod cancelled;
pub(crate) mod cordoned;
pub(crate) mod delayed;
pub(crate) mod ended;
pub(crate) mod expired;
pub(crate) mod forgotten;
pub(crate) mod granted;
pub(crate) mod moved;
pub(crate) mod outrun;
pub(crate) mod overdue;
pub(crate) mod refused;
pub(crate) mod retried;
pub(crate) mod returned;
pub(crate) mod slices;
pub(crate) mod welcomed;

use bytes::Bytes;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::headers;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::Headers;
use tidegate_stage::{ADDED_HEADERS, Delivery, Message, Outbox};

use crate::Scheduler;

/// About what an order takes beside the job it carries, bytes.
const ORDER: usize = 256;

impl Scheduler {
    /// Sends an order to a worker's lane.
    fn order(
        &self,
        ordinal: u8,
        lane: u32,
        to: &WorkerId,
        about: Option<&SourcePosition>,
        order: &Order,
        out: &mut Outbox,
    ) {
        // A record of plain strings, numbers and raw JSON can always be written.
        let carried = match order {
            Order::Assignment { work, .. } => work.get().len(),
            Order::Welcome { .. }
            | Order::Cancel { .. }
            | Order::Drain { .. }
            | Order::Outrun { .. }
            | Order::Settled { .. } => 0,
        };
        let mut value = Vec::with_capacity(ORDER + carried);
        if serde_json::to_writer(&mut value, order).is_err() {
            return;
        }
        let to = Bytes::copy_from_slice(to.as_str().as_bytes());
        let mut headers = Headers::with_capacity(2 + ADDED_HEADERS);
        headers.push(headers::TO, to.clone());
        if let Some(source) = about {
            headers.push(headers::SOURCE, source.text());
        }
        out.send(Message {
            ordinal,
            delivery: Delivery::Lane,
            to: self.pool.topics.work.partition(lane),
            key: Some(to),
            headers,
            value: Some(value.into()),
        });
    }

    /// Sends something to `dead`, with Kafka Connect's headers.
    fn dead(&self, ordinal: u8, dead: Dead<'_>, out: &mut Outbox) {
        let Dead { key, topic, partition, offset, reason, detail, source, hash, value } = dead;
        let mut headers = Headers::with_capacity(10);
        headers.push(headers::DEAD_TOPIC, topic.to_owned());
        headers.push(headers::DEAD_PARTITION, partition.to_string());
        headers.push(headers::DEAD_OFFSET, offset.to_string());
        headers.push(headers::DEAD_STAGE, "scheduler");
        headers.push(headers::DEAD_CLASS, reason.word());
        headers.push(headers::DEAD_MESSAGE, detail.to_owned());
        if let Some(source) = source {
            headers.push(headers::SOURCE, source.to_string());
        }
        if let Some(hash) = hash {
            headers.push(headers::DEAD_HASH, hash);
        }
        out.send(Message {
            ordinal,
            delivery: Delivery::Advisory,
            to: self.pool.topics.dead.partition(partition_of(key.as_bytes(), self.pool.layout.dead_partitions)),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            headers,
            value,
        });
    }
}

struct Dead<'a> {
    key: &'a str,
    /// Where it stood: the broker's topic, or the name of the source for a job (its raw record).
    topic: &'a str,
    partition: u32,
    offset: u64,
    reason: DeadReason,
    detail: &'a str,
    source: Option<&'a SourcePosition>,
    /// Instead of the value, when that is too large.
    hash: Option<String>,
    value: Option<Bytes>,
}
