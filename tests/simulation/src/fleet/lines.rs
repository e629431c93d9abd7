//! Jobs with an ordering key, in the order of all shards' groups: of one tenant and key at most one is leased at a time, and of those of
//! one partition the first goes first.
//!
//! *First* is told from outside: a job stands in line from when its ticket stands in its bucket of `approved` until it ends or goes
//! back to its kernel. Whoever is given a lease has been read, and so has everything before it in its bucket. So no job may be
//! leased while an earlier one of its partition and key, whose ticket stands before its own in the bucket, is in line.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::SourcePosition;

use super::wishes::{Released, Ticket, Wishes};
use crate::ledger::facts::ValidGroup;
use crate::ledger::verdicts::{Invariant, Verdicts};

#[derive(Default)]
struct Line<'a> {
    jobs: BTreeSet<&'a SourcePosition>,
    leased: BTreeSet<&'a SourcePosition>,
}

/// Judges the groups of all shards; how many leases were of jobs with a key that others had too.
pub fn check(
    groups: &[ValidGroup<SchedulerFact>],
    released: &BTreeMap<SourcePosition, Released>,
    wishes: &Wishes,
    verdicts: &mut Verdicts,
) -> u64 {
    let key_of = |source: &SourcePosition| {
        let wish = wishes.get(source)?;
        Some((wish.tenant.as_str(), wish.ordering_key.as_deref()?))
    };
    let mut lines: BTreeMap<(&str, &str), Line<'_>> = BTreeMap::new();
    for source in released.keys() {
        if let Some(key) = key_of(source) {
            lines.entry(key).or_default().jobs.insert(source);
        }
    }
    // How many of its tickets are used up.
    let mut used: BTreeMap<&SourcePosition, usize> = BTreeMap::new();
    let ticket = |source: &SourcePosition, used: &BTreeMap<&SourcePosition, usize>| -> Option<Ticket> {
        released.get(source)?.tickets.get(used.get(source).copied().unwrap_or(0)).copied()
    };
    let mut order: Vec<&ValidGroup<SchedulerFact>> = groups.iter().collect();
    order.sort_by_key(|group| group.number);
    let mut judged = 0;
    for record in order.iter().flat_map(|group| &group.group.facts) {
        match &record.fact {
            SchedulerFact::LeaseGranted { source, .. } => {
                let Some(key) = key_of(source) else { continue };
                let Some(line) = lines.get_mut(&key) else { continue };
                judged += u64::from(line.jobs.len() > 1);
                verdicts.must(line.leased.is_empty(), Invariant::Order, || {
                    format!("{source} of {key:?} was leased at {:?} while {:?} was", record.at, line.leased)
                });
                if let Some(own) = ticket(source, &used) {
                    let before = |other: &&&SourcePosition| {
                        let same = (&other.source, other.partition) == (&source.source, source.partition);
                        let stands = |other: Ticket| other.bucket == own.bucket && other.offset < own.offset;
                        same && ***other < *source && ticket(other, &used).is_some_and(stands)
                    };
                    let ahead = line.jobs.iter().find(before);
                    verdicts.must(ahead.is_none(), Invariant::Order, || {
                        format!("{source} of {key:?} was leased at {:?}, but {ahead:?} is ahead of it", record.at)
                    });
                }
                line.leased.insert(source);
            }
            SchedulerFact::LeaseExpired { source, .. } | SchedulerFact::JobRetried { source, .. } => {
                if let Some(line) = key_of(source).and_then(|key| lines.get_mut(&key)) {
                    line.leased.remove(source);
                }
            }
            SchedulerFact::JobFinished { source, .. }
            | SchedulerFact::JobDuplicate { source, .. }
            | SchedulerFact::JobReturned { source, .. } => {
                *used.entry(source).or_default() += 1;
                if let Some(line) = key_of(source).and_then(|key| lines.get_mut(&key)) {
                    line.leased.remove(source);
                }
            }
            SchedulerFact::WorkerWelcomed { .. }
            | SchedulerFact::WorkerOutrun { .. }
            | SchedulerFact::CancelAsked { .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::WithdrawalMoved { .. }
            | SchedulerFact::JobDelayed { .. }
            | SchedulerFact::JobDue { .. }
            | SchedulerFact::JobMoved { .. }
            | SchedulerFact::ResultRepeated { .. }
            | SchedulerFact::ResultRefused { .. }
            | SchedulerFact::WorkRefused { .. }
            | SchedulerFact::WorkerForgotten { .. }
            | SchedulerFact::WorkerCordoned { .. }
            | SchedulerFact::WorkerUncordoned { .. }
            | SchedulerFact::PoolCommandRefused { .. }
            | SchedulerFact::SliceRequested { .. }
            | SchedulerFact::SliceGranted { .. }
            | SchedulerFact::SliceReturned { .. } => {}
        }
    }
    judged
}
