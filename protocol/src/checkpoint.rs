//! Checkpoints of a facts log: an owner's signed word that the log has a certain valid group at a certain place. With one,
//! a log that was cut behind it, or put back to an older copy, is found out, and a log whose start is gone by retention can
//! be verified from there.

use serde::{Deserialize, Serialize};

use crate::address::{Offset, TopicPartition};
use crate::ids::SenderId;
use crate::signature::{self, Capacity, Distrust, Sign, Trust};

/// Kind of a checkpoint's statement ([`crate::statements`]).
pub const KIND: &str = "tidegate checkpoint v1";

/// A checkpoint. Value of a record on `audit.checkpoints` and a line of a checkpoint file. It never says more than what
/// has landed: its writer has read its own log back past the group and met no newer owner's barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Format version, 1.
    pub v: u32,
    /// Whose log.
    pub sender: SenderId,
    /// The facts partition.
    pub facts: TopicPartition,
    /// The writing owner's epoch, which is the group's too.
    pub epoch: u64,
    /// The group's number in the epoch.
    pub sequence: u64,
    /// Where the group stands.
    pub offset: Offset,
    /// SHA-256 (hex) of the group's value.
    pub head: String,
    /// Wall clock of the writer, milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The key that signed; with the signature, behind everything else ([`crate::signature::signed`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The signature, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A text that is no checkpoint to rely on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// It is none.
    #[error("it is no checkpoint: {reason}")]
    Unreadable {
        /// What the reader stumbled over.
        reason: String,
    },
    /// Nobody who may say so has signed it.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
}

impl Checkpoint {
    /// Its signed text.
    ///
    /// # Errors
    /// When it has no JSON text.
    pub fn to_signed(&self, signer: &dyn Sign) -> Result<Vec<u8>, serde_json::Error> {
        Ok(signature::signed(signer, KIND, serde_json::to_vec(self)?))
    }

    /// Reads a checkpoint that a key has signed which may speak for the log's stage. `at_ms` is when it was written, as the
    /// spine says; its own word for that is taken where nobody else has one.
    ///
    /// # Errors
    /// [`BadCheckpoint`].
    pub fn read(value: &[u8], at_ms: Option<u64>, trust: &dyn Trust) -> Result<Self, BadCheckpoint> {
        let parsed: Self =
            serde_json::from_slice(value).map_err(|error| BadCheckpoint::Unreadable { reason: error.to_string() })?;
        let at_ms = at_ms.unwrap_or(parsed.wall_ms);
        signature::check(trust, KIND, Capacity::of_sender(parsed.sender.as_str()), at_ms, value)?;
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::TopicName;
    use crate::proof::fixtures::Cheap;

    #[test]
    fn a_checkpoint_is_believed_as_it_was_signed_and_with_no_byte_changed() {
        let checkpoint = Checkpoint {
            v: 1,
            sender: SenderId::new("kernel.raw/0").unwrap(),
            facts: TopicName::new("t.decisions.raw").unwrap().partition(0),
            epoch: 5,
            sequence: 7,
            offset: 31,
            head: "00".repeat(32),
            wall_ms: 1,
            key: None,
            signature: None,
        };
        let trust = Cheap::default();
        let text = checkpoint.to_signed(&trust).unwrap();
        let read = Checkpoint::read(&text, Some(2), &trust).unwrap();
        assert_eq!((read.offset, read.sequence, read.key.as_deref()), (31, 7, Some("cheap")));
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(Checkpoint::read(&changed, Some(2), &trust).is_err(), "byte {at}");
        }
        let late = Checkpoint::read(&text, Some(Cheap::UNTIL_MS + 1), &trust);
        assert_eq!(late, Err(BadCheckpoint::Distrusted(Distrust::Retired)));
    }
}
