//! What the judge found.

use std::fmt;

/// An invariant of DESIGN section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No loss: one terminal outcome each.
    I1,
    /// Audit before effect.
    I2,
    /// Fail closed.
    I3,
    /// One verdict.
    I4,
    /// Fenced results.
    I5,
    /// Done follows effects.
    I6,
    /// Replay gives the same bytes.
    I7,
    /// Bounded.
    I10,
    /// Nobody gets more than its share of a pool (DESIGN section 5).
    Share,
    /// Tenants that both have jobs waiting are served in the ratio of their weights (DESIGN section 5).
    Turn,
    /// Jobs of an ordering key run one at a time, in their order (DESIGN section 5).
    Order,
    /// Nothing is given to a worker that is not what the job asks for (DESIGN section 5).
    Eligible,
    /// Nothing expires before what had arrived in time was read (DESIGN section 5).
    DueAfterReading,
    /// Nobody keeps a lease without progress for longer than the pool allows (DESIGN section 5).
    Stalled,
    /// What a stage decides goes by the time that its runner stamps, not by a record's own (DESIGN section 2).
    OwnTime,
    /// An ownership ended in a way that no fault explains.
    Defect,
    /// Something panicked, the judge itself perhaps: no judgement, so no planted bug counts as found by it.
    Panic,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub of: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.of, self.what)
    }
}

/// Gathers broken promises.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Broken for good.
    pub broken: Vec<Violation>,
    /// Not yet fulfilled: broken if it stays so.
    pub missing: Vec<Violation>,
}

impl Verdicts {
    /// A promise is broken.
    pub fn broken(&mut self, of: Invariant, what: impl FnOnce() -> String) {
        if self.broken.len() < 20 {
            self.broken.push(Violation { of, what: what() });
        }
    }

    /// `holds` must be.
    pub fn must(&mut self, holds: bool, of: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.broken(of, what);
        }
    }

    /// `holds` must be in the end.
    pub fn must_in_the_end(&mut self, holds: bool, of: Invariant, what: impl FnOnce() -> String) {
        if !holds && self.missing.len() < 20 {
            self.missing.push(Violation { of, what: what() });
        }
    }
}
