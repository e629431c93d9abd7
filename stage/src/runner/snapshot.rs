//! Snapshots of a log prefix: read at takeover, written behind `released`.

use bytes::Bytes;
use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{Kind, SnapshotBody, SnapshotChunk};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::signature::{Sign, Trust, signed};
use tidegate_protocol::statements::SNAPSHOT;
use tidegate_spine::keyed::read_whole;
use tidegate_spine::{NewRecord, Spine};

use super::watch::Ended;
use crate::control::control_record;
use crate::snapshots::{Complete, Snapshots, is_of};
use crate::spec::ShardSpec;

/// Text bytes of one chunk.
const CHUNK_BYTES: usize = 400 << 10;

/// What the snapshots topic holds of a shard.
pub(crate) struct Found {
    /// The newest complete snapshot below the claim.
    pub(crate) newest: Option<(Offset, SnapshotBody)>,
    /// All keys met, to be removed once a newer one has landed.
    pub(crate) keys: Vec<Bytes>,
}

/// Reads the shard's snapshots; incomplete and unreadable ones, and chunks that nobody who may say so has signed, are passed
/// over. With `trust` `None` every chunk is taken (a planted bug).
pub(crate) async fn find(
    spine: &dyn Spine,
    spec: &ShardSpec,
    claim: Offset,
    trust: Option<&dyn Trust>,
) -> Result<Found, Ended> {
    let records = read_whole(spine, &spec.snapshots).await.map_err(Ended::Keyed)?;
    let (mut keys, mut snapshots) = (Vec::new(), Snapshots::default());
    let mut newest: Option<((Offset, u64), SnapshotBody)> = None;
    for record in records {
        let Some(key) = record.key.as_ref().filter(|key| record.value.is_some() && is_of(&spec.sender, key)) else {
            continue;
        };
        keys.push(key.clone());
        match snapshots.meet(&spec.sender, &record, trust) {
            Ok(Some(Complete { offset, epoch, body: Ok(body) })) => {
                if offset < claim && newest.as_ref().is_none_or(|(best, _)| *best < (offset, epoch)) {
                    newest = Some(((offset, epoch), body));
                }
            }
            Ok(_) => {}
            Err(why) => {
                crate::metrics::refused(&spec.sender, Kind::Snapshot, why.into());
                tracing::warn!(shard = %spec.sender, %why, "a chunk of a snapshot is not believed");
            }
        }
    }
    Ok(Found { newest: newest.map(|((offset, _), body)| (offset, body)), keys })
}

/// A snapshot on its way out. Its chunks are made one at a time: escaping and signing all of a large state at once would
/// hold its shard's decisions up for as long.
pub(crate) struct Chunks {
    text: String,
    /// Where the next chunk begins.
    from: usize,
    next: u32,
    of: u32,
    epoch: u64,
    slot: char,
    offset: Offset,
}

/// Bytes of the first chunk of `rest`.
fn cut(rest: &str) -> usize {
    let mut cut = rest.len().min(CHUNK_BYTES);
    while !rest.is_char_boundary(cut) {
        cut -= 1;
    }
    cut
}

impl Chunks {
    /// Of `body`, which stands for the facts up to `offset`; `state` takes the place of its own.
    pub(crate) fn new(
        epoch: u64,
        slot: char,
        offset: Offset,
        body: &SnapshotBody,
        state: &str,
    ) -> Result<Self, serde_json::Error> {
        // The state is the last field: spliced in, megabytes are neither read nor copied once more.
        let head = serde_json::to_string(body)?;
        let head = head.strip_suffix('}').and_then(|head| head.strip_suffix(body.state.get())).unwrap_or_default();
        let text = [head, state, "}"].concat();
        let (mut of, mut rest) = (0, text.as_str());
        while !rest.is_empty() {
            (of, rest) = (of + 1, rest.split_at(cut(rest)).1);
        }
        Ok(Self { text, from: 0, next: 0, of, epoch, slot, offset })
    }

    fn key(&self, sender: &SenderId, chunk: u32) -> Bytes {
        Bytes::from(format!("{sender}/{}/{}.{chunk}", self.epoch, self.slot))
    }

    /// Of all its chunks.
    pub(crate) fn keys(&self, sender: &SenderId) -> Vec<Bytes> {
        (0..self.of).map(|chunk| self.key(sender, chunk)).collect()
    }

    /// The next chunk; `None` after the last.
    pub(crate) fn next(&mut self, sender: &SenderId, signer: &dyn Sign) -> Result<Option<NewRecord>, Ended> {
        let rest = self.text.get(self.from..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (text, _) = rest.split_at(cut(rest));
        let value = SnapshotChunk {
            v: 1,
            sender: sender.clone(),
            epoch: self.epoch,
            offset: self.offset,
            chunk: self.next,
            of: self.of,
            text: text.to_owned(),
            key: None,
            signature: None,
        };
        let value = signed(signer, SNAPSHOT, serde_json::to_vec(&value)?);
        let mut record = control_record(Kind::Snapshot, sender, Some(self.epoch), value);
        record.key = Some(self.key(sender, self.next));
        self.from += text.len();
        self.next += 1;
        Ok(Some(record))
    }
}
