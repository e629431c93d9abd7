//! Stopwatch and scales.

use crate::engine::Engine;
use crate::workload::Workload;
use crate::{Build, heap};
use std::time::{Duration, Instant};

/// Judgements timed at least, however slow the engine.
const LEAST: usize = 20;
/// And at most, however fast.
const MOST: usize = 1_000_000;

/// Builds an engine; milliseconds and bytes it took.
pub(crate) fn build(workload: &Workload, build: Build) -> anyhow::Result<(Box<dyn Engine>, f64, i64)> {
    let started = Instant::now();
    let (engine, bytes) = heap::grown_by(|| build(workload));
    let spent = started.elapsed();
    Ok((engine?, spent.as_secs_f64() * 1e3, bytes))
}

/// Nanoseconds of each judgement, sorted. Goes round the jobs until the time is up; the first tenth of it warms up.
pub(crate) fn times(engine: &mut dyn Engine, workload: &Workload, longest: Duration) -> Vec<u64> {
    engine.prepare(&workload.jobs);
    let places = || (0..workload.jobs.len()).cycle();
    let started = Instant::now();
    for place in places() {
        engine.time(place);
        if started.elapsed() > longest / 10 {
            break;
        }
    }
    let mut times = Vec::with_capacity(MOST);
    let started = Instant::now();
    for place in places().take(MOST) {
        let began = Instant::now();
        engine.time(place);
        let ended = Instant::now();
        times.push(u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX));
        if times.len() >= LEAST && ended - started > longest {
            break;
        }
    }
    times.sort_unstable();
    times
}
