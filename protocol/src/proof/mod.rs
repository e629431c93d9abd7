//! Proofs that a stage sent a message: to that partition, at that place in its order, with that content.
//!
//! The messages that follow from one group are the leaves of a tree ([`crate::merkle`]), in the order they are sent. Their
//! emitter signs its root once the group has landed; a new owner that emits them again signs anew under its own epoch. A
//! **proof** is a leaf's number and path, the root and the signature. It goes along as a header ([`crate::headers::PROOF`]),
//! or, where the record's text travels on alone, as the field `ticket` at the end of the record ([`Ticket`]).
//!
//! What is signed: `tidegate messages v1`, sender, epoch, offset of the group and root, a line each. A leaf is over
//! `tidegate message v1`, a line; then topic (length as little-endian u32 in front), partition (u32), sequence and index
//! (u64 each); then the SHA-256 of the content. The content is, for a header, the record's key (length in front, as
//! above) and value; for a ticket, the record's text without the ticket.
//!
//! So a genuine message proves nothing in another partition, at another place in the order, under another epoch or with
//! another byte in it.

mod check;
mod emission;
mod ticket;

use sha2::{Digest, Sha256};

pub use check::{Checker, Refused, Said};
pub use emission::{Emission, Sealed};
pub use ticket::{MOST_BYTES as MOST_TICKET_BYTES, Ticket};

use crate::address::{Offset, TopicPartition};
use crate::control::Stamp;
use crate::hex;
use crate::ids::KeyId;
use crate::merkle::{self, Hash, LONGEST_PATH};
use crate::signature::Signature;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that signed.
    pub key: KeyId,
    /// The root that it signed.
    pub root: Hash,
    /// The leaf's number.
    pub leaf: u32,
    /// Leaves of the tree.
    pub leaves: u32,
    /// From the leaf to the root.
    pub path: Vec<Hash>,
    /// The signature.
    pub signature: Signature,
}

/// The first byte of a header's proof.
const VERSION: u8 = 1;

impl Proof {
    /// As a header: version 1, length of the key's name (a byte each), the name, root, number and count of leaves
    /// (little-endian u32), signature, path.
    #[must_use]
    pub fn to_header(&self) -> Vec<u8> {
        let key = self.key.as_str().as_bytes();
        let mut header = Vec::with_capacity(106 + key.len() + 32 * self.path.len());
        // A key's name has at most 100 bytes.
        header.extend([VERSION, u8::try_from(key.len()).unwrap_or(0)]);
        header.extend_from_slice(key);
        header.extend_from_slice(&self.root);
        header.extend_from_slice(&self.leaf.to_le_bytes());
        header.extend_from_slice(&self.leaves.to_le_bytes());
        header.extend_from_slice(&self.signature);
        header.extend_from_slice(self.path.as_flattened());
        header
    }
}

/// A proof as it stands in a header or a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown<'a> {
    key: &'a str,
    root: &'a Hash,
    leaf: u32,
    leaves: u32,
    path: &'a [Hash],
    signature: &'a Signature,
}

impl<'a> Shown<'a> {
    /// Reads a header; `None` when it is no proof of version 1.
    fn in_header(header: &'a [u8]) -> Option<Self> {
        let (version, rest) = header.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (key, rest) = rest.split_at_checked(usize::from(*length))?;
        let (root, rest) = rest.split_first_chunk()?;
        let (leaf, rest) = rest.split_first_chunk()?;
        let (leaves, rest) = rest.split_first_chunk()?;
        let (signature, rest) = rest.split_first_chunk()?;
        let (path, left) = rest.as_chunks();
        if *version != VERSION || !left.is_empty() || path.len() > LONGEST_PATH {
            return None;
        }
        let (leaf, leaves) = (u32::from_le_bytes(*leaf), u32::from_le_bytes(*leaves));
        Some(Self { key: std::str::from_utf8(key).ok()?, root, leaf, leaves, path, signature })
    }
}

/// The content of a message whose proof is a header.
#[must_use]
pub fn content(key: Option<&[u8]>, value: Option<&[u8]>) -> Hash {
    let key = key.unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(length(key));
    hash.update(key);
    hash.update(value.unwrap_or_default());
    hash.finalize().into()
}

fn length(text: &[u8]) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn leaf(to: &TopicPartition, sequence: u64, index: u64, content: &Hash) -> Hash {
    let topic = to.topic.as_str().as_bytes();
    merkle::leaf(&[
        b"tidegate message v1\n",
        &length(topic),
        topic,
        &to.partition.to_le_bytes(),
        &sequence.to_le_bytes(),
        &index.to_le_bytes(),
        content,
    ])
}

fn statement(sender: &str, epoch: u64, group: Offset, root: &Hash) -> Vec<u8> {
    format!("tidegate messages v1\n{sender}\n{epoch}\n{group}\n{}", hex::encode(root)).into_bytes()
}

/// The stamp that a proof's message has.
const fn stamp(epoch: u64, sequence: u64, group: Offset, index: u64) -> Stamp {
    Stamp { epoch, sequence, group, index }
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! A keyed hash in place of a signature, and one key.

    use super::*;
    use crate::signature::{Capacity, Distrust, Role, Sign, Trust};

    #[derive(Debug)]
    pub(crate) struct Cheap {
        pub(crate) key: KeyId,
        pub(crate) role: Role,
    }

    impl Default for Cheap {
        fn default() -> Self {
            Self { key: KeyId::new("cheap").unwrap(), role: Role::AnyStage }
        }
    }

    impl Cheap {
        pub(crate) const UNTIL_MS: u64 = 1_000;
    }

    impl Sign for Cheap {
        fn key(&self) -> &KeyId {
            &self.key
        }
        fn sign(&self, statement: &[u8]) -> Signature {
            let half: Hash = Sha256::new().chain_update(b"secret").chain_update(statement).finalize().into();
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            signature[32..].copy_from_slice(&half);
            signature
        }
    }

    impl Trust for Cheap {
        fn entitled(&self, key: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust> {
            match () {
                () if key != self.key.as_str() => Err(Distrust::UnknownKey),
                () if !self.role.covers(capacity) => Err(Distrust::WrongRole),
                () if at_ms > Self::UNTIL_MS => Err(Distrust::Retired),
                () => Ok(()),
            }
        }
        fn verify(&self, _: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
            if self.sign(statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_when_anything_is_missing_or_left_over() {
        for n in [0, 1, 5] {
            let proof = Proof {
                key: KeyId::new("node-1").unwrap(),
                root: [1; 32],
                leaf: 3,
                leaves: 17,
                path: vec![[2; 32]; n],
                signature: [4; 64],
            };
            let header = proof.to_header();
            let shown = Shown {
                key: proof.key.as_str(),
                root: &proof.root,
                leaf: proof.leaf,
                leaves: proof.leaves,
                path: &proof.path,
                signature: &proof.signature,
            };
            assert_eq!(Shown::in_header(&header), Some(shown));
            let cut = |at| Shown::in_header(&header[..at]).filter(|p| p.path.len() == n);
            assert!((0..header.len()).all(|at| cut(at).is_none()));
            assert_eq!(Shown::in_header(&[&header[..], &[0]].concat()), None);
            assert_eq!(Shown::in_header(&[&[2], &header[1..]].concat()), None);
        }
    }
}
