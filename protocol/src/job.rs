//! The job: one envelope from the raw topic to its end.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::address::Offset;
use crate::delegation::{Delegation, Scope};
use crate::hex;
use crate::ids::{Capability, JobId, SourceName, TenantId};
use crate::selector::Selector;
use crate::text::{self, Short};

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Id of the agent, person or service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its kind, e.g. `agent`, `human`, `service`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The identity of a record for ever: where it stands in its source. Shown as `source/partition@offset`; with `~n` behind
/// it for the n-th time that it was redriven from `dead`: each is a life of its own, with one verdict in force and one end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePosition {
    /// The source.
    pub source: SourceName,
    /// Partition of its topic.
    pub partition: u32,
    /// Offset of the record.
    pub offset: Offset,
    /// Times it was redriven; 0 as it was first read.
    pub redrive: u32,
}

impl SourcePosition {
    /// A record as it was first read.
    #[must_use]
    pub const fn new(source: SourceName, partition: u32, offset: Offset) -> Self {
        Self { source, partition, offset, redrive: 0 }
    }

    /// The same record, redriven so often.
    #[must_use]
    pub fn redriven(&self, redrive: u32) -> Self {
        Self { redrive, ..self.clone() }
    }
}

/// The longest text of a position: a source's name has at most 100 bytes, numbers of 32 and 64 bits 10 and 20 digits.
const LONGEST_POSITION: usize = 100 + 10 + 20 + 10 + 3;

/// Text that is not `source/partition@offset`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a source position (`source/partition@offset`)")]
pub struct BadSourcePosition {
    /// As written.
    pub text: String,
}

impl SourcePosition {
    /// As shown. Faster than through `Display`.
    #[must_use]
    pub fn text(&self) -> String {
        self.short().as_str().to_owned()
    }

    fn short(&self) -> Short<LONGEST_POSITION> {
        let mut text = Short::new();
        text.push(self.source.as_str());
        text.push("/");
        text.push_number(self.partition.into());
        text.push("@");
        text.push_number(self.offset);
        if self.redrive > 0 {
            text.push("~");
            text.push_number(self.redrive.into());
        }
        text
    }
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.source, self.partition, self.offset)?;
        if self.redrive > 0 { write!(f, "~{}", self.redrive) } else { Ok(()) }
    }
}

impl fmt::Debug for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for SourcePosition {
    type Err = BadSourcePosition;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (source, rest) = text.rsplit_once('/')?;
            let (partition, offset) = rest.split_once('@')?;
            let source = SourceName::new(source).ok()?;
            let (offset, redrive) = match offset.split_once('~') {
                None => (offset, 0),
                Some((offset, redrive)) => (offset, redrive.parse().ok().filter(|redrive| *redrive > 0)?),
            };
            Some(Self { source, partition: partition.parse().ok()?, offset: offset.parse().ok()?, redrive })
        };
        parse().ok_or_else(|| BadSourcePosition { text: text.chars().take(200).collect() })
    }
}

impl Serialize for SourcePosition {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.short().as_str())
    }
}

impl<'de> Deserialize<'de> for SourcePosition {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text::deserialize(from, str::parse)
    }
}

/// SHA-256 of a source record's value and of the attributes taken from its headers; 64 hex digits in records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputHash(pub [u8; 32]);

impl InputHash {
    /// Hashes the value, then, for every attribute taken from a header, its name and value, each with its length
    /// in front (little-endian u64) so that no two inputs run together. A record without such attributes hashes
    /// to the plain SHA-256 of its value.
    pub fn of<'a>(value: &[u8], attributes: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self::of_parts(&[value], attributes)
    }

    /// The same of a value given in parts: a delegated job's hash leaves out the parent's ticket it came with, so that a
    /// parent that runs again, by a later ticket, spawns the same children.
    pub fn of_parts<'a>(parts: &[&[u8]], attributes: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        for (name, value) in attributes {
            for part in [name.as_bytes(), value] {
                hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
                hash.update(part);
            }
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for InputHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        hex::serialize::<32, 64, S>(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for InputHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        hex::deserialize(from).map(Self)
    }
}

/// What is known of a job once the kernel has read it: everything but the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Id within the tenant.
    pub id: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Dotted name inside the job, e.g. `job.payments.wire`; never a broker topic.
    pub topic: String,
    /// Who asks.
    #[serde(default)]
    pub actor: Actor,
    /// What a worker must be able to do.
    pub capability: Capability,
    /// Further things a worker must offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Capability>,
    /// Risk tags: what the submitter claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risk_tags: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// 0 (least urgent) to 9; 5 unless told.
    #[serde(default = "default_priority", skip_serializing_if = "is_default_priority")]
    pub priority: u8,
    /// Milliseconds since the Unix epoch after which nobody wants the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Milliseconds since the Unix epoch before which it must not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Of the jobs of its tenant with the same key in one pool at most one is leased at a time, in the order of their arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// How it is tried again.
    #[serde(default, skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,
    /// Labels that its worker must have.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub select: Selector,
    /// Labels that its worker had better have: of those that could take it now, one that has them does.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub prefer: Selector,
    /// The job that spawned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// What it hands on to the jobs it spawns, as its submitter wrote; without it what it may do itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Box<Scope>>,
    /// On whose behalf it acts, proven by its parent's ticket; nobody's when absent, whatever `parent` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<Box<Delegation>>,
    /// Where its record stands.
    pub source: SourcePosition,
    /// What an approval or a ticket binds.
    pub input_hash: InputHash,
    /// When its record was appended (the record's own timestamp: data), milliseconds since the Unix epoch.
    pub submitted_ms: u64,
}

impl Job {
    /// When it is too late for a verdict to let it run: its deadline, or the end of its chain's time.
    #[must_use]
    pub fn latest_ms(&self) -> Option<u64> {
        let chain_ends = self.delegation.as_ref().map(|delegation| delegation.expires_ms);
        [self.deadline, chain_ends].into_iter().flatten().min()
    }
}

/// How a job wants to be tried again, within what its pool allows; what is absent is as the pool says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Most attempts, the first included; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Longest pause before the second attempt, milliseconds; it doubles with every further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
    /// What the pause does not grow beyond, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff_ms: Option<u64>,
}

impl Retry {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The priority of a job that names none.
pub const DEFAULT_PRIORITY: u8 = 5;

fn default_priority() -> u8 {
    DEFAULT_PRIORITY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_default_priority(priority: &u8) -> bool {
    *priority == DEFAULT_PRIORITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_one_text_however_it_is_written() {
        for text in ["jobs/0@0", "jobs.raw/12@18446744073709551615", "a/4294967295@7~3"] {
            let position: SourcePosition = text.parse().unwrap();
            assert_eq!((position.to_string().as_str(), position.text().as_str()), (text, text));
        }
        for bad in ["jobs/0", "jobs/0@1~0", "jobs/0@1~", "jobs/x@1", "/0@1"] {
            assert!(bad.parse::<SourcePosition>().is_err(), "{bad}");
        }
    }
}
