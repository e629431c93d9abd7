//! A lease is not kept without progress: its job is asked to stop when the pool's time for that is over.
//!
//! Judged while nothing goes wrong any more: before, an owner may have been away, or unable to read what workers reported.

use std::collections::BTreeMap;

use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::job::SourcePosition;

use super::leases::CLOCKS;
use super::parts::{LEASE_MS, Terms};
use super::promises::Told;
use crate::clock::broker_us;
use crate::ledger::facts::ValidGroup;
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::run::CALM_US;

/// A tick comes so long after what it is for, at most: control inputs are read up to their ends first. Microseconds.
const TICK: u64 = 1_000_000;

/// Judges a shard's facts, in their order. `begun`: the broker's time of each epoch's barrier, microseconds. How many leases outlived
/// the time of their pool, and were asked to stop for it.
pub fn check(
    groups: &[ValidGroup<SchedulerFact>],
    terms: Terms,
    told: &Told,
    begun: &BTreeMap<u64, u64>,
    verdicts: &mut Verdicts,
) -> u64 {
    let Some(progress_ms) = terms.progress_ms else { return 0 };
    // An owner that could read nothing for a while allows a lease more, the last time when all is well again.
    let calm = broker_us(CALM_US) + LEASE_MS * 1_000;
    let mut watched: BTreeMap<SourcePosition, (Token, u64)> = BTreeMap::new();
    let mut stopped = 0;
    for group in groups {
        let owned = begun.get(&group.group.epoch).copied().unwrap_or(0);
        for record in &group.group.facts {
            let at = record.at.0;
            for (source, (token, since)) in &watched {
                let signs = told.progress.get(&(source.clone(), *token)).into_iter().flatten().copied();
                let last = signs.filter(|sign| *sign <= at).max().unwrap_or(0).max(*since).max(owned).max(calm);
                verdicts.must(at <= last + progress_ms * 1_000 + TICK + CLOCKS, Invariant::Stalled, || {
                    format!("{source} {token:?} is leased at {at}, without a sign of progress since {last}")
                });
            }
            if let SchedulerFact::LeaseGranted { source, token, .. } = &record.fact {
                watched.insert(source.clone(), (*token, at));
            } else if let SchedulerFact::CancelAsked { source, again, .. } = &record.fact {
                watched.remove(source);
                stopped += u64::from(*again);
            } else if let SchedulerFact::LeaseExpired { source, .. }
            | SchedulerFact::JobRetried { source, .. }
            | SchedulerFact::JobFinished { source, .. } = &record.fact
            {
                watched.remove(source);
            }
        }
    }
    stopped
}
