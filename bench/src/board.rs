//! What was sent when, and what was seen when: latencies from the *intended* send time, losses, doubles.
//!
//! The board must not be what is measured: load and instruments never wait for each other here, and nothing is moved
//! when it grows. (A hash map under a lock stood both sides still for up to a quarter of a second whenever it doubled.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate_protocol::address::Offset;

/// A milestone of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Milestone {
    Decided,
    Released,
    /// Its handler is called.
    Started,
    Finished,
}

/// How many there are.
const MILESTONES: usize = 4;

/// Latency figures in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// Records in a page, and pages a partition may have: two hundred million records.
const PAGE: usize = 1 << 12;
const PAGES: usize = 50_000;
/// In a slot's `due`: whether it counts in the figures.
const MEASURED: u64 = 1 << 63;

/// One record of the source.
#[derive(Default)]
struct Slot {
    /// 0: not sent. Else its intended send time, microseconds since `began` and 1, and [`MEASURED`].
    due: AtomicU64,
    /// 0: its verdict is not known to be in `approved`. Else since when it is, microseconds since `began` and 1.
    readable: AtomicU64,
    /// Whether it was seen at each milestone.
    seen: [AtomicBool; MILESTONES],
}

/// The records of one partition by the order of sending, which is their offset.
struct Sent {
    pages: Vec<OnceLock<Box<[Slot]>>>,
    next: AtomicU64,
}

impl Sent {
    fn slot(&self, offset: Offset) -> Option<&Slot> {
        let at = usize::try_from(offset).ok()?;
        self.pages.get(at / PAGE)?.get()?.get(at % PAGE)
    }
}

struct Seen {
    /// Taken by the one instrument of this milestone only, and at the end.
    latency: Mutex<Histogram<u64>>,
    /// Calls that brought measured records.
    batches: AtomicU64,
    doubled: AtomicU64,
}

struct Inner {
    sent_to: Vec<Sent>,
    seen: [Seen; MILESTONES],
    /// From `readable` to the handler's call. Taken as those of `seen`.
    dispatch: Mutex<Histogram<u64>>,
    last: Milestone,
    done: AtomicU64,
    sent: AtomicU64,
    measured: AtomicU64,
    finished_in_time: AtomicU64,
}

/// The figures of one side. Shared by load and readers.
#[derive(Clone)]
pub(crate) struct Board {
    began: Instant,
    inner: Arc<Inner>,
}

impl Board {
    /// Offsets of the source must begin at 0 and rise by one: it is ours alone.
    ///
    /// # Errors
    /// Never with the bounds below, which the histogram's own rules allow.
    pub(crate) fn new(began: Instant, partitions: u32, last: Milestone) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).map(Mutex::new);
        let seen = || -> anyhow::Result<Seen> {
            Ok(Seen { latency: histogram()?, batches: AtomicU64::new(0), doubled: AtomicU64::new(0) })
        };
        let sent = || Sent { pages: (0..PAGES).map(|_| OnceLock::new()).collect(), next: AtomicU64::new(0) };
        let inner = Inner {
            sent_to: (0..partitions).map(|_| sent()).collect(),
            seen: [seen()?, seen()?, seen()?, seen()?],
            dispatch: histogram()?,
            last,
            done: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            finished_in_time: AtomicU64::new(0),
        };
        Ok(Self { began, inner: Arc::new(inner) })
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A record is about to be handed over; it was due at `intended_us`.
    pub(crate) fn sending(&self, partition: u32, intended_us: u64, measured: bool) {
        let inner = &*self.inner;
        if let Some(sent) = inner.sent_to.get(partition as usize) {
            let at = usize::try_from(sent.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            let page = sent.pages.get(at / PAGE);
            let page = page.map(|page| page.get_or_init(|| (0..PAGE).map(|_| Slot::default()).collect()));
            if let Some(slot) = page.and_then(|page| page.get(at % PAGE)) {
                let flag = if measured { MEASURED } else { 0 };
                slot.due.store((intended_us + 1) | flag, Ordering::Release);
            }
        }
        inner.sent.fetch_add(1, Ordering::AcqRel);
        inner.measured.fetch_add(u64::from(measured), Ordering::AcqRel);
    }

    /// The records' verdicts are in `approved`: the append is acknowledged, so its consumer can read them.
    pub(crate) fn readable(&self, at_us: u64, what: impl IntoIterator<Item = (u32, Offset)>) {
        for (partition, offset) in what {
            if let Some(slot) = self.inner.sent_to.get(partition as usize).and_then(|sent| sent.slot(offset)) {
                slot.readable.store(at_us + 1, Ordering::Release);
            }
        }
    }

    /// The job's handler is called.
    pub(crate) fn started(&self, what: (u32, Offset)) {
        let (inner, now) = (&*self.inner, self.now_us());
        self.seen(Milestone::Started, now, [what]);
        let slot = inner.sent_to.get(what.0 as usize).and_then(|sent| sent.slot(what.1));
        let Some(slot) = slot.filter(|slot| slot.due.load(Ordering::Acquire) & MEASURED != 0) else { return };
        // The handler may be called before the acknowledgement is noted: then it was dispatched at once.
        let took = match slot.readable.load(Ordering::Acquire) {
            0 => 1,
            since => now.saturating_sub(since - 1).max(1),
        };
        inner.dispatch.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
    }

    /// The record was seen at a milestone.
    pub(crate) fn seen(&self, milestone: Milestone, at_us: u64, what: impl IntoIterator<Item = (u32, Offset)>) {
        let inner = &*self.inner;
        let Some(seen) = inner.seen.get(milestone as usize) else { return };
        let mut latency = seen.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut in_time) = (0, 0);
        for (partition, offset) in what {
            let slot = inner.sent_to.get(partition as usize).and_then(|sent| sent.slot(offset));
            let due = slot.map_or(0, |slot| slot.due.load(Ordering::Acquire));
            let before = slot.and_then(|slot| slot.seen.get(milestone as usize));
            // A record nobody sent counts as well.
            if due == 0 || before.is_none_or(|seen| seen.swap(true, Ordering::Relaxed)) {
                seen.doubled.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let measured = due & MEASURED != 0;
            if measured {
                latency.saturating_record(at_us.saturating_sub((due & !MEASURED) - 1).max(1));
            }
            done += 1;
            in_time += u64::from(measured);
        }
        seen.batches.fetch_add(u64::from(in_time > 0), Ordering::Relaxed);
        if milestone == inner.last {
            inner.finished_in_time.fetch_add(in_time, Ordering::AcqRel);
            inner.done.fetch_add(done, Ordering::AcqRel);
        }
    }

    /// Sent and not yet at the last milestone.
    pub(crate) fn open(&self) -> u64 {
        let done = self.inner.done.load(Ordering::Acquire);
        self.inner.sent.load(Ordering::Acquire).saturating_sub(done)
    }

    /// Measured records sent and not yet at the last milestone.
    pub(crate) fn awaited(&self) -> u64 {
        let (sent, came) = self.measured();
        sent.saturating_sub(came)
    }

    /// Measured records sent, and those of them that reached the last milestone.
    pub(crate) fn measured(&self) -> (u64, u64) {
        let inner = &*self.inner;
        (inner.measured.load(Ordering::Acquire), inner.finished_in_time.load(Ordering::Acquire))
    }

    /// (sent, lost, doubled) over all.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let doubled = self.inner.seen.iter().map(|s| s.doubled.load(Ordering::Acquire)).sum();
        (self.inner.sent.load(Ordering::Acquire), self.open(), doubled)
    }

    /// Measured records that were decided together, on average.
    pub(crate) fn decided_together(&self) -> Option<f64> {
        let seen = self.inner.seen.get(Milestone::Decided as usize)?;
        let records = seen.latency.lock().unwrap_or_else(PoisonError::into_inner).len();
        let batches = seen.batches.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs of a bench run")]
        let together = records as f64 / batches as f64;
        (batches > 0).then_some(together)
    }

    /// From raw record due to the milestone.
    pub(crate) fn latency(&self, milestone: Milestone) -> Option<Latency> {
        figures(&self.inner.seen.get(milestone as usize)?.latency)
    }

    /// From `approved` readable to the handler's call.
    pub(crate) fn dispatch(&self) -> Option<Latency> {
        figures(&self.inner.dispatch)
    }
}

