//! Numbers of incarnations: usually when they began, and above every number that is known in any case.
//!
//! The wall clock is a guess that saves a round trip and no more: where it stepped back between two lives, a shard says what number
//! the name has, and the worker rises above that.

use tidegate_protocol::time::Timestamp;

/// Two processes that begin in the same millisecond, or rise above the same number, draw one of so many apart.
const APART: u64 = 1_024;

/// For a life that begins now.
pub(super) fn first(now: Timestamp) -> u64 {
    now.millis().saturating_add(fastrand::u64(..APART))
}

/// For one that begins now, above `known`; `None` when no number is.
pub(super) fn above(known: u64, now: Timestamp) -> Option<u64> {
    let least = known.checked_add(1)?;
    Some(least.max(now.millis()).saturating_add(fastrand::u64(..APART)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_above_what_is_known_whatever_the_clock_says_and_apart_from_each_other() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for known in [0, 5, now.millis() - 1, now.millis(), now.millis() + 3_600_000, u64::MAX - 1] {
            assert!(above(known, now).unwrap() > known, "{known}");
            assert!(above(known, now).unwrap() >= now.millis(), "{known}");
        }
        assert_eq!(above(u64::MAX, now), None);
        let drawn: BTreeSet<u64> = (0..100).map(|_| first(now)).collect();
        assert!(drawn.len() > 50 && drawn.iter().all(|number| number - now.millis() < APART), "{drawn:?}");
    }
}
