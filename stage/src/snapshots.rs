//! What the snapshots topic holds of a shard.

use std::collections::BTreeMap;

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{SnapshotBody, SnapshotChunk};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::signature::{Capacity, Distrust, Trust, check};
use tidegate_protocol::statements::SNAPSHOT;
use tidegate_spine::Record;

use crate::control::written_ms;

/// Whether a key of the topic is one of the shard's.
#[must_use]
pub fn is_of(sender: &SenderId, key: &[u8]) -> bool {
    key.strip_prefix(sender.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// A snapshot all of whose chunks were met.
#[derive(Debug)]
pub struct Complete {
    /// The facts offset it stands for.
    pub offset: Offset,
    /// Epoch of its writer.
    pub epoch: u64,
    /// What it says, if that can be read.
    pub body: Result<SnapshotBody, serde_json::Error>,
}

/// Number of chunks of a snapshot, and those met.
type Chunks = (u32, BTreeMap<u32, String>);

/// The snapshots of a shard, put together from records of the topic.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Those of which chunks are missing, by offset and epoch.
    open: BTreeMap<(Offset, u64), Chunks>,
}

impl Snapshots {
    /// Takes a record whose key is one of the shard's ([`is_of`]); the snapshot whose last missing chunk it is. With `trust`
    /// `None` every chunk is taken (a planted bug).
    ///
    /// # Errors
    /// Nobody who may say so has signed the chunk: it is passed over.
    pub fn meet(
        &mut self,
        sender: &SenderId,
        record: &Record,
        trust: Option<&dyn Trust>,
    ) -> Result<Option<Complete>, Distrust> {
        let Some(value) = record.value.as_deref() else { return Ok(None) };
        if let Some(trust) = trust {
            check(trust, SNAPSHOT, Capacity::of_sender(sender.as_str()), written_ms(record), value)?;
        }
        let Ok(chunk) = serde_json::from_slice::<SnapshotChunk>(value) else { return Ok(None) };
        let (offset, epoch) = (chunk.offset, chunk.epoch);
        if chunk.sender != *sender {
            return Ok(None);
        }
        let (of, chunks) = self.open.entry((offset, epoch)).or_insert((chunk.of, BTreeMap::new()));
        if *of == chunk.of {
            chunks.insert(chunk.chunk, chunk.text);
        }
        if chunks.len() != *of as usize || !chunks.keys().copied().eq(0..*of) {
            return Ok(None);
        }
        let text: String = std::mem::take(chunks).into_values().collect();
        self.open.remove(&(offset, epoch));
        Ok(Some(Complete { offset, epoch, body: serde_json::from_str(&text) }))
    }
}
