//! Engines must agree before they are timed.

use crate::engine::{Engine, Ruling};
use crate::workload::Workload;
use anyhow::bail;
use std::time::{Duration, Instant};

/// Jobs compared at least, however slow the engine.
const LEAST: usize = 25;
/// Longest comparison after that.
const LONGEST: Duration = Duration::from_secs(5);

/// Holds the engine's rulings against the expected ones; the first engine gives these. Returns how many were compared.
pub(crate) fn agree(
    name: &str,
    engine: &mut dyn Engine,
    workload: &Workload,
    expected: &mut Option<Vec<Ruling>>,
) -> anyhow::Result<usize> {
    let Some(expected) = expected else {
        let rulings: Vec<_> = workload.jobs.iter().map(|job| engine.rule_on(job)).collect();
        let compared = rulings.len();
        *expected = Some(rulings);
        return Ok(compared);
    };
    let started = Instant::now();
    let mut compared = 0;
    for (job, wanted) in workload.jobs.iter().zip(expected.iter()) {
        if compared >= LEAST && started.elapsed() > LONGEST {
            break;
        }
        let got = engine.rule_on(job);
        if *wanted != got {
            bail!("`{name}` says {} of job {job:?}, but the first engine says {}", told(&got), told(wanted));
        }
        compared += 1;
    }
    Ok(compared)
}

fn told(ruling: &Ruling) -> String {
    format!("{:?} by rules {:?}", ruling.decision, ruling.rules).to_lowercase()
}
