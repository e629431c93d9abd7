//! What counts of holdings that were given up: amounts by when they stop counting, in a bounded number of buckets.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::limits::Amount;
use tidegate_protocol::time::Timestamp;

/// Buckets the time of an amount is divided into: it counts longer by at most one of them.
const BUCKETS: u64 = 64;

/// See the module. Ordered by time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Residues(VecDeque<(Timestamp, Amount)>);

impl Residues {
    /// Adds what counts until `until`, of amounts that count for at most `longest`.
    pub(crate) fn add(&mut self, until: Timestamp, amount: Amount, longest: Duration) {
        if amount.is_zero() {
            return;
        }
        let grain = (u64::try_from(longest.as_micros()).unwrap_or(u64::MAX) / BUCKETS).max(1);
        let until = Timestamp(until.0.div_ceil(grain).saturating_mul(grain));
        let at = self.0.partition_point(|(time, _)| *time < until);
        match self.0.get_mut(at) {
            Some((time, counted)) if *time == until => *counted = counted.plus(amount),
            _ => self.0.insert(at, (until, amount)),
        }
    }

    /// What counts at `at`.
    pub(crate) fn counted(&self, at: Timestamp) -> Amount {
        self.0.iter().filter(|(until, _)| *until > at).fold(Amount::ZERO, |sum, (_, amount)| sum.plus(*amount))
    }

    /// The latest time at or before `at` at which something stopped counting.
    pub(crate) fn stopped(&self, at: Timestamp) -> Option<Timestamp> {
        self.0.iter().map(|(until, _)| *until).take_while(|until| *until <= at).last()
    }

    /// Drops what no longer counts.
    pub(crate) fn prune(&mut self, at: Timestamp) {
        while self.0.front().is_some_and(|(until, _)| *until <= at) {
            self.0.pop_front();
        }
    }

    /// When the last amount stops counting.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.0.back().map(|(until, _)| *until)
    }

    /// When the next amount stops counting.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.front().map(|(until, _)| *until)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_count_at_least_to_their_time_and_at_most_a_bucket_longer() {
        let longest = Duration::from_micros(640);
        let mut residues = Residues::default();
        for until in 1..=640 {
            residues.add(Timestamp(until), Amount(1), longest);
        }
        assert!(residues.0.len() <= 64, "{}", residues.0.len());
        for at in 0..=650 {
            let exact = 640_u64.saturating_sub(at);
            let counted = residues.counted(Timestamp(at)).0;
            assert!(counted >= exact && counted <= exact + 10, "{counted} at {at}, exactly {exact}");
        }
        assert_eq!((residues.stopped(Timestamp(9)), residues.stopped(Timestamp(25))), (None, Some(Timestamp(20))));
        residues.prune(Timestamp(25));
        assert_eq!(residues.next(), Some(Timestamp(30)));
        residues.prune(Timestamp(640));
        assert!(residues.is_empty());
    }
}
