//! Which scenario a seed runs.

use crate::plants::Bug;
use crate::seeds::Outcome;
use crate::{fleet, relay};

/// Whether a seed runs the full scenario; otherwise the fast one.
#[must_use]
pub const fn is_full(seed: u64) -> bool {
    seed % 2 == 1
}

/// Runs one seed, with a readable trace when `keep_trace`.
#[must_use]
pub fn run(seed: u64, bug: Bug, keep_trace: bool) -> Outcome {
    if is_full(seed) {
        fleet::scenario::run(seed, bug.rules, bug.plant, keep_trace)
    } else {
        relay::scenario::run(seed, bug.rules, bug.plant, keep_trace)
    }
}
