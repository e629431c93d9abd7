//! Control records and stamps, to and from broker records.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidegate_protocol::control::{Kind, Mark, Stamp};
use tidegate_protocol::headers;
use tidegate_protocol::ids::SenderId;
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

/// A fence or barrier record.
pub(crate) fn mark_record(kind: Kind, sender: &SenderId, epoch: u64) -> Result<NewRecord, serde_json::Error> {
    let mark = Mark { v: 1, sender: sender.clone(), epoch, key: None, signature: None };
    Ok(control_record(kind, sender, Some(epoch), encode(&mark)?))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(value)
}

/// Adds sender, epoch and stamp to a message's own headers.
pub(crate) fn stamp_headers(list: &mut Headers, sender: &Bytes, epoch: &Bytes, stamp: Stamp) {
    list.push(headers::SENDER, sender.clone());
    list.push(headers::EPOCH, epoch.clone());
    list.push(headers::STAMP, Bytes::from(format!("{} {} {}", stamp.sequence, stamp.group, stamp.index)));
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
        /// The epoch it names.
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
            (Some(Kind::Claim), _) => Meta::Control { kind: Kind::Claim, sender, epoch: 0 },
            (Some(kind), Some(epoch)) => Meta::Control { kind, sender, epoch },
            _ => Meta::Foreign,
        };
    }
    let mut parts = record.headers.text(headers::STAMP).unwrap_or_default().split(' ');
    let (sequence, group, index) = (number(parts.next()), number(parts.next()), number(parts.next()));
    match (epoch, sequence, group, index) {
        (Some(epoch), Some(sequence), Some(group), Some(index)) => {
            Meta::Stamped { sender, stamp: Stamp { epoch, sequence, group, index } }
        }
        _ => Meta::Foreign,
    }
}

/// SHA-256 of a record's value, hex: what `previous` names.
#[must_use]
pub fn value_hash(record_value: &[u8]) -> String {
    let digest = Sha256::digest(record_value);
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_mark_is_read_as_it_was_written_and_rubbish_is_foreign() {
        let sender = SenderId::new("kernel.raw/0").unwrap();
        let record = read_back(mark_record(Kind::Fence, &sender, 9).unwrap());
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
