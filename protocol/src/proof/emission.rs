//! The emitter's side: the messages of one group become leaves, their root is signed.

use super::{Proof, leaf, statement};
use crate::address::{Offset, TopicPartition};
use crate::ids::KeyId;
use crate::merkle::{Hash, Tree};
use crate::signature::{Sign, Signature};

/// Gathers leaves.
#[derive(Debug, Default)]
pub struct Emission {
    leaves: Vec<Hash>,
}

impl Emission {
    /// Adds a message and returns its leaf's number.
    pub fn push(&mut self, to: &TopicPartition, sequence: u64, index: u64, content: &Hash) -> usize {
        self.leaves.push(leaf(to, sequence, index, content));
        self.leaves.len() - 1
    }

    /// Signs what was gathered; `None` when that is nothing. A tree has far fewer than 2^32 leaves: a group's bytes are
    /// bounded.
    #[must_use]
    pub fn seal(self, signer: &dyn Sign, sender: &str, epoch: u64, group: Offset) -> Option<Sealed> {
        let leaves = u32::try_from(self.leaves.len()).ok().filter(|leaves| *leaves > 0)?;
        let tree = Tree::new(self.leaves);
        let root = tree.root();
        let signature = signer.sign(&statement(sender, epoch, group, &root));
        Some(Sealed { key: signer.key().clone(), tree, root, leaves, signature })
    }
}

/// A signed tree, from which proofs are taken.
#[derive(Debug)]
pub struct Sealed {
    key: KeyId,
    tree: Tree,
    root: Hash,
    leaves: u32,
    signature: Signature,
}

impl Sealed {
    /// The proof of a leaf.
    #[must_use]
    pub fn proof(&self, number: usize) -> Proof {
        Proof {
            key: self.key.clone(),
            root: self.root,
            leaf: u32::try_from(number).unwrap_or(u32::MAX),
            leaves: self.leaves,
            path: self.tree.path(number),
            signature: self.signature,
        }
    }
}
