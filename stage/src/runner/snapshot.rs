//! Snapshots of a log prefix: read at takeover, written behind `released`.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{Kind, SnapshotBody, SnapshotChunk};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::signature::{Capacity, Sign, Trust, check, signed};
use tidegate_protocol::statements::SNAPSHOT;
use tidegate_spine::keyed::read_whole;
use tidegate_spine::{NewRecord, Spine};

use super::watch::Ended;
use crate::control::{control_record, written_ms};
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
    let prefix = format!("{}/", spec.sender);
    let records = read_whole(spine, &spec.snapshots).await.map_err(Ended::Keyed)?;
    let mut keys = Vec::new();
    let mut sets: BTreeMap<(Offset, u64), (u32, BTreeMap<u32, String>)> = BTreeMap::new();
    let capacity = Capacity::of_sender(spec.sender.as_str());
    for record in records {
        let written = written_ms(&record);
        let (Some(key), Some(value)) = (record.key, record.value) else { continue };
        if !key.starts_with(prefix.as_bytes()) {
            continue;
        }
        keys.push(key);
        if let Some(trust) = trust
            && let Err(why) = check(trust, SNAPSHOT, capacity, written, &value)
        {
            crate::metrics::refused(&spec.sender, Kind::Snapshot, why.into());
            tracing::warn!(shard = %spec.sender, %why, "a chunk of a snapshot is not believed");
            continue;
        }
        let Ok(chunk) = serde_json::from_slice::<SnapshotChunk>(&value) else { continue };
        if chunk.sender == spec.sender && chunk.offset < claim {
            let set = sets.entry((chunk.offset, chunk.epoch)).or_insert((chunk.of, BTreeMap::new()));
            if set.0 == chunk.of {
                set.1.insert(chunk.chunk, chunk.text);
            }
        }
    }
    let newest = sets.into_iter().rev().find_map(|((offset, _), (of, chunks))| {
        let complete = chunks.len() == of as usize && chunks.keys().copied().eq(0..of);
        let body = complete.then(|| chunks.into_values().collect::<String>())?;
        Some((offset, serde_json::from_str(&body).ok()?))
    });
    Ok(Found { newest, keys })
}

/// The records of a snapshot, and their keys.
pub(crate) fn records(
    sender: &SenderId,
    epoch: u64,
    slot: char,
    offset: Offset,
    body: &SnapshotBody,
    signer: &dyn Sign,
) -> Result<Vec<(Bytes, NewRecord)>, Ended> {
    let text = serde_json::to_string(body)?;
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let mut cut = rest.len().min(CHUNK_BYTES);
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (part, behind) = rest.split_at(cut);
        parts.push(part.to_owned());
        rest = behind;
    }
    let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (0..of)
        .zip(parts)
        .map(|(chunk, text)| {
            let value = SnapshotChunk {
                v: 1,
                sender: sender.clone(),
                epoch,
                offset,
                chunk,
                of,
                text,
                key: None,
                signature: None,
            };
            let key = Bytes::from(format!("{sender}/{epoch}/{slot}.{chunk}"));
            let value = signed(signer, SNAPSHOT, serde_json::to_vec(&value)?);
            let mut record = control_record(Kind::Snapshot, sender, Some(epoch), value);
            record.key = Some(key.clone());
            Ok((key, record))
        })
        .collect()
}
