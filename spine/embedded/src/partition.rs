//! One partition: what waits to be written, what is written, and who waits for more.
//!
//! Three locks, never held together except `file` then `log`: `queue` between producers and the writer thread, `file`
//! for whoever writes (the writer thread, or the keeper when it closes a segment by age), `log` for readers. None is
//! held over a system call but `file`.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::channel::oneshot;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{AppendError, Cleanup, Ends, Landed, NewRecord, Record};

use crate::frame;
use crate::options::Durability;
use crate::segment::{Extent, SegmentFile};

/// A partition that is written to keeps this much in memory whatever the others hold.
const TAIL_ALWAYS: usize = 256 << 10;
/// No partition keeps more than this.
const TAIL_MOST: usize = 16 << 20;
/// Kept beside the bytes of a record: its place in the queue and its headers' list, roughly.
const TAIL_OVERHEAD: usize = 160;
/// What one write of a partition takes at most, unless a single append is larger.
const GROUP_BYTES: usize = 4 << 20;

/// Nothing behind our locks is left half-changed by a panic, so a poisoned one is used on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the partitions of a topic share.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) max_record_bytes: AtomicUsize,
    pub(crate) cleanup: Mutex<Cleanup>,
}

/// One append on its way.
pub(crate) struct Handed {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) bytes: usize,
    pub(crate) landing: oneshot::Sender<Result<Landed, AppendError>>,
    /// The producer's bytes in flight.
    pub(crate) account: Arc<AtomicUsize>,
}

impl Handed {
    pub(crate) fn end(self, outcome: Result<Landed, AppendError>) {
        self.account.fetch_sub(self.bytes, Ordering::AcqRel);
        // Nobody has to wait for a landing.
        drop(self.landing.send(outcome));
    }
}

#[derive(Default)]
struct Queue {
    handed: VecDeque<Handed>,
    /// The writer thread knows of it.
    announced: bool,
}

/// What the thread that writes needs.
struct FileSide {
    folder: PathBuf,
    active: Arc<SegmentFile>,
    bytes: u64,
    next: Offset,
    newest_ms: i64,
}

/// What readers see.
pub(crate) struct Log {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// The records from `end - tail.len()` on; offsets of one process run have no gaps.
    pub(crate) tail: VecDeque<Record>,
    tail_bytes: usize,
    /// By base; the last one is written to.
    pub(crate) segments: Vec<(Arc<SegmentFile>, Extent)>,
    wakers: Vec<(u64, Waker)>,
    /// Set once: why the partition is of no use any more.
    pub(crate) gone: Option<Gone>,
}

/// Why a partition is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Its topic was deleted.
    Deleted,
    /// Its disk failed.
    Failed(String),
}

/// A group that is in the file but not shown yet.
pub(crate) struct Written {
    partition: Arc<Partition>,
    segment: Arc<SegmentFile>,
    appends: Vec<(Handed, Landed)>,
    first: Offset,
    bytes: u64,
    end: Offset,
    now_ms: i64,
}

/// See the module.
pub(crate) struct Partition {
    pub(crate) at: TopicPartition,
    pub(crate) settings: Arc<Settings>,
    /// The writer thread it belongs to.
    pub(crate) writer: usize,
    /// Set with `Log::gone`, to be looked at without its lock.
    pub(crate) unusable: AtomicBool,
    segment_bytes: u64,
    durability: Durability,
    memory: Memory,
    queue: Mutex<Queue>,
    file: Mutex<FileSide>,
    pub(crate) log: Mutex<Log>,
}

/// The memory all partitions share for recent records.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }
}

/// What a partition is opened with.
pub(crate) struct Opening {
    pub(crate) at: TopicPartition,
    pub(crate) settings: Arc<Settings>,
    pub(crate) writer: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) memory: Memory,
    pub(crate) folder: PathBuf,
    pub(crate) segments: Vec<(Arc<SegmentFile>, Extent)>,
    pub(crate) trimmed: Offset,
}

