//! Jobs that outlive the release of their record: a fact carries the record itself, so that a later verdict needs
//! nothing but the facts (DESIGN section 2).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::address::Offset;
use crate::command::Given;
use crate::hex;
use crate::time::Timestamp;

/// JSON as it was written, byte for byte.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactJson(Box<RawValue>);

impl ExactJson {
    /// `text`, when it is one JSON value; white space around it is left out.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn new(text: &str) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.to_owned()).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for ExactJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for ExactJson {}

impl fmt::Debug for ExactJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Bytes in a JSON record: as text where they are UTF-8, else in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBytes {
    /// UTF-8.
    Text(String),
    /// Anything else, in hex.
    Hex(HexBytes),
}

/// Bytes written as hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexBytes(Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        hex::decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

impl KeptBytes {
    /// Keeps `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(HexBytes(bytes.to_vec())),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn get(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Hex(HexBytes(bytes)) => bytes,
        }
    }
}

/// A source record as a fact keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// Its value, always one JSON value; white space around that is left out.
    pub value: ExactJson,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeptBytes>,
    /// Its headers in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, KeptBytes)>,
}

impl KeptRecord {
    /// Bytes of value, key and headers: what bounds count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.get().len()).sum::<usize>();
        self.value.get().len() + self.key.as_ref().map_or(0, |key| key.get().len()) + headers
    }
}

/// How a job stood before a later verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptAs {
    /// For people to approve.
    Held,
    /// For a slice of a limit, or for a throttle's delay.
    Deferred,
    /// Not at all: it was released to its pool, and its ticket expired before it could run.
    Released,
    /// Not at all: it ended in `dead`, and an operator had it judged again.
    Dead,
}

impl KeptAs {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Deferred => "deferred",
            Self::Released => "released",
            Self::Dead => "dead",
        }
    }
}

/// Why a job is deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeferredWhy {
    /// A limit has no slice here yet.
    Slice,
    /// Policy throttles it.
    Throttle,
    /// Its ticket expired, and there was no policy to judge it again by.
    Ticket,
}

impl DeferredWhy {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Slice => "slice",
            Self::Throttle => "throttle",
            Self::Ticket => "ticket",
        }
    }
}

/// What a later fact of a job stands in place of (I4). Its messages come from the kept record; of a job that was released,
/// from the record its scheduler gave back; of one that was dead, from the command that redrives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// What it was.
    pub was: KeptAs,
    /// `at` of the fact that last said so; for a released job, when its scheduler gave it back; for a dead one, when the
    /// operator signed.
    pub at: Timestamp,
    /// Leases it had under tickets that have expired since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leases: u32,
    /// Those of them that count as failed attempts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strikes: u32,
    /// The verdict that released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<FactPlace>,
}

/// A fact, by its place in the log of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactPlace {
    /// Offset of its group.
    pub group: Offset,
    /// Its number in there, from 0.
    pub number: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What people are asked and have said: `hold` of a record on `held`, which is otherwise that of a judged job
/// ([`Judged`](crate::decision::Judged)). Keyed by source position; a tombstone when nobody is asked any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// What people said, each person once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
    /// Further roles that may approve by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalated: Vec<String>,
    /// Policy snapshots that an approval may name.
    pub snapshots: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_byte_for_byte_except_white_space_around_its_value() {
        let record = KeptRecord {
            value: ExactJson::new(" {\"a\":  1.50}\n").unwrap(),
            key: Some(KeptBytes::new(b"k\xff")),
            headers: vec![("ce_id".to_owned(), KeptBytes::new("\u{e9}".as_bytes()))],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            "{\"value\":{\"a\":  1.50},\"key\":{\"hex\":\"6bff\"},\"headers\":[[\"ce_id\",{\"text\":\"\u{e9}\"}]]}"
        );
        assert_eq!(serde_json::from_str::<KeptRecord>(&text).unwrap(), record);
        assert_eq!(record.bytes(), 12 + 2 + 5 + 2);
        assert!(ExactJson::new("{} {}").is_err());
    }
}
