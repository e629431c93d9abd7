//! Which scenario a seed runs.

use crate::plants::{Bug, LimitsPlant};
use crate::seeds::Outcome;
use crate::{fleet, lending, relay};

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The fast one ([`relay`]).
    Relay,
    /// The full one ([`fleet`]).
    Fleet,
    /// That of limits ([`lending`]).
    Lending,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Relay, Self::Fleet, Self::Lending];

    /// Of a seed: half run the full one, every eighth that of limits. Its three lowest bits say so.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        match seed % 8 {
            1 | 3 | 5 | 7 => Self::Fleet,
            4 => Self::Lending,
            _ => Self::Relay,
        }
    }
}

/// Runs one seed, with a readable trace when `keep_trace`.
#[must_use]
pub fn run(seed: u64, bug: Bug, keep_trace: bool) -> Outcome {
    let scenario = if bug.limits == LimitsPlant::Nothing { Scenario::of(seed) } else { Scenario::Lending };
    match scenario {
        Scenario::Relay => relay::scenario::run(seed, bug.rules, bug.plant, keep_trace),
        Scenario::Fleet => fleet::scenario::run(seed, bug.rules, bug.plant, keep_trace),
        Scenario::Lending => lending::scenario::run(seed, bug.rules, bug.limits, keep_trace),
    }
}
