//! Keyed topics: only the latest record of each key stays.
//!
//! Closed segments are rewritten without the records that a later one of the same key replaces; offsets stay. The
//! segment that is written to is read for its keys but not changed. A tombstone stays for [`TOMBSTONES`], so that a
//! reader in the middle of the log still learns of it. The new file counts from the moment its index is there, and
//! the old ones are deleted after that.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::address::Offset;

use crate::frame;
use crate::partition::{Partition, lock};
use crate::segment::{Broken, Extent, Frames, SegmentFile};

/// How long a deleted key is remembered.
const TOMBSTONES: Duration = Duration::from_secs(3600);
/// A compacted segment takes in neighbours until it is this large.
const LARGE: u64 = 64 << 20;

type Segment = (Arc<SegmentFile>, Extent);

/// Rewrites the closed segments when at least as much is new in them as was compacted before, or `always`.
///
/// # Errors
/// Reading or writing failed; the log is as it was.
pub(crate) fn compact(partition: &Partition, always: bool, now_ms: i64) -> io::Result<()> {
    let all = lock(&partition.log).segments.clone();
    let Some((active, closed)) = all.split_last() else { return Ok(()) };
    let (mut new, mut compacted) = (0, 0);
    for (segment, extent) in closed {
        let bytes = if segment.generation == 0 { &mut new } else { &mut compacted };
        *bytes += extent.bytes;
    }
    if new == 0 || (!always && new < compacted) {
        return Ok(());
    }
    let latest = latest_of(&all)?;
    let forget_before = now_ms.saturating_sub(i64::try_from(TOMBSTONES.as_millis()).unwrap_or(i64::MAX));
    let mut rest = closed;
    while !rest.is_empty() {
        let mut size = 0;
        let fits = rest.iter().take_while(|(_, extent)| {
            size += extent.bytes;
            size <= LARGE
        });
        let (run, behind) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = behind;
        // A run of one that was compacted before and is large stays: its neighbours were too large for it.
        if run.len() > 1 || run.iter().any(|(segment, _)| segment.generation == 0) {
            let fresh = rewrite(partition, run, &latest, forget_before)?;
            replace(partition, run, fresh)?;
        }
    }
    tracing::debug!(partition = %partition.at, new, compacted, active = active.0.base, "compacted");
    Ok(())
}

fn damaged(broken: Broken) -> io::Error {
    match broken {
        Broken::Io(error) => error,
        Broken::At(at) => io::Error::other(format!("a segment is damaged at byte {at}")),
    }
}

fn latest_of(all: &[Segment]) -> io::Result<HashMap<Bytes, Offset>> {
    let mut latest: HashMap<Bytes, Offset> = HashMap::new();
    for (segment, extent) in all {
        let mut frames = Frames::new(Arc::clone(segment), 0, extent.bytes);
        while let Some(bytes) = frames.next().map_err(damaged)? {
            let (Some((key, _)), Some((offset, _))) = (frame::key_of(bytes), frame::stamp(bytes)) else { continue };
            match latest.get_mut(key) {
                Some(known) => *known = offset,
                None => drop(latest.insert(Bytes::copy_from_slice(key), offset)),
            }
        }
    }
    Ok(latest)
}

fn rewrite(
    partition: &Partition,
    run: &[Segment],
    latest: &HashMap<Bytes, Offset>,
    forget_before: i64,
) -> io::Result<Segment> {
    let base = run.first().map_or(0, |(segment, _)| segment.base);
    let end = run.last().map_or(base, |(_, extent)| extent.end);
    let generation = run.iter().map(|(segment, _)| segment.generation).max().unwrap_or(0) + 1;
    let fresh = SegmentFile::create(&partition.folder(), base, generation)?;
    let mut extent = Extent::empty(base);
    for (segment, old) in run {
        let mut frames = Frames::new(Arc::clone(segment), 0, old.bytes);
        while let Some(bytes) = frames.next().map_err(damaged)? {
            let (Some((key, null)), Some((offset, at_ms))) = (frame::key_of(bytes), frame::stamp(bytes)) else {
                continue;
            };
            if latest.get(key) == Some(&offset) && !(null && at_ms < forget_before) {
                fresh.file.write_all_at(bytes, extent.bytes)?;
                extent.grow(offset, bytes.len() as u64, offset + 1, at_ms);
            }
        }
    }
    extent.end = end;
    fresh.seal(&extent)?;
    Ok((Arc::new(fresh), extent))
}

/// Only the keeper takes segments away, so the run is still there unless the topic is gone.
fn replace(partition: &Partition, run: &[Segment], fresh: Segment) -> io::Result<()> {
    let mut log = lock(&partition.log);
    let begin = run.first().and_then(|(old, _)| log.segments.iter().position(|(s, _)| Arc::ptr_eq(s, old)));
    let Some(begin) = begin.filter(|_| log.gone.is_none()) else {
        drop(log);
        return fresh.0.remove();
    };
    log.segments.splice(begin..begin + run.len(), [fresh]);
    drop(log);
    run.iter().try_for_each(|(old, _)| old.remove())
}