impl Partition {
    /// A partition as recovery found it.
    ///
    /// # Errors
    /// When its first segment cannot be made.
    pub(crate) fn open(opening: Opening) -> io::Result<Self> {
        let Opening { at, settings, writer, segment_bytes, durability, memory, folder, mut segments, trimmed } =
            opening;
        // Writers append to generation 0 only; behind a compacted segment a new one begins.
        if segments.last().is_none_or(|(segment, _)| segment.generation > 0) {
            let base = segments.last().map_or(0, |(_, extent)| extent.end);
            segments.push((Arc::new(SegmentFile::create(&folder, base, 0)?), Extent::empty(base)));
        }
        let newest_ms = segments.iter().map(|(_, extent)| extent.newest_ms).max().unwrap_or(i64::MIN);
        let first = segments.first().map_or(0, |(segment, _)| segment.base);
        let Some((active, extent)) = segments.last().cloned() else {
            return Err(io::Error::other("a partition has at least one segment"));
        };
        let file = FileSide { folder, active, bytes: extent.bytes, next: extent.end, newest_ms };
        let log = Log {
            start: trimmed.clamp(first, extent.end.max(first)),
            end: extent.end,
            tail: VecDeque::new(),
            tail_bytes: 0,
            segments,
            wakers: Vec::new(),
            gone: None,
        };
        Ok(Self {
            at,
            settings,
            writer,
            unusable: AtomicBool::new(false),
            segment_bytes,
            durability,
            memory,
            queue: Mutex::default(),
            file: Mutex::new(file),
            log: Mutex::new(log),
        })
    }

    /// Takes an append; `true` when the writer thread has to be told.
    pub(crate) fn hand_over(&self, handed: Handed) -> bool {
        let mut queue = lock(&self.queue);
        queue.handed.push_back(handed);
        !std::mem::replace(&mut queue.announced, true)
    }

    /// The next group, and whether more is left for another one.
    fn take_group(&self) -> (Vec<Handed>, bool) {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let mut group = Vec::with_capacity(queue.handed.len().min(1024));
        while let Some(handed) = queue.handed.pop_front_if(|h| bytes == 0 || bytes + h.bytes <= GROUP_BYTES) {
            bytes += handed.bytes + 1;
            group.push(handed);
        }
        queue.announced = !queue.handed.is_empty();
        (group, queue.announced)
    }

    /// Writes the next group. `None` when there was nothing or it failed (its appends then have their error). The
    /// flag says that more is left. `closed` is told of a segment that is full.
    pub(crate) fn write(
        self: &Arc<Self>,
        now_ms: i64,
        buffer: &mut Vec<u8>,
        closed: &mut impl FnMut(Arc<SegmentFile>),
    ) -> (Option<Written>, bool) {
        let (group, more) = self.take_group();
        if group.is_empty() {
            return (None, more);
        }
        if let Some(gone) = lock(&self.log).gone.clone() {
            let error = self.append_error(&gone);
            group.into_iter().for_each(|handed| handed.end(Err(error.clone())));
            return (None, more);
        }
        let mut side = lock(&self.file);
        let now_ms = now_ms.max(side.newest_ms);
        let first = side.next;
        let mut next = first;
        let mut places = Vec::with_capacity(group.len());
        buffer.clear();
        for handed in &group {
            let begin = next;
            for record in &handed.records {
                frame::encode(record, next, now_ms, buffer);
                next += 1;
            }
            places.push(Landed { first: begin, last: next.saturating_sub(1).max(begin) });
        }
        let written = self.write_group(&mut side, buffer, closed);
        match written {
            Ok(()) => {
                side.bytes += buffer.len() as u64;
                side.next = next;
                side.newest_ms = now_ms;
                let written = Written {
                    partition: Arc::clone(self),
                    segment: Arc::clone(&side.active),
                    appends: group.into_iter().zip(places).collect(),
                    first,
                    bytes: buffer.len() as u64,
                    end: next,
                    now_ms,
                };
                (Some(written), more)
            }
            Err(error) => {
                // What got into the file is cut off again; if not even that works, nothing can be said of the file.
                let error = match side.active.file.set_len(side.bytes) {
                    Ok(()) => AppendError::Refused { to: self.at.clone(), reason: error.to_string() },
                    Err(_) => self.fail(error.to_string()),
                };
                tracing::error!(partition = %self.at, %error, "records could not be written");
                drop(side);
                group.into_iter().for_each(|handed| handed.end(Err(error.clone())));
                (None, more)
            }
        }
    }

