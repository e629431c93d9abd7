//! Which scenario a seed runs.

use crate::plants::{Bug, LimitsPlant};
use crate::seeds::Outcome;
use crate::{fleet, lending, relay};

/// Whether a seed runs the full scenario; otherwise the fast one.
#[must_use]
pub const fn is_full(seed: u64) -> bool {
    seed % 2 == 1
}

/// Whether a seed runs the scenario of limits: every eighth does.
#[must_use]
pub const fn is_lending(seed: u64) -> bool {
    seed % 8 == 4
}

/// Runs one seed, with a readable trace when `keep_trace`.
#[must_use]
pub fn run(seed: u64, bug: Bug, keep_trace: bool) -> Outcome {
    if is_lending(seed) || bug.limits != LimitsPlant::Nothing {
        lending::scenario::run(seed, bug.rules, bug.limits, keep_trace)
    } else if is_full(seed) {
        fleet::scenario::run(seed, bug.rules, bug.plant, keep_trace)
    } else {
        relay::scenario::run(seed, bug.rules, bug.plant, keep_trace)
    }
}
