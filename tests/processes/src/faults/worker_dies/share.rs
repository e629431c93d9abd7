//! What the facts say of a burst at a moment, and of the leases of a worker that died.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::ledger::{Account, Lease, Ledger};

/// Jobs that are leased at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// To anybody.
    pub(super) running: u32,
    /// To the worker that died.
    pub(super) of_the_dead: u32,
}

/// What became of the leases that a worker had when it died, milliseconds after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct After {
    /// How many there were.
    pub(super) interrupted: u32,
    /// When the last of them ended.
    pub(super) lost_ms: i64,
    /// When the last of their jobs was leased again.
    pub(super) leased_ms: i64,
}

/// The lease of a job at a moment: the last one granted by then, if it has not ended.
fn lease_at(account: &Account, at_ms: i64) -> Option<&Lease> {
    let lease = account.leases.iter().rev().find(|lease| lease.granted_ms <= at_ms)?;
    let lost = lease.lost.as_ref().is_some_and(|(lost_ms, _)| *lost_ms <= at_ms);
    let ended = account.ended_ms.is_some_and(|ended_ms| ended_ms <= at_ms);
    (!lost && !ended).then_some(lease)
}

impl Share {
    pub(super) fn at(ledger: &Ledger, dead: &str, at_ms: i64) -> Self {
        let mut share = Self { running: 0, of_the_dead: 0 };
        for lease in ledger.accounts().filter_map(|(_, account)| lease_at(account, at_ms)) {
            share.running += 1;
            share.of_the_dead += u32::from(&*lease.worker == dead);
        }
        share
    }
}

impl After {
    /// # Errors
    /// When a job was not leased again.
    pub(super) fn read(ledger: &Ledger, dead: &str, killed_ms: i64) -> anyhow::Result<Self> {
        let mut after = Self { interrupted: 0, lost_ms: 0, leased_ms: 0 };
        for (position, account) in ledger.accounts() {
            let Some(lease) = lease_at(account, killed_ms).filter(|lease| &*lease.worker == dead) else { continue };
            // Its result may have been on its way.
            let Some((lost_ms, _)) = lease.lost else { continue };
            let next = account.leases.iter().find(|next| next.token > lease.token);
            let next = next.with_context(|| format!("{position} was lost with its worker and not leased again"))?;
            after.interrupted += 1;
            after.lost_ms = after.lost_ms.max(lost_ms - killed_ms);
            after.leased_ms = after.leased_ms.max(next.granted_ms - killed_ms);
        }
        Ok(after)
    }
}

/// The worker that has most of what is leased now.
pub(super) fn busiest(ledger: &Ledger) -> Option<String> {
    let mut has: BTreeMap<&str, u32> = BTreeMap::new();
    for lease in ledger.accounts().filter_map(|(_, account)| lease_at(account, i64::MAX)) {
        *has.entry(&lease.worker).or_default() += 1;
    }
    has.into_iter().max_by_key(|(_, jobs)| *jobs).map(|(worker, _)| worker.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::facts::Token;

    fn lease(attempt: u32, worker: &str, granted_ms: i64, lost_ms: Option<i64>) -> Lease {
        let lost = lost_ms.map(|at| (at, "silent".to_owned()));
        Lease { token: Token { epoch: 1, attempt }, worker: worker.into(), granted_ms, lost }
    }

    #[test]
    fn a_job_runs_where_its_last_lease_is_until_that_is_lost_or_the_job_has_ended() {
        let leases = vec![lease(1, "a", 10, Some(40)), lease(2, "b", 50, None)];
        let account = Account { leases, ended_ms: Some(90), ..Account::default() };
        let at = |ms| lease_at(&account, ms).map(|lease| &*lease.worker);
        assert_eq!(
            [9, 10, 39, 40, 49, 50, 89, 90].map(at),
            [None, Some("a"), Some("a"), None, None, Some("b"), Some("b"), None]
        );
    }
}
