//! Whether the leases still stand, as far as the worker can know.
//!
//! Only a report that lands proves to the owner that the worker lives. When none of them did for a full lease, the leases are **in
//! doubt**: the owner may have given the jobs to others, or it could not read either, and then no lease ended (its clocks stand still
//! meanwhile). The worker cannot tell which. What it does about running jobs is its user's choice ([`WhenUnproven`]); nothing new
//! is taken until a report has landed again, and what the owner says then settles it.

use tidegate_protocol::time::Timestamp;

use super::{Action, Session};

/// What becomes of running jobs while nothing proves their leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WhenUnproven {
    /// They run on, and are listed as before. Where the lease did end, the job may run elsewhere at the same time until the owner has
    /// said so; it accepts the current token's result alone (I5).
    #[default]
    Keep,
    /// They are stopped and count as lost ([`Action::LeaseLost`]), whether or not the lease ended: for jobs that must never overlap,
    /// at the price that an outage of a lease's length interrupts every one of them.
    Stop,
}

impl Session {
    /// What becomes of running jobs while the leases are in doubt; to be said before anything else.
    #[must_use]
    pub fn when_unproven(mut self, what: WhenUnproven) -> Self {
        self.unproven = what;
        self
    }

    /// Whether nothing of ours landed for a full lease.
    #[must_use]
    pub fn is_in_doubt(&self, now: Timestamp) -> bool {
        self.epoch > 0 && self.proven + self.lease <= now
    }

    /// Jobs that are to be stopped at `now` because their leases are in doubt; none where they run on.
    pub fn fence(&mut self, now: Timestamp) -> Vec<Action> {
        let (proven, lease) = (self.proven, self.lease);
        if self.unproven == WhenUnproven::Keep || !self.is_in_doubt(now) {
            return Vec::new();
        }
        self.lose(|running| proven.max(running.since) + lease <= now)
    }

    /// When doubt begins, or the next job is to be stopped for it, unless an append lands.
    #[must_use]
    pub fn fence_due(&self, now: Timestamp) -> Option<Timestamp> {
        let soonest = self.proven + self.lease;
        if self.jobs.is_empty() || soonest > now {
            return (!self.jobs.is_empty()).then_some(soonest);
        }
        match self.unproven {
            WhenUnproven::Keep => None,
            WhenUnproven::Stop => {
                self.jobs.values().filter(|r| !r.lost).map(|r| self.proven.max(r.since) + self.lease).min()
            }
        }
    }
}
