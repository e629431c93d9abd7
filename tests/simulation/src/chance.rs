//! Chance drawn from one seed, a stream for every purpose, so that a change in one place does not shift all others.

use std::ops::Range;

/// A stream of chance.
#[derive(Debug, Clone)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The stream of `seed` for `purpose`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let name =
            purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut rng = fastrand::Rng::with_seed(name ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.u64(..);
        Self(rng)
    }

    /// True in `percent` of all cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    /// A number of the range; its start when it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.0.u64(range) }
    }

    /// A time: mostly in the lower fifth of the range, seldom near its end.
    pub fn delay(&mut self, range: Range<u64>) -> u64 {
        let fifth = range.start + range.end.saturating_sub(range.start) / 5;
        if self.percent(85) { self.within(range.start..fifth) } else { self.within(range) }
    }

    /// One of a list that is not empty.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.0.usize(0..list.len())]
    }
}
