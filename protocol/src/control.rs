//! Control records: how a shard changes owner and what a group of facts is made of (DESIGN section 2).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::address::{Offset, TopicPartition};
use crate::decimal;
use crate::ids::SenderId;
use crate::time::Timestamp;

/// The `tg-kind` of a control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new owner names its outputs; the record's offset makes its epoch.
    Claim,
    /// In an output partition: nothing of a lower epoch of this sender counts from here.
    Fence,
    /// In the facts log: no group of a lower epoch counts from here.
    Barrier,
    /// A group of facts.
    Group,
    /// A chunk of a snapshot.
    Snapshot,
    /// The term of a shard's facts log.
    Term,
    /// An operator gives up records of an input that are gone.
    Loss,
}

impl Kind {
    /// The header's text.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Fence => "fence",
            Self::Barrier => "barrier",
            Self::Group => "group",
            Self::Snapshot => "snapshot",
            Self::Term => "term",
            Self::Loss => "loss",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Claim, Self::Fence, Self::Barrier, Self::Group, Self::Snapshot, Self::Term, Self::Loss]
            .into_iter()
            .find(|k| k.word() == word)
    }
}

/// Number of an ownership: the term of the facts log above the offset of the claim. Higher is newer; never 0, which
/// means "none yet" wherever an epoch stands.
///
/// One integer so that foreign consumers can compare it: `term * 2^40 + offset + 1`, below 2^53 for terms below 8192.
#[must_use]
pub const fn epoch(term: u32, claim: Offset) -> u64 {
    ((term as u64) << 40) | ((claim + 1) & ((1 << 40) - 1))
}

/// The term of an epoch: it rises when a facts log is made anew.
#[must_use]
pub const fn term(epoch: u64) -> u64 {
    epoch >> 40
}

/// A claim. Value of the record with `tg-kind: claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Format version, 1.
    pub v: u32,
    /// Who claims.
    pub sender: SenderId,
    /// Term of the facts log as the claimant knows it.
    pub term: u32,
    /// Every output partition it may write fenced messages to.
    pub outputs: Vec<TopicPartition>,
    /// Process that claims, for people.
    pub process: String,
    /// Wall clock of the claimant, milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The key that signed; with the signature, behind everything else ([`crate::signature::signed`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A fence or a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Format version, 1.
    pub v: u32,
    /// Whose.
    pub sender: SenderId,
    /// The epoch it announces.
    pub epoch: u64,
    /// On a barrier: SHA-256 (hex) of the claim's value that made the epoch. It ties the claim to its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The key that signed; with the signature, behind everything else ([`crate::signature::signed`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The stamp on a stage's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Epoch of the sending owner (header `tg-epoch`).
    pub epoch: u64,
    /// Number of the message in this epoch and output partition, from 0.
    pub sequence: u64,
    /// Offset of the group whose fact it follows from.
    pub group: Offset,
    /// The fact's number in the group times 256, plus the ordinal of the message's kind.
    pub index: u64,
}

impl Stamp {
    /// Reads the header `tg-stamp` of a message of that epoch.
    #[must_use]
    pub fn read(epoch: u64, text: &str) -> Option<Self> {
        let mut parts = text.split(' ').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(sequence)), Some(Ok(group)), Some(Ok(index)), None) => {
                Some(Self { epoch, sequence, group, index })
            }
            _ => None,
        }
    }

    /// That header.
    #[must_use]
    pub fn written(self) -> String {
        let mut text = String::with_capacity(48);
        for (number, before) in [(self.sequence, ""), (self.group, " "), (self.index, " ")] {
            text.push_str(before);
            decimal::push(&mut text, number);
        }
        text
    }
}

/// What a reader of one output partition keeps of one sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderMark {
    /// Who.
    pub sender: SenderId,
    /// Highest fence met.
    pub fence: u64,
    /// Next sequence expected of epoch `fence`; `None` after a gap: the rest of that epoch is void here.
    pub next: Option<u64>,
    /// (group offset, index) of the last message believed.
    pub last: Option<(Offset, u64)>,
    /// Records here were lost, and the loss accepted: the next message of this epoch or a higher one is taken as it comes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rejoins: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What changed of a shard's place in one input partition since the group before. The first group of an owner that began from a snapshot tells
