//! What was spent of a holding within its window, and the most that was within any window lately.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::limits::Amount;
use tidegate_protocol::time::Timestamp;

/// Spends kept one by one; beyond them neighbours are taken together.
const EXACT: usize = 128;
/// Parts of the window neighbours are taken together in: a spend counts longer by at most one of them.
const PARTS: u64 = 64;
/// Parts of window and allowance the peaks are kept in.
const PEAK_PARTS: u64 = 32;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Spends by their stamp, oldest first. A spend at `t` counts while `at < t + window`; exactly so while there are few.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Spent(VecDeque<(Timestamp, Amount)>);

impl Spent {
    /// What counts at `at`.
    pub(crate) fn counted(&self, at: Timestamp, window: Duration) -> Amount {
        let counts = self.0.iter().rev().take_while(|(stamp, _)| at < *stamp + window);
        counts.fold(Amount::ZERO, |sum, (_, amount)| sum.plus(*amount))
    }

    /// When the next of what counts at `at` does no longer.
    pub(crate) fn next_to_pass(&self, at: Timestamp, window: Duration) -> Option<Timestamp> {
        let counts = self.0.iter().find(|(stamp, amount)| at < *stamp + window && !amount.is_zero());
        counts.map(|(stamp, _)| *stamp + window)
    }

    /// Adds a spend; `at` never goes back.
    pub(crate) fn add(&mut self, at: Timestamp, amount: Amount, window: Duration) {
        while self.0.front().is_some_and(|(stamp, _)| *stamp + window <= at) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some((stamp, spent)) if *stamp >= at => *spent = spent.plus(amount),
            _ => self.0.push_back((at, amount)),
        }
        if self.0.len() > EXACT {
            self.take_together(at, window);
        }
    }

    /// Moves stamps up to the ends of their parts, or to `now` where that would lie ahead.
    fn take_together(&mut self, now: Timestamp, window: Duration) {
        let grain = (micros(window) / PARTS).max(1);
        let mut together: VecDeque<(Timestamp, Amount)> = VecDeque::new();
        for (stamp, amount) in self.0.drain(..) {
            let end = Timestamp(stamp.0.div_ceil(grain).saturating_mul(grain)).min(now).max(stamp);
            match together.back_mut() {
                Some((last, spent)) if *last == end => *spent = spent.plus(amount),
                _ => together.push_back((end, amount)),
            }
        }
        self.0 = together;
    }

    /// Replaces what a spend of stamp `stamp` counts, `was`, by `now`; nothing when it counts no longer.
    pub(crate) fn replace(&mut self, stamp: Timestamp, was: Amount, now: Amount) {
        let at = self.0.partition_point(|(end, _)| *end < stamp);
        if let Some((_, spent)) = self.0.get_mut(at) {
            *spent = spent.less(was).plus(now);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The largest sums within a window, by when they were, for as long as they keep what is returned down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Peaks(VecDeque<(Timestamp, Amount)>);

impl Peaks {
    /// The window summed up to `sum` at `at`; it matters for `memory`.
    pub(crate) fn add(&mut self, at: Timestamp, sum: Amount, memory: Duration) {
        let grain = (micros(memory) / PEAK_PARTS).max(1);
        let until = Timestamp((at + memory).0.div_ceil(grain).saturating_mul(grain));
        while self.0.front().is_some_and(|(until, _)| *until <= at) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|(_, peak)| *peak <= sum) {
            self.0.pop_back();
        }
        if self.0.back().is_none_or(|(last, _)| *last < until) {
            self.0.push_back((until, sum));
        }
    }

    /// The largest that still matters at `at`.
    pub(crate) fn highest(&self, at: Timestamp) -> Amount {
        self.0.iter().find(|(until, _)| *until > at).map_or(Amount::ZERO, |(_, peak)| *peak)
    }

    /// When that one matters no longer.
    pub(crate) fn next_to_pass(&self, at: Timestamp) -> Option<Timestamp> {
        self.0.iter().map(|(until, _)| *until).find(|until| *until > at)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_micros(1_000);
    const MEMORY: Duration = Duration::from_micros(1_700);

    #[test]
    fn a_few_spends_count_exactly_for_their_window() {
        let mut spent = Spent::default();
        spent.add(Timestamp(10), Amount(3), WINDOW);
        spent.add(Timestamp(20), Amount(4), WINDOW);
        let counted = |at| spent.counted(Timestamp(at), WINDOW).0;
        assert_eq!([counted(20), counted(1_009), counted(1_010), counted(1_019), counted(1_020)], [7, 7, 4, 4, 0]);
    }

    proptest! {
        #[test]
        fn sums_and_peaks_are_never_below_the_exact_ones(
            steps in prop::collection::vec((0_u64..40, 1_u64..5, 0_u64..3), 1..600),
        ) {
            let (mut spent, mut peaks) = (Spent::default(), Peaks::default());
            let mut all: Vec<(u64, u64)> = Vec::new();
            let mut sums: Vec<(u64, u64)> = Vec::new();
            let mut at = 1;
            for (pause, amount, refunds) in steps {
                at += pause;
                spent.add(Timestamp(at), Amount(amount), WINDOW);
                all.push((at, amount));
                if refunds == 0 && let Some((stamp, amount)) = all.iter_mut().rev().nth(3) && at < *stamp + 1_000 {
                    spent.replace(Timestamp(*stamp), Amount(*amount), Amount::ZERO);
                    *amount = 0;
                }
                let sum = |at: u64, longer: u64| {
                    all.iter().filter(|(t, _)| at < t + 1_000 + longer).map(|(_, a)| a).sum::<u64>()
                };
                let counted = spent.counted(Timestamp(at), WINDOW);
                prop_assert!(counted.0 >= sum(at, 0) && counted.0 <= sum(at, 16), "{counted} at {at}");
                prop_assert!(spent.0.len() <= EXACT && spent.0.iter().is_sorted_by(|a, b| a.0 < b.0));
                peaks.add(Timestamp(at), counted, MEMORY);
                sums.push((at, counted.0));
                let exact = sums.iter().filter(|(t, _)| at < t + 1_700).map(|(_, s)| *s).max().unwrap_or(0);
                prop_assert!(peaks.highest(Timestamp(at)).0 >= exact);
                prop_assert!(peaks.0.len() <= 40);
            }
        }
    }
}
