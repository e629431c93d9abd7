//! What a partition's folder holds after any end of the process.
//!
//! An index is believed for the bytes it covers; what stands behind them is walked frame by frame to the first that
//! is not whole. Segments follow each other without a gap (`end` of one is the base of the next), so a tear or a gap
//! ends the log there: what stands behind it would be a hole and is moved aside, with an alarm in the log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate_protocol::address::{Offset, TopicPartition};

use crate::frame;
use crate::segment::{Broken, Extent, Frames, SegmentFile, parse_name};

type Segments = Vec<(Arc<SegmentFile>, Extent)>;

/// The segments of a partition in order, each whole; a torn end is cut off.
///
/// # Errors
/// When the folder or a file cannot be read or changed.
pub(crate) fn segments(folder: &Path, at: &TopicPartition) -> io::Result<Segments> {
    let mut log: Segments = Vec::new();
    for (segment, indexed) in candidates(folder)? {
        let expected = log.last().map(|(_, extent): &(_, Extent)| extent.end);
        if expected.is_some_and(|end| segment.base < end) {
            // Compaction put a segment before it that covers it, and did not come to delete it.
            segment.remove()?;
            continue;
        }
        if expected.is_some_and(|end| segment.base > end) {
            let aside = segment.set_aside()?;
            tracing::error!(partition = %at, file = %aside.display(), "records behind a torn segment were set aside");
            continue;
        }
        let (extent, whole) = walk(&segment, indexed)?;
        if !whole {
            tracing::warn!(partition = %at, end = extent.end, "the log ended in an unfinished write, which was cut off");
            segment.file.set_len(extent.bytes)?;
        }
        log.push((segment, extent));
    }
    Ok(log)
}

/// The newest generation of each base that counts, the others removed.
fn candidates(folder: &Path) -> io::Result<Vec<(Arc<SegmentFile>, Option<Extent>)>> {
    let mut found: BTreeMap<Offset, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some((base, generation)) = entry.file_name().to_str().and_then(|name| parse_name(name, "log")) {
            found.entry(base).or_default().push(generation);
        }
    }
    let mut kept = Vec::new();
    for (base, mut generations) in found {
        generations.sort_unstable_by(|a, b| b.cmp(a));
        let mut chosen = false;
        for generation in generations {
            let segment = SegmentFile::open(folder, base, generation)?;
            let index = segment.index();
            if chosen || (generation > 0 && index.is_none()) {
                segment.remove()?;
                continue;
            }
            chosen = true;
            kept.push((Arc::new(segment), index));
        }
    }
    Ok(kept)
}

/// How far the segment is whole, and whether that is all of the file.
fn walk(segment: &Arc<SegmentFile>, indexed: Option<Extent>) -> io::Result<(Extent, bool)> {
    let length = segment.file.metadata()?.len();
    let mut extent = indexed.filter(|index| index.bytes <= length).unwrap_or_else(|| Extent::empty(segment.base));
    let mut frames = Frames::new(Arc::clone(segment), extent.bytes, length);
    loop {
        let at = frames.at;
        match frames.next() {
            Ok(None) => return Ok((extent, true)),
            Ok(Some(bytes)) => {
                let Some((offset, timestamp_ms)) = frame::stamp(bytes).filter(|(o, _)| *o >= extent.end) else {
                    return Ok((extent, false));
                };
                let length = bytes.len() as u64;
                debug_assert_eq!(at, extent.bytes);
                extent.grow(offset, length, offset + 1, timestamp_ms);
            }
            Err(Broken::At(_)) => return Ok((extent, false)),
            Err(Broken::Io(error)) => return Err(error),
        }
    }
}