fn figures(latency: &Mutex<Histogram<u64>>) -> Option<Latency> {
    Latency::of(&latency.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Latency {
    /// Of microseconds; none when there are none.
    pub(crate) fn of(latency: &Histogram<u64>) -> Option<Self> {
        if latency.is_empty() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a bench run")]
        let at = |q: f64| latency.value_at_quantile(q) as f64 / 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a bench run")]
        let max = latency.max() as f64 / 1_000.0;
        Some(Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_never_sent_is_told() {
        let board = Board::new(Instant::now(), 2, Milestone::Released).unwrap();
        for (partition, due) in [(0, 0), (0, 1_000), (1, 2_000)] {
            board.sending(partition, due, due > 0);
        }
        board.seen(Milestone::Decided, 5_000, [(0, 0), (0, 1), (1, 0)]);
        assert_eq!(board.decided_together(), Some(2.0), "of three, one is not measured");
        assert_eq!((board.open(), board.counts()), (3, (3, 3, 0)), "decided is not the last milestone");
        board.seen(Milestone::Released, 6_000, [(0, 1), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(board.counts(), (3, 1, 2), "one is open; one came twice and one was never sent");
        assert_eq!(board.measured(), (2, 2));
        let released = board.latency(Milestone::Released).unwrap();
        assert!((released.p50 - 4.0).abs() < 0.1 && (released.max - 5.0).abs() < 0.1, "{released:?}");
    }

    #[test]
    fn a_dispatch_is_from_readable_to_the_call_and_of_measured_jobs_alone() {
        let began = Instant::now().checked_sub(std::time::Duration::from_millis(5)).unwrap();
        let board = Board::new(began, 1, Milestone::Finished).unwrap();
        board.sending(0, 0, false);
        board.sending(0, 0, true);
        board.readable(0, [(0, 0)]);
        board.started((0, 0));
        assert!(board.dispatch().is_none(), "a warm-up");
        board.readable(board.now_us(), [(0, 1)]);
        board.started((0, 1));
        let (dispatch, started) = (board.dispatch().unwrap(), board.latency(Milestone::Started).unwrap());
        assert!(started.max - dispatch.max > 2.0, "{dispatch:?} of {started:?}");
        assert_eq!(board.counts().2, 0);
    }

    #[test]
    fn it_grows_over_pages() {
        let board = Board::new(Instant::now(), 1, Milestone::Decided).unwrap();
        let records = PAGE as u64 * 2 + 3;
        for due in 0..records {
            board.sending(0, due, true);
        }
        board.seen(Milestone::Decided, records, (0..records).map(|offset| (0, offset)));
        assert_eq!((board.open(), board.measured()), (0, (records, records)));
    }
}
