//! Which scenario a seed runs.

use crate::plants::Bug;
use crate::relay;
use crate::seeds::Outcome;

/// Runs one seed, with a readable trace when `keep_trace`.
#[must_use]
pub fn run(seed: u64, bug: Bug, keep_trace: bool) -> Outcome {
    relay::scenario::run(seed, bug.rules, bug.plant, keep_trace)
}
