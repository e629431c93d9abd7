//! One segment file, what is known of it, and its index file.
//!
//! `BASE.GENERATION.log` holds frames whose offsets are at or above BASE; `BASE.GENERATION.idx` says, once the data
//! is synced, how far the file is whole, where its range of offsets ends and where some records stand. Generation 0
//! is what writers append to; compaction writes higher ones, which count only with their index.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Buf;
use tidegate_protocol::address::Offset;

use crate::frame::{self, Front};

/// A point is noted about every so many bytes of a file.
const POINT_EVERY: u64 = 64 << 10;
/// How much is read at once, if the next record is not larger.
pub(crate) const CHUNK: usize = 256 << 10;
/// The largest body believed; topics take no larger record.
pub(crate) const LARGEST: usize = 1 << 30;
const MAGIC: &[u8; 8] = b"tgindex1";

/// An open segment file. Dropping it closes it; deleting the file does not disturb who still reads.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) base: Offset,
    pub(crate) generation: u32,
    pub(crate) file: File,
    folder: PathBuf,
}

/// What is known of a segment: as far as it is whole and readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes.
    pub(crate) bytes: u64,
    /// One above the last offset of its range; where the next segment begins.
    pub(crate) end: Offset,
    /// Timestamp of its newest record, `i64::MIN` without records.
    pub(crate) newest_ms: i64,
    /// Some records: offset and where in the file.
    points: Vec<(Offset, u64)>,
}

impl Extent {
    pub(crate) fn empty(base: Offset) -> Self {
        Self { bytes: 0, end: base, newest_ms: i64::MIN, points: Vec::new() }
    }

    /// Notes `bytes` more, whose first record is `first` and whose newest is of `newest_ms`, up to `end`.
    pub(crate) fn grow(&mut self, first: Offset, bytes: u64, end: Offset, newest_ms: i64) {
        if self.points.last().is_none_or(|(_, at)| self.bytes - at >= POINT_EVERY) {
            self.points.push((first, self.bytes));
        }
        self.bytes += bytes;
        self.end = end;
        self.newest_ms = self.newest_ms.max(newest_ms);
    }

    /// Where to begin looking for `offset`.
    pub(crate) fn near(&self, offset: Offset) -> u64 {
        let after = self.points.partition_point(|(o, _)| *o <= offset);
        after.checked_sub(1).and_then(|n| self.points.get(n)).map_or(0, |(_, at)| *at)
    }
}

impl SegmentFile {
    pub(crate) fn create(folder: &Path, base: Offset, generation: u32) -> io::Result<Self> {
        let path = folder.join(name(base, generation, "log"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { base, generation, file, folder: folder.to_owned() })
    }

    pub(crate) fn open(folder: &Path, base: Offset, generation: u32) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(folder.join(name(base, generation, "log")))?;
        Ok(Self { base, generation, file, folder: folder.to_owned() })
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(name(self.base, self.generation, kind))
    }

    /// Syncs the data, then writes the index beside it.
    pub(crate) fn seal(&self, extent: &Extent) -> io::Result<()> {
        self.file.sync_data()?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&extent.bytes.to_le_bytes());
        out.extend_from_slice(&extent.end.to_le_bytes());
        out.extend_from_slice(&extent.newest_ms.to_le_bytes());
        for (offset, at) in &extent.points {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let written = self.path("idx.new");
        let file = File::create(&written)?;
        file.write_all_at(&out, 0)?;
        file.sync_data()?;
        std::fs::rename(&written, self.path("idx"))?;
        File::open(&self.folder)?.sync_data()
    }

    /// What the index says, if there is one and it is whole.
    pub(crate) fn index(&self) -> Option<Extent> {
        let bytes = std::fs::read(self.path("idx")).ok()?;
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let mut rest = body.strip_prefix(MAGIC)?;
        if crc != crc32fast::hash(body).to_le_bytes() || rest.len() < 24 {
            return None;
        }
        let mut extent = Extent::empty(self.base);
        (extent.bytes, extent.end, extent.newest_ms) = (rest.get_u64_le(), rest.get_u64_le(), rest.get_i64_le());
        while rest.len() >= 16 {
            extent.points.push((rest.get_u64_le(), rest.get_u64_le()));
        }
        Some(extent)
    }

    /// Removes both files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for kind in ["log", "idx"] {
            match std::fs::remove_file(self.path(kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves the data aside, to be looked at by people.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path("after-tear");
        std::fs::rename(self.path("log"), &aside)?;
        Ok(aside)
    }
}

fn name(base: Offset, generation: u32, kind: &str) -> String {
    format!("{base:020}.{generation}.{kind}")
}

/// Base and generation of the segment a file name stands for.
pub(crate) fn parse_name(name: &str, kind: &str) -> Option<(Offset, u32)> {
    let (base, rest) = name.split_once('.')?;
    let (generation, found) = rest.split_once('.')?;
    (found == kind).then(|| Some((base.parse().ok()?, generation.parse().ok()?))).flatten()
}

/// Why frames could not be read on.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    /// No whole frame at this place of the file.
    At(u64),
}

/// Walks the frames of a file.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) segment: Arc<SegmentFile>,
    /// The file ends here for this walk; may be raised later.
    pub(crate) until: u64,
    /// Place in the file of the next frame.
    pub(crate) at: u64,
    chunk: Vec<u8>,
    used: usize,
}

impl Frames {
    pub(crate) fn new(segment: Arc<SegmentFile>, at: u64, until: u64) -> Self {
        Self { segment, until, at, chunk: Vec::new(), used: 0 }
    }

    /// The next frame, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        if self.at >= self.until {
            return Ok(None);
        }
        let mut found = frame::front(self.chunk.get(self.used..).unwrap_or_default(), LARGEST);
        if let Front::Part(needed) = found {
            let left = usize::try_from(self.until - self.at).unwrap_or(usize::MAX);
            if needed > left {
                return Err(Broken::At(self.at));
            }
            // A prefix alone does not tell the frame's length yet: a second round reads a frame above a chunk.
            self.chunk.resize(needed.max(CHUNK.min(left)), 0);
            self.used = 0;
            self.segment.file.read_exact_at(&mut self.chunk, self.at).map_err(Broken::Io)?;
            found = frame::front(&self.chunk, LARGEST);
            if let Front::Part(needed) = found {
                if needed > left {
                    return Err(Broken::At(self.at));
                }
                self.chunk.resize(needed, 0);
                self.segment.file.read_exact_at(&mut self.chunk, self.at).map_err(Broken::Io)?;
                found = frame::front(&self.chunk, LARGEST);
            }
        }
        let Front::Whole(length) = found else { return Err(Broken::At(self.at)) };
        let begin = self.used;
        self.used += length;
        self.at += length as u64;
        Ok(self.chunk.get(begin..begin + length))
    }
}