    fn write_group(
        &self,
        side: &mut FileSide,
        buffer: &[u8],
        closed: &mut impl FnMut(Arc<SegmentFile>),
    ) -> io::Result<()> {
        if side.bytes > 0 && side.bytes + buffer.len() as u64 > self.segment_bytes() {
            closed(self.roll(side)?);
        }
        side.active.file.write_all_at(buffer, side.bytes)
    }

    /// Keyed topics get smaller segments: what is compacted is only what is closed.
    fn segment_bytes(&self) -> u64 {
        match *lock(&self.settings.cleanup) {
            Cleanup::Log { .. } => self.segment_bytes,
            Cleanup::Keyed => self.segment_bytes / 4,
        }
    }

    /// Begins a new segment; the one before it is returned.
    fn roll(&self, side: &mut FileSide) -> io::Result<Arc<SegmentFile>> {
        let segment = Arc::new(SegmentFile::create(&side.folder, side.next, 0)?);
        // Only a power cut can take a name away again. To sync one waits for whatever else the file system has to write,
        // a few hundred milliseconds under load, and all partitions of this writer with it.
        if self.durability == Durability::Fsync {
            std::fs::File::open(&side.folder)?.sync_data()?;
        }
        let mut log = lock(&self.log);
        log.segments.push((Arc::clone(&segment), Extent::empty(side.next)));
        side.bytes = 0;
        Ok(std::mem::replace(&mut side.active, segment))
    }

    /// Closes the segment that is written to when it has records and all of them are older than `before_ms`.
    pub(crate) fn roll_if_older(&self, before_ms: i64) -> io::Result<Option<Arc<SegmentFile>>> {
        let mut side = lock(&self.file);
        // Nothing of a group that is written but not shown may be passed over: then `end` lags behind `next`.
        if side.bytes == 0 || side.newest_ms >= before_ms || lock(&self.log).end != side.next {
            return Ok(None);
        }
        self.roll(&mut side).map(Some)
    }

    fn append_error(&self, gone: &Gone) -> AppendError {
        match gone {
            Gone::Deleted => AppendError::UnknownTopic { to: self.at.clone() },
            Gone::Failed(reason) => AppendError::Fatal { reason: reason.clone() },
        }
    }

    /// The disk failed; nothing is written to this partition before the next start.
    fn fail(&self, reason: String) -> AppendError {
        tracing::error!(partition = %self.at, reason, "the partition is out of use until the next start");
        self.end_use(Gone::Failed(reason.clone()));
        AppendError::Fatal { reason }
    }

    /// Marks it as gone and wakes everybody who waits.
    pub(crate) fn end_use(&self, gone: Gone) {
        self.unusable.store(true, Ordering::Release);
        let mut log = lock(&self.log);
        log.gone.get_or_insert(gone);
        self.memory.used.fetch_sub(log.tail_bytes, Ordering::Relaxed);
        log.tail_bytes = 0;
        let (wakers, tail) = (std::mem::take(&mut log.wakers), std::mem::take(&mut log.tail));
        drop(log);
        drop(tail);
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// First and next offset.
    pub(crate) fn ends(&self) -> Ends {
        let log = lock(&self.log);
        Ends { start: log.start, end: log.end }
    }

    /// Sets the start and lets go of whole segments below it; files are removed by the caller.
    pub(crate) fn trim(&self, before: Offset) -> (Offset, Vec<Arc<SegmentFile>>) {
        let mut log = lock(&self.log);
        log.start = log.start.max(before.min(log.end));
        let start = log.start;
        let whole = log.segments.iter().take_while(|(_, extent)| extent.end <= start).count();
        // The last one is written to.
        let whole = whole.min(log.segments.len().saturating_sub(1));
        let gone = log.segments.drain(..whole).map(|(segment, _)| segment).collect();
        (start, gone)
    }

    /// One above the last record of the closed segments whose records are all older than `before_ms`.
    pub(crate) fn older_than(&self, before_ms: i64) -> Offset {
        let log = lock(&self.log);
        let closed = log.segments.len().saturating_sub(1);
        let old = log.segments.iter().take(closed).take_while(|(_, extent)| extent.newest_ms < before_ms);
        old.last().map_or(0, |(_, extent)| extent.end)
    }

    /// The folder of its files.
    pub(crate) fn folder(&self) -> PathBuf {
        lock(&self.file).folder.clone()
    }

    /// Syncs and indexes the segment that is written to, so that the next start need not read it.
    pub(crate) fn seal_active(&self) -> io::Result<()> {
        let last = lock(&self.log).segments.last().cloned();
        match last {
            Some((segment, extent)) if extent.bytes > 0 => segment.seal(&extent),
            _ => Ok(()),
        }
    }

    /// Syncs and indexes a closed segment, if it is still part of the log.
    pub(crate) fn seal(&self, closed: &Arc<SegmentFile>) -> io::Result<()> {
        let found = lock(&self.log).segments.iter().find(|(s, _)| Arc::ptr_eq(s, closed)).cloned();
        found.map_or(Ok(()), |(segment, extent)| segment.seal(&extent))
    }
}

impl Written {
    /// Syncs the file; on failure the appends have their error and the partition is out of use.
    pub(crate) fn sync(self) -> Option<Self> {
        match self.segment.file.sync_data() {
            Ok(()) => Some(self),
            Err(error) => {
                let error = self.partition.fail(format!("sync failed: {error}"));
                self.appends.into_iter().for_each(|(handed, _)| handed.end(Err(error.clone())));
                None
            }
        }
    }

