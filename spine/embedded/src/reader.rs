//! Reading: from memory what is recent, from the files what is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{ReadError, ReadHandle, ReadProgress, Reader, Record, Start};

use crate::frame;
use crate::partition::{Gone, Log, Partition, lock};
use crate::segment::{Broken, Frames};
use crate::spine::Core;

/// Tells the wakers of one partition apart.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

pub(crate) struct EmbeddedReader {
    core: Arc<Core>,
    open: HashMap<ReadHandle, Cursor>,
    next: u32,
}

struct Cursor {
    from: TopicPartition,
    /// `None`: there was no such partition when it was opened.
    partition: Option<Arc<Partition>>,
    start: Start,
    /// `None` until the first read.
    position: Option<Offset>,
    id: u64,
    paused: bool,
    /// Who polled while it was paused.
    waiting: Option<Waker>,
    error: Option<ReadError>,
    /// Where it stands in a file.
    file: Option<Frames>,
}

/// What there is at a position.
enum Next {
    Nothing,
    /// Records were pushed from memory.
    Pushed(Offset),
    /// Records are in a file; where its range ends.
    File(Offset),
}

impl EmbeddedReader {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, open: HashMap::new(), next: 0 }
    }
}

impl Cursor {
    fn read(&mut self, max: usize, cx: &Context<'_>, into: &mut Vec<Record>) -> Poll<Result<Offset, ReadError>> {
        let Some(partition) = self.partition.clone() else {
            return Poll::Ready(Err(ReadError::UnknownTopic { from: self.from.clone() }));
        };
        let before = into.len();
        let began = self.position;
        loop {
            let mut log = lock(&partition.log);
            let position = match self.place(&log) {
                Ok(position) => position,
                Err(error) => return Poll::Ready(Err(error)),
            };
            match self.look(&mut log, position, max, into) {
                Next::Pushed(position) => {
                    self.position = Some(position);
                    return Poll::Ready(Ok(position));
                }
                Next::Nothing if began.is_some_and(|b| b < position) => return Poll::Ready(Ok(position)),
                Next::Nothing => {
                    log.wait(self.id, cx.waker());
                    return Poll::Pending;
                }
                Next::File(end) => {
                    drop(log);
                    let outcome = self.read_file(position, end, max, into);
                    // What came before a damaged place is delivered first; the next read meets it again.
                    match outcome {
                        _ if into.len() > before => return Poll::Ready(Ok(self.position.unwrap_or(position))),
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(()) => {}
                    }
                }
            }
        }
    }

    /// The next offset, checked against what the log holds.
    fn place(&mut self, log: &Log) -> Result<Offset, ReadError> {
        match &log.gone {
            Some(Gone::Deleted) => return Err(ReadError::UnknownTopic { from: self.from.clone() }),
            Some(Gone::Failed(reason)) => return Err(ReadError::Fatal { reason: reason.clone() }),
            None => {}
        }
        let position = match (self.position, self.start) {
            (Some(position), _) | (None, Start::At(position)) => position,
            (None, Start::Earliest) => log.start,
        };
        if position < log.start || position > log.end {
            let start = Some(log.start);
            return Err(ReadError::Truncated { from: self.from.clone(), requested: position, start });
        }
        self.position = Some(position);
        Ok(position)
    }

    fn look(&mut self, log: &mut Log, position: Offset, max: usize, into: &mut Vec<Record>) -> Next {
        if position >= log.end {
            return Next::Nothing;
        }
        if let Some(skip) = position.checked_sub(log.tail_from()) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let before = into.len();
            into.extend(log.tail.iter().skip(skip).take(max.max(1)).cloned());
            self.file = None;
            return Next::Pushed(position + (into.len() - before) as u64);
        }
        let after = log.segments.partition_point(|(segment, _)| segment.base <= position);
        let Some((segment, extent)) = after.checked_sub(1).and_then(|n| log.segments.get(n)) else {
            return Next::Nothing;
        };
        match &mut self.file {
            Some(frames) if Arc::ptr_eq(&frames.segment, segment) => frames.until = extent.bytes,
            stale => *stale = Some(Frames::new(Arc::clone(segment), extent.near(position), extent.bytes)),
        }
        Next::File(extent.end)
    }

    /// Pushes up to `max` records at or above `position` of the file; at its end the position moves to `end`.
    fn read_file(
        &mut self,
        position: Offset,
        end: Offset,
        max: usize,
        into: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let from = &self.from;
        let damaged = |what: String| ReadError::Fatal { reason: format!("`{from}` cannot be read: {what}") };
        let Some(frames) = &mut self.file else { return Ok(()) };
        let mut missing = max.max(1);
        while missing > 0 {
            let at = frames.at;
            let bytes = match frames.next() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    self.position = Some(end.max(position));
                    return Ok(());
                }
                Err(Broken::Io(error)) => return Err(damaged(error.to_string())),
                Err(Broken::At(at)) => return Err(damaged(format!("a segment is damaged at byte {at}"))),
            };
            if frame::stamp(bytes).is_some_and(|(offset, _)| offset < position) {
                continue;
            }
            let record = frame::decode(bytes).ok_or_else(|| damaged(format!("a segment is damaged at byte {at}")))?;
            self.position = Some(record.offset + 1);
            into.push(record);
            missing -= 1;
        }
        Ok(())
    }

    fn forget(&self) {
        if let Some(partition) = &self.partition {
            lock(&partition.log).forget(self.id);
        }
    }
}

impl Reader for EmbeddedReader {
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle {
        let handle = ReadHandle(self.next);
        self.next += 1;
        let cursor = Cursor {
            from: partition.clone(),
            partition: self.core.catalog.partition(partition),
            start,
            position: None,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            paused: false,
            waiting: None,
            error: None,
            file: None,
        };
        self.open.insert(handle, cursor);
        handle
    }

    fn close(&mut self, handle: ReadHandle) {
        if let Some(cursor) = self.open.remove(&handle) {
            cursor.forget();
        }
    }

    fn poll_read(
        &mut self,
        handle: ReadHandle,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>> {
        let Some(cursor) = self.open.get_mut(&handle) else {
            return Poll::Ready(Err(ReadError::Fatal { reason: "the handle was closed".into() }));
        };
        if let Some(error) = &cursor.error {
            return Poll::Ready(Err(error.clone()));
        }
        if cursor.paused {
            cursor.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        cursor.read(max, cx, into).map(|read| match read {
            Ok(position) => Ok(ReadProgress { position }),
            Err(error) => {
                cursor.error = Some(error.clone());
                Err(error)
            }
        })
    }

    fn pause(&mut self, handle: ReadHandle) {
        if let Some(cursor) = self.open.get_mut(&handle) {
            cursor.paused = true;
            cursor.forget();
        }
    }

    fn resume(&mut self, handle: ReadHandle) {
        if let Some(cursor) = self.open.get_mut(&handle) {
            cursor.paused = false;
            if let Some(waker) = cursor.waiting.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        self.open.values().for_each(Cursor::forget);
    }
}
