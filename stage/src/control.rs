//! Control records and stamps, to and from broker records.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::{Kind, Mark, Stamp};
use tidegate_protocol::headers;
use tidegate_protocol::hex;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::Refused;
use tidegate_protocol::signature::{self, Capacity, Sign, Trust};
use tidegate_protocol::statements;
use tidegate_spine::{Headers, NewRecord, Record};

/// A control record's headers and value.
pub(crate) fn control_record(kind: Kind, sender: &SenderId, epoch: Option<u64>, value: Vec<u8>) -> NewRecord {
    let mut list = Headers::with_capacity(3);
    list.push(headers::KIND, Bytes::from_static(kind.word().as_bytes()));
    list.push(headers::SENDER, Bytes::copy_from_slice(sender.as_str().as_bytes()));
    if let Some(epoch) = epoch {
        list.push(headers::EPOCH, Bytes::from(epoch.to_string()));
    }
    NewRecord {
        key: Some(Bytes::copy_from_slice(sender.as_str().as_bytes())),
        value: Some(value.into()),
        headers: list,
    }
}

/// A fence record for the partition `to`.
pub(crate) fn fence_record(
    sender: &SenderId,
    epoch: u64,
    to: &TopicPartition,
    signer: &dyn Sign,
) -> Result<NewRecord, serde_json::Error> {
    mark_record(Kind::Fence, sender, epoch, None, to, signer)
}

/// A barrier record for the facts partition `to`; `claim` is the hash of the claim that made the epoch.
pub(crate) fn barrier_record(
    sender: &SenderId,
    epoch: u64,
    claim: String,
    to: &TopicPartition,
    signer: &dyn Sign,
) -> Result<NewRecord, serde_json::Error> {
    mark_record(Kind::Barrier, sender, epoch, Some(claim), to, signer)
}

fn mark_record(
    kind: Kind,
    sender: &SenderId,
    epoch: u64,
    claim: Option<String>,
    to: &TopicPartition,
    signer: &dyn Sign,
) -> Result<NewRecord, serde_json::Error> {
    let mark = Mark { v: 1, sender: sender.clone(), epoch, claim, key: None, signature: None };
    let value = signature::signed(signer, &statements::mark(kind, to), encode(&mark)?);
    Ok(control_record(kind, sender, Some(epoch), value))
}

/// Whether a fence or barrier met in the partition `at` is what its headers say, by a key that may say so.
///
/// # Errors
/// [`Refused`]: not to be acted on.
pub fn check_mark(trust: &dyn Trust, at: &TopicPartition, record: &Record) -> Result<(), Refused> {
    let Meta::Control { kind, sender, epoch } = meta(record) else { return Err(Refused::Altered) };
    let value = record.value.as_deref().unwrap_or_default();
    let capacity = Capacity::of_sender(sender);
    signature::check(trust, &statements::mark(kind, at), capacity, written_ms(record), value)?;
    match serde_json::from_slice::<Mark>(value) {
        Ok(mark) if mark.sender.as_str() == sender && mark.epoch == epoch => Ok(()),
        Ok(_) | Err(_) => Err(Refused::Altered),
    }
}

/// When a record was written, as the spine says (topics that stages read have the broker's time).
pub(crate) fn written_ms(record: &Record) -> u64 {
    u64::try_from(record.timestamp_ms).unwrap_or(0)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(value)
}

/// Adds sender, epoch and stamp to a message's own headers.
pub(crate) fn stamp_headers(list: &mut Headers, sender: &Bytes, epoch: &Bytes, stamp: Stamp) {
    list.push(headers::SENDER, sender.clone());
    list.push(headers::EPOCH, epoch.clone());
    list.push(headers::STAMP, Bytes::from(stamp.written()));
}

/// What the headers of a record on a topic of ours say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta<'a> {
    /// A control record with sender and epoch (a claim has none yet: 0).
    Control {
        /// Which.
        kind: Kind,
        /// Whose.
        sender: &'a str,
        /// The epoch it names; of an accepted loss 0.
        epoch: u64,
    },
    /// A stage's message.
    Stamped {
        /// Whose.
        sender: &'a str,
        /// Its stamp.
        stamp: Stamp,
    },
    /// Neither.
    Foreign,
}