    /// Shows the group to readers, wakes those who wait, completes the landings.
    pub(crate) fn show(mut self, evicted: &mut Vec<Record>) {
        let partition = &self.partition;
        let mut log = lock(&partition.log);
        if let Some(gone) = log.gone.clone() {
            drop(log);
            let error = partition.append_error(&gone);
            self.appends.into_iter().for_each(|(handed, _)| handed.end(Err(error.clone())));
            return;
        }
        let mut added = 0;
        for (handed, landed) in &mut self.appends {
            for (offset, record) in (landed.first..).zip(handed.records.drain(..)) {
                let NewRecord { key, value, headers } = record;
                let record = Record { offset, timestamp_ms: self.now_ms, key, value, headers };
                added += record.bytes() + TAIL_OVERHEAD;
                log.tail.push_back(record);
            }
        }
        log.tail_bytes += added;
        log.end = self.end;
        if let Some((_, extent)) = log.segments.iter_mut().rfind(|(s, _)| Arc::ptr_eq(s, &self.segment)) {
            extent.grow(self.first, self.bytes, self.end, self.now_ms);
        }
        let all = partition.memory.used.fetch_add(added, Ordering::Relaxed) + added;
        let over = all.saturating_sub(partition.memory.limit);
        let keep = TAIL_MOST.min(log.tail_bytes.saturating_sub(over).max(TAIL_ALWAYS));
        let before = log.tail_bytes;
        while log.tail_bytes > keep {
            let Some(record) = log.tail.pop_front() else { break };
            log.tail_bytes -= record.bytes() + TAIL_OVERHEAD;
            evicted.push(record);
        }
        partition.memory.used.fetch_sub(before - log.tail_bytes, Ordering::Relaxed);
        let wakers = std::mem::take(&mut log.wakers);
        drop(log);
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
        self.appends.into_iter().for_each(|(handed, landed)| handed.end(Ok(landed)));
        evicted.clear();
    }
}

impl Log {
    /// The first offset that is in memory.
    pub(crate) fn tail_from(&self) -> Offset {
        self.end - self.tail.len() as u64
    }

    /// Wakes `waker` at the next change; one waker for each `id`.
    pub(crate) fn wait(&mut self, id: u64, waker: &Waker) {
        match self.wakers.iter_mut().find(|(other, _)| *other == id) {
            Some((_, known)) => known.clone_from(waker),
            None => self.wakers.push((id, waker.clone())),
        }
    }

    /// Forgets the waker of `id`.
    pub(crate) fn forget(&mut self, id: u64) {
        self.wakers.retain(|(other, _)| *other != id);
    }
}

/// Whether a folder entry can be made there; the error names the folder.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", folder.display())))
}
