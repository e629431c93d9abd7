//! A proof that travels inside a record.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{Proof, Shown, leaf, stamp};
use crate::address::{Offset, TopicPartition};
use crate::control::Stamp;
use crate::hex;
use crate::ids::{KeyId, SenderId};
use crate::merkle::{Hash, LONGEST_PATH};
use crate::text;

/// No ticket is longer: names of the longest kind, every byte of the sender's escaped, and the longest path.
pub const MOST_BYTES: usize = 6 << 10;

/// Where the ticket begins in a record's text.
const FIELD: &[u8] = br#","ticket":"#;
/// Where its `k` stands.
const K: usize = 5;

/// The field `ticket` at the end of a record on `approved.<pool>`: who sent the record, where to, and the proof of it. It
/// stays with the job: the scheduler checks it before a lease, the worker before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// Format version, 1.
    pub v: u32,
    /// The kernel's shard.
    pub sender: SenderId,
    /// Its epoch.
    pub epoch: u64,
    /// Number of the message in that epoch and partition.
    pub sequence: u64,
    /// Offset of the decision's group in the facts log.
    pub group: Offset,
    /// The decision's number in the group times 256.
    pub index: u64,
    /// The partition it was sent to: which pool, and which bucket of it.
    pub to: TopicPartition,
    /// The key that signed.
    pub key: KeyId,
    /// Root of the messages of the group, hex.
    #[serde(with = "hashes::one")]
    pub root: Hash,
    /// The leaf's number.
    pub leaf: u32,
    /// Leaves of the tree.
    pub leaves: u32,
    /// The path, hex without gaps.
    #[serde(with = "hashes")]
    pub path: Vec<Hash>,
    /// The signature, hex.
    #[serde(with = "hashes::signature")]
    pub signature: [u8; 64],
}

impl Ticket {
    /// The ticket of a message.
    #[must_use]
    pub fn new(proof: Proof, sender: SenderId, to: TopicPartition, said: Stamp) -> Self {
        let Proof { key, root, leaf, leaves, path, signature } = proof;
        let Stamp { epoch, sequence, group, index } = said;
        Self { v: 1, sender, epoch, sequence, group, index, to, key, root, leaf, leaves, path, signature }
    }

    /// The content of a record that is going to carry a ticket.
    #[must_use]
    pub fn content(text: &[u8]) -> Hash {
        Sha256::digest(text).into()
    }

    /// Puts the ticket into a record's text, a JSON object: `{…}` becomes `{…,"ticket":{…}}`.
    ///
    /// # Errors
    /// Never in practice: it has plain names and numbers.
    pub fn splice(&self, text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        // Names and numbers aside, which are short: root and path, the signature.
        let hashes = 2 * (size_of::<Hash>() * (self.path.len() + 1) + self.signature.len());
        let mut whole = Vec::with_capacity(text.len() + 512 + hashes);
        whole.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
        whole.extend_from_slice(FIELD);
        serde_json::to_writer(&mut whole, self)?;
        whole.push(b'}');
        Ok(whole)
    }

    /// Reads the ticket at the end of a record's text and tells the content of the rest; `None` when there is none that
    /// can be read, or it is of another version.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<(Self, Hash)> {
        let (open, field) = text.split_at_checked(last_field(text)?)?;
        let ticket = field.strip_prefix(FIELD)?.strip_suffix(b"}")?;
        let ticket: Self = serde_json::from_slice(ticket).ok()?;
        if ticket.v != 1 {
            return None;
        }
        let content = Sha256::new().chain_update(open).chain_update(b"}").finalize();
        Some((ticket, content.into()))
    }

    /// The place in the sender's order that it names.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        stamp(self.epoch, self.sequence, self.group, self.index)
    }

    /// Its proof, and the leaf of a message with that content.
    pub(super) fn shown(&self, content: &Hash) -> (Shown<'_>, Hash) {
        let of = leaf(&self.to, self.sequence, self.index, content);
        let Self { key, root, leaf, leaves, path, signature, .. } = self;
        (Shown { key: key.as_str(), root, leaf: *leaf, leaves: *leaves, path, signature }, of)
    }
}

/// Where the last [`FIELD`] begins that may be a ticket's. Most of what is passed over are hex digits: a `k` is rare, and
/// looked for many bytes at a time.
fn last_field(text: &[u8]) -> Option<usize> {
    let from = text.len().saturating_sub(MOST_BYTES);
    let tail = text.get(from..)?;
    let begins = |at: usize| at.checked_sub(K).filter(|at| tail.get(*at..).is_some_and(|t| t.starts_with(FIELD)));
    memchr::memrchr_iter(b'k', tail).find_map(begins).map(|at| from + at)
}

/// Hashes as hex text.
mod hashes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(path: &[Hash], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(path.as_flattened()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
        text::deserialize(from, |digits| {
            let each = digits.as_bytes().chunks(2 * size_of::<Hash>());
            if each.len() > LONGEST_PATH {
                return Err(hex::NotHex);
            }
            let mut path = vec![Hash::default(); each.len()];
            for (hash, digits) in path.iter_mut().zip(each) {
                hex::decode_to_slice(digits, hash)?;
            }
            Ok(path)
        })
    }

    pub(super) mod one {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
            hex::serialize::<32, 64, S>(hash, to)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
            hex::deserialize(from)
        }
    }

    pub(super) mod signature {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(signature: &[u8; 64], to: S) -> Result<S::Ok, S::Error> {
            hex::serialize::<64, 128, S>(signature, to)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 64], D::Error> {
            hex::deserialize(from)
        }
    }
}