/// Reads a record's headers; anything incomplete or malformed is [`Meta::Foreign`].
#[must_use]
pub fn meta(record: &Record) -> Meta<'_> {
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<u64>().ok());
    let Some(sender) = record.headers.text(headers::SENDER) else { return Meta::Foreign };
    let epoch = number(record.headers.text(headers::EPOCH));
    if let Some(word) = record.headers.text(headers::KIND) {
        return match (Kind::from_word(word), epoch) {
            (Some(kind @ (Kind::Claim | Kind::Loss)), _) => Meta::Control { kind, sender, epoch: 0 },
            (Some(kind), Some(epoch)) => Meta::Control { kind, sender, epoch },
            _ => Meta::Foreign,
        };
    }
    let stamp = epoch.and_then(|epoch| Stamp::read(epoch, record.headers.text(headers::STAMP)?));
    stamp.map_or(Meta::Foreign, |stamp| Meta::Stamped { sender, stamp })
}

/// SHA-256 of a record's value, hex: what `previous` names.
#[must_use]
pub fn value_hash(record_value: &[u8]) -> String {
    hex::encode(Sha256::digest(record_value))
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::address::TopicName;

    use super::*;
    use crate::cheap::Cheap;

    fn read_back(record: NewRecord) -> Record {
        Record { offset: 7, timestamp_ms: 0, key: record.key, value: record.value, headers: record.headers }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { epoch: 5, sequence: 6, group: 7, index: 513 };
        let mut list = Headers::new();
        stamp_headers(&mut list, &Bytes::from_static(b"kernel.raw/0"), &Bytes::from_static(b"5"), stamp);
        let record = read_back(NewRecord { key: None, value: None, headers: list });
        assert_eq!(meta(&record), Meta::Stamped { sender: "kernel.raw/0", stamp });
    }

    #[test]
    fn a_fence_counts_where_it_was_put_and_for_what_it_says_alone() {
        let sender = SenderId::new("kernel.raw/0").unwrap();
        let to = |partition| TopicName::new("t").unwrap().partition(partition);
        let key = Cheap::new("k");
        let genuine = || read_back(fence_record(&sender, 9, &to(0), &key).unwrap());
        let check = |at: &TopicPartition, record: &Record| check_mark(&key, at, record).map_err(Refused::word);
        assert_eq!(check(&to(0), &genuine()), Ok(()));
        assert_eq!(check(&to(1), &genuine()), Err("forged"), "written again elsewhere");
        let with = |name: &'static str, value: &'static str| {
            let mut record = genuine();
            let kept = record.headers.iter().filter(|(n, _)| *n != name);
            record.headers =
                kept.map(|(n, v)| (n.to_owned(), v.clone())).chain([(name.into(), value.into())]).collect();
            record
        };
        assert_eq!(check(&to(0), &with(headers::EPOCH, "10")), Err("altered"));
        assert_eq!(check(&to(0), &with(headers::SENDER, "kernel.raw/1")), Err("altered"));
        assert_eq!(check(&to(0), &with(headers::KIND, "barrier")), Err("forged"));
        let mut unsigned = genuine();
        unsigned.value = Some(Bytes::from_static(br#"{"v":1,"sender":"kernel.raw/0","epoch":9}"#));
        assert_eq!(check(&to(0), &unsigned), Err("unsigned"));
        assert_eq!(check_mark(&Cheap::new("other"), &to(0), &genuine()).map_err(Refused::word), Err("unknown_key"));
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_rubbish_is_foreign() {
        let sender = SenderId::new("kernel.raw/0").unwrap();
        let to = TopicName::new("t").unwrap().partition(0);
        let record = read_back(fence_record(&sender, 9, &to, &Cheap::new("k")).unwrap());
        assert_eq!(meta(&record), Meta::Control { kind: Kind::Fence, sender: "kernel.raw/0", epoch: 9 });
        for (name, value) in [("tg-kind", "fence"), ("tg-sender", "x"), ("tg-stamp", "1 2"), ("tg-kind", "nonsense")] {
            let record = Record {
                offset: 0,
                timestamp_ms: 0,
                key: None,
                value: None,
                headers: Headers::from_iter([(name, Bytes::from(value))]),
            };
            assert_eq!(meta(&record), Meta::Foreign, "{name}={value}");
        }
    }
}
