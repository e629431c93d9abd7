//! Clocks of simulated processes: a wall clock that is off and may step, a monotonic one that is slow or fast.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_stage::Clock;

use crate::executor::{Core, locked};

/// Wall time at the begin of a run, microseconds since the Unix epoch.
pub const BEGIN_US: u64 = 1_800_000_000_000_000;

/// The broker's clock, which is right.
#[must_use]
pub const fn broker_us(now: u64) -> u64 {
    BEGIN_US + now
}

/// A process's clocks.
pub struct SimClock {
    core: Core,
    skew_us: Mutex<i64>,
    start: u64,
    /// Parts per million that the monotonic clock is fast.
    ppm: i64,
}

impl SimClock {
    /// A wall clock off by `skew_us`, a monotonic one that is `ppm` parts per million fast.
    #[must_use]
    pub fn new(core: Core, skew_us: i64, start: u64, ppm: i64) -> Self {
        Self { core, skew_us: Mutex::new(skew_us), start, ppm }
    }

    /// Steps the wall clock: it is now off by `skew_us`.
    pub fn set_skew(&self, skew_us: i64) {
        *locked(&self.skew_us) = skew_us;
    }

    fn mono_at(&self, now: u64) -> u64 {
        let drift = i128::from(now) * i128::from(self.ppm) / 1_000_000;
        u64::try_from(i128::from(now) + i128::from(self.start) + drift).unwrap_or(0)
    }

    /// First virtual time at which the monotonic clock shows `mono` or more.
    fn when(&self, mono: u64) -> u64 {
        let passed = i128::from(mono) - i128::from(self.start);
        let mut now = u64::try_from(passed * 1_000_000 / (1_000_000 + i128::from(self.ppm))).unwrap_or(0);
        while self.mono_at(now) < mono {
            now += 1;
        }
        now
    }
}

impl Clock for SimClock {
    fn wall_us(&self) -> u64 {
        broker_us(self.core.now()).saturating_add_signed(*locked(&self.skew_us))
    }

    fn mono_us(&self) -> u64 {
        self.mono_at(self.core.now())
    }

    fn sleep_until(&self, deadline: u64) -> BoxFuture<'static, ()> {
        self.core.sleep_until(self.when(deadline)).boxed()
    }
}
