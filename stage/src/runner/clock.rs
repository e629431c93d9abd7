//! Time for a shard.

use futures::future::BoxFuture;
use tidegate_protocol::time::Timestamp;

/// The machine's clocks, behind a trait so that the simulation can skew and stop them.
pub trait Clock: Send + Sync {
    /// Wall clock, microseconds since the Unix epoch. May step.
    fn wall_us(&self) -> u64;
    /// Monotonic clock, microseconds from any start. Goes on while the process is stopped.
    fn mono_us(&self) -> u64;
    /// Completes at or soon after `mono_us() == deadline`.
    fn sleep_until(&self, deadline: u64) -> BoxFuture<'static, ()>;
}

/// `at`: the last `at` plus monotonic time, drawn to the wall clock by at most 1 % of the time that passed. Never goes
/// back, never stands still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardTime {
    at: u64,
    mono: u64,
}

impl ShardTime {
    /// Goes on after `last`; a wall clock that is ahead of it is taken over at once, as nobody measured the time between.
    /// `checked` is (wall, monotonic) as they stood when the wall clock was compared with the spine's: a step since then
    /// counts as any other.
    pub(crate) fn begin(last: Timestamp, checked: (u64, u64), clock: &dyn Clock) -> Self {
        let mono = clock.mono_us();
        let wall = checked.0.saturating_add(mono.saturating_sub(checked.1));
        Self { at: last.0.saturating_add(1).max(wall), mono }
    }

    pub(crate) fn now(&mut self, clock: &dyn Clock) -> Timestamp {
        let mono = clock.mono_us();
        let passed = mono.saturating_sub(self.mono);
        let plain = self.at.saturating_add(passed);
        let most = passed / 100;
        let wall = clock.wall_us();
        self.at = if wall > plain { plain + most.min(wall - plain) } else { plain - most.min(plain - wall) };
        self.mono = mono;
        Timestamp(self.at)
    }

    /// The monotonic time at which `at` reaches `due`, roughly (late by 1 % at most).
    pub(crate) fn mono_at(&self, due: Timestamp) -> u64 {
        self.mono.saturating_add(due.0.saturating_sub(self.at))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Hands(AtomicU64, AtomicU64);

    impl Clock for Hands {
        fn wall_us(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
        fn mono_us(&self) -> u64 {
            self.1.load(Ordering::Relaxed)
        }
        fn sleep_until(&self, _: u64) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn at_follows_a_wall_clock_that_steps_by_one_percent_at_most_and_never_goes_back() {
        let hands = Hands::default();
        hands.0.store(1_000_000, Ordering::Relaxed);
        let mut time = ShardTime::begin(Timestamp(5), (1_000_000, 0), &hands);
        assert_eq!(time.now(&hands), Timestamp(1_000_000));
        let mut last = 1_000_000;
        for (wall, mono) in [(9_000_000, 1_000), (10, 2_000), (0, 1_000_000), (2_000_000, 2_000_000)] {
            let passed = mono - hands.1.load(Ordering::Relaxed);
            hands.0.store(wall, Ordering::Relaxed);
            hands.1.store(mono, Ordering::Relaxed);
            let Timestamp(at) = time.now(&hands);
            assert!(at > last, "{at} after {last}");
            assert!((at - last).abs_diff(passed) <= passed / 100, "{at} after {last} in {passed}");
            last = at;
        }
    }

    #[test]
    fn a_wall_clock_that_steps_after_it_was_checked_is_not_taken_over_at_once() {
        let hands = Hands::default();
        hands.0.store(9_000_000, Ordering::Relaxed);
        hands.1.store(500, Ordering::Relaxed);
        let mut time = ShardTime::begin(Timestamp(5), (1_000_000, 100), &hands);
        assert_eq!(time.now(&hands), Timestamp(1_000_400));
    }

    #[test]
    fn a_new_owner_never_begins_before_the_last_fact() {
        let hands = Hands::default();
        let mut time = ShardTime::begin(Timestamp(70), (0, 0), &hands);
        assert!(time.now(&hands) > Timestamp(70));
    }
}