/// all of it again: the next owner may replay without that snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of the input in the group's `inputs`.
    #[serde(rename = "i")]
    pub input: u32,
    /// Lowest offset not yet settled.
    #[serde(rename = "p")]
    pub position: Offset,
    /// Newly settled offsets above `position`, as `[from, to)` (in a snapshot: all of them).
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<(Offset, Offset)>,
    /// Senders' marks as they stood at `position`, those that changed.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<SenderMark>,
    /// Reading began when the log's first records were gone: the first message of a sender not met before is taken as it
    /// comes.
    #[serde(rename = "l", default, skip_serializing_if = "is_false")]
    pub late: bool,
}

/// Records of an input that were gone before they were settled, given up by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// Number of the input in the group's `inputs`.
    #[serde(rename = "i")]
    pub input: u32,
    /// First offset that may have been lost.
    pub from: Offset,
    /// First offset that the log still has.
    pub to: Offset,
    /// Who accepted it.
    pub by: String,
}

/// One fact in a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FactRecord<F> {
    /// When it was decided.
    pub at: Timestamp,
    /// The input it settles: number in the group's `inputs`, offset.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub settles: Option<(u32, Offset)>,
    /// The fact.
    pub fact: F,
}

/// A group of facts, atomic. Value of the record with `tg-kind: group`. `F` is `Box<RawValue>` for readers that only
/// check the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group<F> {
    /// Format version, 1.
    pub v: u32,
    /// The writing owner's epoch.
    pub epoch: u64,
    /// Number of the group in its epoch, from 0.
    pub sequence: u64,
    /// Messages of all groups up to this offset have landed; `None` when none has.
    pub released: Option<Offset>,
    /// SHA-256 (hex) of the value of the valid group before; empty for the log's first.
    pub previous: String,
    /// Input partitions that places and facts refer to by number, `topic/partition` each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TopicPartition>,
    /// What changed of the places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// What was lost, and the loss accepted; only in an epoch's first group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostRange>,
    /// The facts in order.
    #[serde(default = "Vec::new")]
    pub facts: Vec<F>,
    /// Merkle root, hex, of the group's header (its text up to the facts, closed by a brace) and of each fact's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The key that signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature over sender, epoch and root, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A chunk of a snapshot. Value of the record with `tg-kind: snapshot` on `snapshots`, keyed
/// `stage.name/shard/epoch/slot.chunk`: two slots per epoch in turn, so that an interrupted write never destroys the
/// snapshot before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Format version, 1.
    pub v: u32,
    /// Whose.
    pub sender: SenderId,
    /// The writing owner's epoch.
    pub epoch: u64,
    /// The facts offset it stands for: the state after the valid group there.
    pub offset: Offset,
    /// Number of this chunk, from 0.
    pub chunk: u32,
    /// Number of chunks.
    pub of: u32,
    /// This part of the snapshot's text.
    pub text: String,
    /// The key that signed; with the signature, behind everything else ([`crate::signature::signed`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The body of a snapshot, cut into chunks as text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotBody {
    /// Hash of the valid group at the snapshot's offset.
    pub head: String,
    /// Epoch and next sequence number of the last valid group.
    pub sequence: (u64, u64),
    /// Highest barrier met.
    pub barrier: u64,
    /// Claims since that barrier's claim: (epoch, outputs).
    pub claims: Vec<(u64, Vec<TopicPartition>)>,
    /// `released` as of the offset.
    pub released: Option<Offset>,
    /// `at` of the last fact.
    pub at: Timestamp,
    /// Input partitions that `places` refer to.
    pub inputs: Vec<TopicPartition>,
    /// Places, whole.
    pub places: Vec<Place>,
    /// The stage's state.
    pub state: Box<RawValue>,
}

/// The term of a shard's facts log, on `shards`, keyed `stage.name/shard`; raised by `topics apply` alone, when a log
/// is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Format version, 1.
    pub v: u32,
    /// The shard.
    pub sender: SenderId,
    /// Its term, from 0.
    pub term: u32,
}

/// An operator gives up what is gone of a shard's input. Value of the record with `tg-kind: loss` on `shards`, keyed
/// `stage.name/shard lost topic/partition`; written by `tidegate sources accept-loss`. The shard's next owner records
/// the range in its facts ([`LostRange`]) and goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    /// Format version, 1.
    pub v: u32,
    /// The shard.
    pub sender: SenderId,
    /// The input.
    pub partition: TopicPartition,
    /// Where the log began when it was accepted: nothing at or above this is given up.
    pub before: Offset,
    /// Who accepted it, for people.
    pub by: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The key that signed; with the signature, behind everything else ([`crate::signature::signed`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl AcceptedLoss {
    /// Its record's key.
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{} lost {}", self.sender, self.partition)
    }
}
