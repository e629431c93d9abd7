//! What was sent when, and what was seen when: latencies from the *intended* send time, losses, doubles.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate_protocol::address::Offset;

/// A milestone of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Milestone {
    Decided,
    Released,
    Finished,
}

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

struct Seen {
    latency: Histogram<u64>,
    times: HashMap<(u32, Offset), u32>,
    doubled: u64,
}

impl Seen {
    fn new() -> Option<Self> {
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).ok()?;
        Some(Self { latency, times: HashMap::new(), doubled: 0 })
    }
}

struct Inner {
    /// Intended send time by (partition, order of sending), microseconds since `began`; and whether it is measured.
    intended: Vec<Vec<(u64, bool)>>,
    seen: HashMap<Milestone, Seen>,
    last: Milestone,
    done: u64,
    sent: u64,
    measured: u64,
    finished_in_time: u64,
}

/// The figures of one side. Shared by load and readers.
#[derive(Clone)]
pub(crate) struct Board {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Board {
    /// Offsets of the source must begin at 0 and rise by one: it is ours alone.
    pub(crate) fn new(began: Instant, partitions: u32, last: Milestone) -> Self {
        let mut seen = HashMap::new();
        for milestone in [Milestone::Decided, Milestone::Released, Milestone::Finished] {
            seen.extend(Seen::new().map(|s| (milestone, s)));
        }
        let inner = Inner {
            intended: vec![Vec::new(); partitions as usize],
            seen,
            last,
            done: 0,
            sent: 0,
            measured: 0,
            finished_in_time: 0,
        };
        Self { began, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A record is about to be handed over; it was due at `intended_us`.
    pub(crate) fn sending(&self, partition: u32, intended_us: u64, measured: bool) {
        let mut inner = self.lock();
        if let Some(list) = inner.intended.get_mut(partition as usize) {
            list.push((intended_us, measured));
        }
        inner.sent += 1;
        inner.measured += u64::from(measured);
    }

    /// The record was seen at a milestone.
    pub(crate) fn seen(&self, milestone: Milestone, at_us: u64, what: impl IntoIterator<Item = (u32, Offset)>) {
        let mut inner = self.lock();
        let Inner { intended, seen, last, done, finished_in_time, .. } = &mut *inner;
        let Some(seen) = seen.get_mut(&milestone) else { return };
        for (partition, offset) in what {
            let place = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some((due, measured)) = intended.get(partition as usize).and_then(|l| l.get(place)).copied() else {
                seen.doubled += 1; // a record nobody sent
                continue;
            };
            let times = seen.times.entry((partition, offset)).or_insert(0);
            *times += 1;
            if *times > 1 {
                seen.doubled += 1;
                continue;
            }
            if measured {
                seen.latency.saturating_record(at_us.saturating_sub(due).max(1));
            }
            if milestone == *last {
                *done += 1;
                *finished_in_time += u64::from(measured);
            }
        }
    }

    /// Sent and not yet at the last milestone.
    pub(crate) fn open(&self) -> u64 {
        let inner = self.lock();
        inner.sent.saturating_sub(inner.done)
    }

    /// Measured records sent, and those of them that reached the last milestone.
    pub(crate) fn measured(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.measured, inner.finished_in_time)
    }

    /// (sent, lost, doubled) over all.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        (inner.sent, inner.sent.saturating_sub(inner.done), inner.seen.values().map(|s| s.doubled).sum())
    }

    pub(crate) fn latency(&self, milestone: Milestone) -> Option<Latency> {
        let inner = self.lock();
        let latency = &inner.seen.get(&milestone)?.latency;
        if latency.is_empty() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a bench run")]
        let at = |q: f64| latency.value_at_quantile(q) as f64 / 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a bench run")]
        let max = latency.max() as f64 / 1_000.0;
        Some(Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max })
    }
}
