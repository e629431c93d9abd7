//! How often a job is tried, and how long it waits in between. Pure; the pool's policy, tightened by the job's own wish and
//! by the constraints of its decision.
//!
//! *Pause*: exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
//! 2015): before attempt n+1 anything from nothing to `min(max_backoff, backoff * 2^(n-1))`, all equally likely. A stage has
//! no randomness, so the jitter is a hash of the job's position and attempt: the same in every replay, and spread over jobs.
//!
//! *Which attempts count*: one that failed and may be retried, and a lease lost in silence, in a restart of its worker or on
//! the way. The first lost lease costs the job nothing: the fault is most likely the worker's, so it is ready at once. From
//! the second on it backs off like a failure, for then it may be the job that ends its workers.

use std::time::Duration;

use tidegate_protocol::facts::LeaseEnd;
use tidegate_protocol::job::{Retry, SourcePosition};
use tidegate_protocol::topics::partition_of;

/// Longest wait that a worker may ask for (`retry_after_ms`); a longer wish is cut.
pub(crate) const MOST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// What holds for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Attempts that may end badly before the job is dead, at least 1.
    pub(crate) attempts: u32,
    /// Upper bound of the first pause.
    pub(crate) backoff: Duration,
    /// Upper bound of every pause.
    pub(crate) max_backoff: Duration,
}

impl Policy {
    /// The pool's policy for a job: never more attempts or longer pauses than the pool allows.
    pub(crate) fn tightened(self, wish: Retry, max_retries: Option<u32>) -> Self {
        let attempts = self.attempts.min(wish.max_attempts.unwrap_or(u32::MAX)).max(1);
        let attempts = attempts.min(max_retries.map_or(u32::MAX, |most| most.saturating_add(1)));
        let longest = wish.max_backoff_ms.map_or(self.max_backoff, Duration::from_millis).min(self.max_backoff);
        let backoff = wish.backoff_ms.map_or(self.backoff, Duration::from_millis).min(longest);
        Self { attempts, backoff, max_backoff: longest }
    }

    /// The pause after the failure of attempt `attempt`, which is the `failures`-th to count (from 1).
    pub(crate) fn pause(self, failures: u32, source: &SourcePosition, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.backoff.saturating_mul(doubled).min(self.max_backoff);
        let most = u32::try_from(most.as_millis()).unwrap_or(u32::MAX - 1);
        let drawn = partition_of(format!("{source}#{attempt}").as_bytes(), most.saturating_add(1));
        Duration::from_millis(drawn.into())
    }

    /// The pause after a lease that ended without a result; `strikes` as it counts with this one.
    pub(crate) fn after_lost(self, end: LeaseEnd, strikes: u32, source: &SourcePosition, attempt: u32) -> Duration {
        match end {
            LeaseEnd::GivenBack => Duration::ZERO,
            LeaseEnd::Silent | LeaseEnd::NewIncarnation | LeaseEnd::NotHeld | LeaseEnd::Stalled if strikes <= 1 => {
                Duration::ZERO
            }
            LeaseEnd::Silent | LeaseEnd::NewIncarnation | LeaseEnd::NotHeld | LeaseEnd::Stalled => {
                self.pause(strikes - 1, source, attempt)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::position;

    const POOL: Policy =
        Policy { attempts: 5, backoff: Duration::from_millis(1_000), max_backoff: Duration::from_secs(60) };

    #[test]
    fn the_pool_bounds_what_a_job_may_wish() {
        let wish = Retry { max_attempts: Some(9), backoff_ms: Some(90_000), max_backoff_ms: Some(90_000) };
        let most = Duration::from_secs(60);
        assert_eq!(POOL.tightened(wish, None), Policy { attempts: 5, backoff: most, max_backoff: most });
        let wish = Retry { max_attempts: Some(3), backoff_ms: None, max_backoff_ms: Some(200) };
        let short = Duration::from_millis(200);
        assert_eq!(POOL.tightened(wish, Some(1)), Policy { attempts: 2, backoff: short, max_backoff: short });
        assert_eq!(POOL.tightened(Retry::default(), Some(0)).attempts, 1);
    }

    #[test]
    fn pauses_are_spread_evenly_under_a_bound_that_doubles_up_to_the_longest() {
        for (failures, most) in [(1, 1_000), (2, 2_000), (4, 8_000), (7, 60_000), (40, 60_000)] {
            let drawn: Vec<u128> =
                (0..2_000).map(|n| POOL.pause(failures, &position(n), failures).as_millis()).collect();
            let mean = drawn.iter().sum::<u128>() / 2_000;
            assert!(drawn.iter().all(|ms| *ms <= most), "{failures}");
            assert!((most * 45 / 100..most * 55 / 100).contains(&mean), "mean {mean} of {most}");
        }
        assert_eq!(POOL.pause(3, &position(7), 3), POOL.pause(3, &position(7), 3));
    }

    #[test]
    fn the_first_lost_lease_costs_nothing_and_what_was_given_back_never_does() {
        assert_eq!(POOL.after_lost(LeaseEnd::Silent, 1, &position(1), 1), Duration::ZERO);
        assert_eq!(POOL.after_lost(LeaseEnd::GivenBack, 4, &position(1), 1), Duration::ZERO);
        let paused = (0..50).filter(|n| POOL.after_lost(LeaseEnd::NotHeld, 2, &position(*n), 2) > Duration::ZERO);
        assert!(paused.count() > 40);
    }
}
