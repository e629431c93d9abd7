//! How what is asked of a worker ([`Demand`](crate::Demand)) is shared out among the shards of its pool.
//!
//! Nobody knows where the jobs are: so shards from which some came of late share what is asked for, and every other is asked for
//! one, which shows when there is something. So no more are asked for than are wanted, and one for each shard beside; and a burst
//! in one shard has all of it after its first job.

use std::time::Duration;

use tidegate_protocol::time::Timestamp;

/// A shard from which a job came within this is asked for more.
const BUSY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Shares {
    /// When the last job of each shard came.
    came: Vec<Option<Timestamp>>,
}

impl Shares {
    pub(super) fn new(shards: usize) -> Self {
        Self { came: vec![None; shards] }
    }

    /// A job came.
    pub(super) fn came(&mut self, shard: usize, now: Timestamp) {
        if let Some(last) = self.came.get_mut(shard) {
            *last = Some(now);
        }
    }

    /// How many of `wanted` further jobs each shard is asked for.
    pub(super) fn of(&self, wanted: u32, now: Timestamp) -> impl Iterator<Item = u32> {
        let is_busy = move |last: &Option<Timestamp>| last.is_some_and(|last| last + BUSY > now);
        let busy = u32::try_from(self.came.iter().filter(|last| is_busy(last)).count()).unwrap_or(u32::MAX);
        let (part, mut rest) = (wanted / busy.max(1), wanted % busy.max(1));
        self.came.iter().map(move |last| {
            if is_busy(last) {
                let more = u32::from(rest > 0);
                rest -= more;
                (part + more).max(wanted.min(1))
            } else {
                wanted.min(1)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shard_whose_jobs_came_has_all_that_is_wanted_and_the_others_one_each() {
        let at = |ms: u64| Timestamp(ms * 1_000);
        let mut shares = Shares::new(3);
        let asked = |shares: &Shares, wanted, ms| shares.of(wanted, at(ms)).collect::<Vec<_>>();
        assert_eq!(asked(&shares, 100, 0), [1, 1, 1], "where they are is to be seen");
        shares.came(1, at(10));
        assert_eq!(asked(&shares, 99, 20), [1, 99, 1]);
        shares.came(2, at(20));
        assert_eq!(asked(&shares, 99, 30), [1, 50, 49]);
        assert_eq!(asked(&shares, 0, 30), [0, 0, 0]);
        assert_eq!(asked(&shares, 99, 2_015), [1, 1, 99]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_more_are_asked_for_than_are_wanted_and_one_a_shard_and_none_is_left_out(
            came in prop::collection::vec(prop::option::of(0..5_000_u64), 1..9),
            wanted in 0..200_u32,
        ) {
            let shares = Shares { came: came.iter().map(|ms| ms.map(|ms| Timestamp(ms * 1_000))).collect() };
            let asked: Vec<u32> = shares.of(wanted, Timestamp(5_000_000)).collect();
            prop_assert!(asked.iter().sum::<u32>() <= wanted + u32::try_from(came.len()).unwrap());
            prop_assert!(asked.iter().all(|one| wanted.min(1) <= *one && *one <= wanted));
        }
    }
}
