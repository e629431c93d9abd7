//! Stopwatch and scales.

use crate::engine::Engine;
use crate::workload::Workload;
use crate::{Build, heap};
use std::time::{Duration, Instant};

/// Judgements timed at least, however slow the engine.
const LEAST: usize = 20;
/// And at most, however fast.
const MOST: usize = 1_000_000;

/// Builds an engine; the milliseconds it took and the bytes it holds.
pub(crate) fn build(workload: &Workload, build: Build) -> anyhow::Result<(Box<dyn Engine>, f64, i64)> {
    let started = Instant::now();
    let (engine, grown) = heap::grown_by(|| build(workload));
    let spent = started.elapsed();
    Ok((engine?, spent.as_secs_f64() * 1e3, grown.bytes))
}

/// What judging took.
pub(crate) struct Times {
    /// Nanoseconds of each judgement, sorted.
    pub(crate) nanos: Vec<u64>,
    /// Allocations of a judgement, on average, once everything has its working size.
    pub(crate) allocations: f64,
}

/// Goes round the jobs until the time is up; the first tenth of it warms up.
pub(crate) fn times(engine: &mut dyn Engine, workload: &Workload, longest: Duration) -> Times {
    engine.prepare(&workload.jobs);
    let places = || (0..workload.jobs.len()).cycle();
    let mut warm = 0;
    let started = Instant::now();
    for place in places() {
        engine.time(place);
        warm += 1;
        if started.elapsed() > longest / 10 {
            break;
        }
    }
    // Over jobs that were judged before, all of them if there was time.
    let known = warm.min(workload.jobs.len());
    let ((), grown) = heap::grown_by(|| (0..known).for_each(|place| engine.time(place)));
    let mut nanos = Vec::with_capacity(MOST);
    let started = Instant::now();
    for place in places().take(MOST) {
        let began = Instant::now();
        engine.time(place);
        let ended = Instant::now();
        nanos.push(u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX));
        if nanos.len() >= LEAST && ended - started > longest {
            break;
        }
    }
    nanos.sort_unstable();
    Times { nanos, allocations: grown.allocations as f64 / known as f64 }
}
