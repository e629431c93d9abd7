//! Records as they stand on `approved` once their runner has sent and signed them.

use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::{Emission, Ticket};
use tidegate_stage::{Delivery, Message};

use crate::people::Ring;

/// The keys of stages.
pub(crate) const KEYS: &str = "node: stage/kernel\nother: stage/scheduler";
/// The kernel shard of the tests.
pub(crate) const SENDER: &str = "kernel.jobs.raw/0";
/// The stamp of what it sends.
pub(crate) const STAMP: Stamp = Stamp { epoch: 5, sequence: 3, group: 12, index: 7 * 256 };

/// The record on `approved` as it is once the runner has sent it, signed by the key `key` for the shard `sender`.
pub(crate) fn sent(message: &Message, key: &str, sender: &str) -> String {
    assert_eq!(message.delivery, Delivery::Ticketed);
    signed(message.value.as_ref().unwrap(), &message.to, key, sender)
}

/// A text as if it had been sent to that partition.
pub(crate) fn signed(text: &[u8], to: &tidegate_protocol::address::TopicPartition, key: &str, sender: &str) -> String {
    let mut emission = Emission::default();
    emission.push(to, STAMP.sequence, STAMP.index, &Ticket::content(text));
    let signer = Ring::read(KEYS).key(key);
    let sealed = emission.seal(&signer, sender, STAMP.epoch, STAMP.group).unwrap();
    let ticket = Ticket::new(sealed.proof(0), SenderId::new(sender).unwrap(), to.clone(), STAMP);
    String::from_utf8(ticket.splice(text).unwrap()).unwrap()
}
