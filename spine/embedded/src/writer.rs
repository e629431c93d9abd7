//! Who writes.
//!
//! With `durability=os` a write is a copy into the page cache, a few microseconds: the appender that finds nobody writing
//! does it itself, with whatever else waits. To hand it to a thread costs more than the write, and on a busy machine that
//! thread waits a time slice for a processor, twice a decision. An appender that has written much for others leaves the
//! rest to the writer thread, so that none of them writes for ever.
//!
//! With `fsync` threads write, since a sync waits for the disk.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender};
use crossbeam::queue::SegQueue;

use crate::keeper::Duty;
use crate::partition::{Partition, Written, lock};

/// How many partitions one round writes at most, so that the first of them need not wait for all.
const ROUND: usize = 64;
/// Groups an appender writes before the thread goes on.
const WRITES: usize = 16;
/// A buffer that has grown beyond this is not kept.
const BUFFER: usize = 8 << 20;

/// Milliseconds since the Unix epoch; 0 for a clock before it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What writing needs.
#[derive(Default)]
struct Pen {
    buffer: Vec<u8>,
    evicted: Vec<tidegate_spine::Record>,
}

impl Pen {
    /// Writes the next group of a partition, without syncing or showing it; and whether more is left of it.
    fn write(&mut self, partition: &Arc<Partition>, now: i64, keeper: &Sender<Duty>) -> (Option<Written>, bool) {
        // The keeper lives longer than whoever writes.
        let mut closed = |segment| drop(keeper.send(Duty::Seal(Arc::clone(partition), segment)));
        let written = partition.write(now, &mut self.buffer, &mut closed);
        if self.buffer.capacity() > BUFFER {
            self.buffer = Vec::new();
        }
        written
    }

    fn show(&mut self, written: Written) {
        written.show(&mut self.evicted);
    }
}

/// What waits to be written with `durability=os`, and the pen that one at a time has.
pub(crate) struct Desk {
    waiting: SegQueue<Arc<Partition>>,
    pen: Mutex<Pen>,
    keeper: Sender<Duty>,
}

impl Desk {
    pub(crate) fn new(keeper: Sender<Duty>) -> Self {
        Self { waiting: SegQueue::new(), pen: Mutex::default(), keeper }
    }

    /// Something waits at `partition`. True when the thread is to be told, because much is left.
    pub(crate) fn announce(&self, partition: Arc<Partition>) -> bool {
        self.waiting.push(partition);
        loop {
            // Whoever has the pen looks once more after putting it down. Of the two, at least one sees what the other did.
            fence(Ordering::SeqCst);
            let mut pen = match self.pen.try_lock() {
                Ok(pen) => pen,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            let all = self.write(&mut pen, WRITES);
            drop(pen);
            fence(Ordering::SeqCst);
            if !all {
                return true;
            }
            if self.waiting.is_empty() {
                return false;
            }
        }
    }

    /// Writes up to `most` groups; whether that was all.
    fn write(&self, pen: &mut Pen, most: usize) -> bool {
        for _ in 0..most {
            let Some(partition) = self.waiting.pop() else { return true };
            let (written, more) = pen.write(&partition, now_ms(), &self.keeper);
            if let Some(written) = written {
                pen.show(written);
            }
            if more {
                self.waiting.push(partition);
            }
        }
        self.waiting.is_empty()
    }

    /// The thread: writes what appenders leave, until `told` ends; then what is left.
    pub(crate) fn run(&self, told: &Receiver<()>) {
        loop {
            let goes_on = told.recv().is_ok();
            while !self.waiting.is_empty() {
                self.write(&mut lock(&self.pen), ROUND);
                // As after every use of the pen: whoever announced while it was taken relies on being seen now.
                fence(Ordering::SeqCst);
            }
            if !goes_on {
                return;
            }
        }
    }
}

/// Writes and syncs whatever partitions announce until `None` arrives; what was announced before it is written.
pub(crate) fn run_synced(announced: &Receiver<Option<Arc<Partition>>>, keeper: &Sender<Duty>) {
    let mut pen = Pen::default();
    let mut round: Vec<Arc<Partition>> = Vec::new();
    let mut again = Vec::new();
    let mut unsynced = Vec::new();
    let mut stopping = false;
    loop {
        if round.is_empty() {
            match announced.recv() {
                Ok(Some(partition)) => round.push(partition),
                _ => return,
            }
        }
        while !stopping && round.len() < ROUND {
            match announced.try_recv() {
                Ok(Some(partition)) => round.push(partition),
                Ok(None) => stopping = true,
                Err(_) => break,
            }
        }
        let now = now_ms();
        for partition in round.drain(..) {
            let (written, more) = pen.write(&partition, now, keeper);
            unsynced.extend(written);
            if more {
                again.push(partition);
            }
        }
        for written in unsynced.drain(..) {
            if let Some(synced) = Written::sync(written) {
                pen.show(synced);
            }
        }
        std::mem::swap(&mut round, &mut again);
        if stopping && round.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::join_all;
    use tidegate_protocol::address::TopicName;
    use tidegate_spine::{Cleanup, NewRecord, ProducerOptions, Spine, TopicSpec};

    use crate::{EmbeddedOptions, EmbeddedSpine};

    /// A spine with the topic `t`.
    fn open(folder: &Path, partitions: u32) -> EmbeddedSpine {
        let spine = EmbeddedSpine::open(EmbeddedOptions::new(folder)).unwrap();
        let spec = TopicSpec {
            name: TopicName::new("t").unwrap(),
            partitions,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: 1_000,
            broker_time: true,
            replication: None,
        };
        block_on(spine.create(&spec)).unwrap();
        spine
    }

    fn record() -> NewRecord {
        NewRecord { value: Some(bytes::Bytes::from_static(b"x")), ..NewRecord::default() }
    }

    #[test]
    fn an_append_that_finds_nobody_writing_has_landed_when_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let spine = open(folder.path(), 1);
        let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
        for n in 0..100 {
            let landing = producer.append(&TopicName::new("t").unwrap().partition(0), vec![record()]);
            assert_eq!(landing.now_or_never().unwrap().unwrap().first, n);
        }
    }

    #[test]
    fn what_many_hand_over_at_once_lands_whoever_writes_it() {
        const APPENDERS: usize = 4;
        const APPENDS: usize = 3_000;
        let folder = tempfile::tempdir().unwrap();
        let spine = open(folder.path(), 40);
        let name = TopicName::new("t").unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..APPENDERS)
                .map(|appender| {
                    let (spine, name) = (spine.clone(), name.clone());
                    scope.spawn(move || {
                        let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
                        let landings: Vec<_> = (0..APPENDS)
                            .map(|n| {
                                let to = name.partition(u32::try_from((appender + n) % 40).unwrap());
                                producer.append(&to, vec![record()])
                            })
                            .collect();
                        // Nothing more is handed over: what nobody wrote by now is the thread's.
                        block_on(join_all(landings)).into_iter().for_each(|landed| assert!(landed.is_ok()));
                    })
                })
                .collect();
            let until = std::time::Instant::now() + Duration::from_secs(60);
            while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                assert!(std::time::Instant::now() < until, "an append never landed");
                std::thread::yield_now();
            }
        });
        let partitions: Vec<_> = (0..40).map(|p| name.partition(p)).collect();
        let ends = block_on(spine.ends(&partitions)).unwrap();
        assert_eq!(ends.iter().map(|ends| ends.end).sum::<u64>(), (APPENDERS * APPENDS) as u64);
    }
}
