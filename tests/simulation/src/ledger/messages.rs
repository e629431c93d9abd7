//! Reading an output partition as `models/takeover.py` does: which messages are believed.

use std::collections::BTreeMap;

use tidegate_protocol::address::Offset;
use tidegate_protocol::headers;
use tidegate_spine::Record;

use crate::spine::Stored;

/// A message that a reader acts on.
#[derive(Debug)]
pub struct Believed<'a> {
    /// Who sent it.
    pub sender: &'a str,
    /// Of which epoch.
    pub epoch: u64,
    /// Group of the fact it follows from.
    pub group: Offset,
    /// Number of that fact in its group.
    pub fact: u64,
    /// Number of its kind.
    pub ordinal: u64,
    /// Number of the landing over all logs.
    pub number: u64,
    /// The message.
    pub record: &'a Record,
}

#[derive(Default)]
struct Sender {
    fence: u64,
    last: Option<(Offset, u64)>,
    following: BTreeMap<u64, Option<u64>>,
}

/// Epoch, sequence, group, index of a stamped record.
#[must_use]
pub fn stamp(record: &Record) -> Option<(&str, u64, u64, Offset, u64)> {
    let sender = record.headers.text(headers::SENDER)?;
    let epoch = record.headers.text(headers::EPOCH)?.parse().ok()?;
    let mut parts = record.headers.text(headers::STAMP)?.split(' ').map(str::parse);
    let mut next = || parts.next()?.ok();
    Some((sender, epoch, next()?, next()?, next()?))
}

/// All messages a reader of this partition believes (`believed` of the model, for each sender).
#[must_use]
pub fn believed(log: &[Stored]) -> Vec<Believed<'_>> {
    let mut senders: BTreeMap<&str, Sender> = BTreeMap::new();
    let mut kept = Vec::new();
    for stored in log.iter().filter(|stored| !stored.is_forged()) {
        let record = &stored.record;
        let Some(name) = record.headers.text(headers::SENDER) else { continue };
        let known = senders.entry(name).or_default();
        if record.headers.text(headers::KIND) == Some("fence") {
            let epoch = record.headers.text(headers::EPOCH).and_then(|e| e.parse().ok()).unwrap_or(0);
            known.fence = known.fence.max(epoch);
            continue;
        }
        let Some((sender, epoch, sequence, group, index)) = stamp(record) else { continue };
        let next = known.following.entry(epoch).or_insert(Some(0));
        if *next != Some(sequence) {
            *next = None;
            continue;
        }
        *next = Some(sequence + 1);
        if epoch >= known.fence && known.last.is_none_or(|last| (group, index) > last) {
            known.last = Some((group, index));
            kept.push(Believed {
                sender,
                epoch,
                group,
                fact: index / 256,
                ordinal: index % 256,
                number: stored.number,
                record,
            });
        }
    }
    kept
}
