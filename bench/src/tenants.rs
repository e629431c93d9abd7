//! Whose jobs the load is made of.

use crate::governed::TENANT;

/// Of so many jobs in a row one is a quiet tenant's, when a noisy one is there: 95 % are the noisy one's.
pub(crate) const ONE_IN: u64 = 20;
/// The quiet tenants.
pub(crate) const QUIET: [&str; 4] = ["quiet-1", "quiet-2", "quiet-3", "quiet-4"];
/// The noisy one.
const NOISY: &str = "noisy";

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenants {
    /// One, for everything.
    One,
    /// The quiet ones in turn.
    Quiet,
    /// The same, and the noisy one.
    Noisy,
}

impl Tenants {
    /// Whose the job of this number is, and whether it counts in the figures.
    pub(crate) fn of(self, number: u64) -> (&'static str, bool) {
        let quiet = |turn: u64| QUIET.get(usize::try_from(turn % QUIET.len() as u64).unwrap_or(0)).copied();
        match self {
            Self::One => (TENANT, true),
            // Partitions are taken in turn too: each tenant's jobs go to all of them.
            Self::Quiet => (quiet(number / QUIET.len() as u64).unwrap_or(NOISY), true),
            Self::Noisy => {
                let (block, place) = (number / ONE_IN, number % ONE_IN);
                match quiet(block / QUIET.len() as u64).filter(|_| place == block % ONE_IN) {
                    Some(tenant) => (tenant, true),
                    None => (NOISY, false),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_twentieth_is_the_quiet_tenants_and_each_of_them_is_in_every_partition() {
        let mut sent: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        let numbers = 16 * ONE_IN;
        for number in 0..numbers {
            let (tenant, counts) = Tenants::Noisy.of(number);
            assert_eq!(counts, tenant != NOISY);
            *sent.entry((tenant, number % 4)).or_default() += 1;
        }
        for tenant in QUIET {
            for partition in 0..4 {
                assert_eq!(sent.get(&(tenant, partition)), Some(&1), "{sent:?}");
                let alone = (0..16).filter(|n| n % 4 == partition && Tenants::Quiet.of(*n) == (tenant, true));
                assert_eq!(alone.count(), 1);
            }
        }
        assert_eq!(sent.values().sum::<u64>(), numbers);
    }
}
