//! The clock of one life of a worker, as `tidegate_worker::run` has it: the wall clock is looked at once, when the process starts, and
//! monotonic time counts from there. So a step of the wall clock does nothing to a life, and is the next one's error: a worker may
//! be seconds off, begin later with an earlier time, and run its monotonic clock a little fast or slow.

use std::time::Duration;

use futures::future::BoxFuture;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Clock as _;

use crate::chance::Chance;
use crate::clock::{SimClock, broker_us};
use crate::executor::Core;

/// Most that a clock is off in a run with bad ones, microseconds; ten times what a ticket counts beyond its time.
const WORST: u64 = 6_000_000;
/// Most that one is off which does not refuse what is good.
const MODEST: u64 = 300_000;

/// See the module.
pub struct WorkerClock {
    core: Core,
    clock: SimClock,
    began: u64,
    at: u64,
}

/// By how much a process's clock was back when it took its first number, milliseconds: by minutes, in every other life. It has been set
/// since: no ticket could be told by it.
#[must_use]
pub fn stepped_back(chance: &mut Chance) -> u64 {
    if chance.percent(50) { chance.within(60_000..1_200_000) } else { 0 }
}

impl WorkerClock {
    /// Of a process that starts now. Some are `wrong` by more than any allowance: behind, and, where others are there to run what it
    /// then refuses, `ahead` too.
    #[must_use]
    pub fn new(core: &Core, wrong: bool, ahead: bool, chance: &mut Chance) -> Self {
        let off = |chance: &mut Chance, most: u64| i64::try_from(chance.within(0..most)).unwrap_or(0);
        let skew = match chance.percent(60) {
            true if wrong && ahead && chance.percent(50) => off(chance, WORST),
            true if wrong => -off(chance, WORST),
            _ => off(chance, 2 * MODEST) - i64::try_from(MODEST).unwrap_or(0),
        };
        let ppm = off(chance, 6_000) - 3_000;
        let clock = SimClock::new(core.clone(), skew, chance.within(0..1_000_000_000), ppm);
        let (began, at) = (clock.mono_us(), clock.wall_us());
        Self { core: core.clone(), clock, began, at }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.at + (self.clock.mono_us() - self.began))
    }

    /// By how much it is off.
    #[must_use]
    pub fn off(&self) -> Duration {
        Duration::from_micros(self.clock.wall_us().abs_diff(broker_us(self.core.now())))
    }

    /// Completes when it shows `at`.
    #[must_use]
    pub fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.began + at.0.saturating_sub(self.at))
    }
}
