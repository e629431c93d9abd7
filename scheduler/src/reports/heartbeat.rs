//! A heartbeat under this owner's epoch: what runs is renewed, what is missing was lost, what is too much is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_protocol::facts::{Holder, LeaseEnd, SchedulerFact, Token};
use tidegate_protocol::fleet::{Held, Report};
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef};

use super::settle;
use crate::Scheduler;
use crate::fleet::{MOST_HELD, Offer};
use crate::placement::Can;
use crate::transitions::{cancelled, expired, refused};

/// Most entries of one heartbeat that are told to be dropped; the rest is by a later one.
const DROPPED_AT_ONCE: usize = 100;

/// A load from 0 to 1 in 65,536ths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 65,536; what is no number is 0")]
fn in_parts(load: f64) -> u64 {
    (load.clamp(0.0, 1.0) * 65_536.0) as u64
}

/// Soft: the worker's offer and credit, and the terms of what it lists.
pub(crate) fn note(scheduler: &mut Scheduler, report: &Report, at: Timestamp) {
    let Report::Heartbeat {
        worker,
        capabilities,
        capacity,
        running,
        received,
        credit,
        draining,
        tenants,
        labels,
        load,
        ..
    } = report
    else {
        return;
    };
    let mut waiting = BTreeSet::new();
    for held in running {
        if holds(scheduler, worker, &held.source, held.token) {
            scheduler.soft.leases.set(&held.source, at + scheduler.pool.lease);
            if held.waits {
                waiting.insert(held.source.clone());
                // It cannot make any while it waits.
                scheduler.progressed(&held.source, at);
            }
        }
    }
    if let Some(present) = scheduler.soft.fleet.get_mut(worker) {
        present.waiting = waiting;
        let known = present.offer.take().map(|offer| offer.can);
        let mut named = capabilities.clone();
        named.sort_unstable();
        named.dedup();
        let can = match known {
            Some(known)
                if *known.capabilities == *named
                    && known.tenants.as_deref() == tenants.as_deref()
                    && *known.labels == *labels =>
            {
                known
            }
            Some(_) | None => Can {
                capabilities: named.into(),
                tenants: tenants.as_deref().map(Arc::from),
                children: false,
                labels: Arc::new(labels.clone()),
            },
        };
        let (capacity, busy) = ((*capacity).min(MOST_HELD), load.map_or(0, in_parts));
        present.offer = Some(Offer { can, capacity, received: *received, credit: *credit, draining: *draining, busy });
        if !present.told.is_empty() {
            let listed: BTreeSet<_> = running.iter().map(|held| (&held.source, held.token)).collect();
            present.told.retain(|(source, token)| listed.contains(&(source, *token)));
        }
    }
    let left = refused::left(scheduler, worker, at);
    if left < DROPPED_AT_ONCE {
        let to_drop = dropped(scheduler, worker, running).take(DROPPED_AT_ONCE).count();
        scheduler.soft.counts.unanswered += to_drop.saturating_sub(left) as u64;
    }
    scheduler.heard_of(worker, at);
}

/// A job that is to stop is listed to an owner that has not said so: it is said. A lease the report does not list is lost: at once when it is of an older epoch, or when the worker received later
/// assignments; otherwise it may still be on its way. An entry that is no lease of this worker is to be dropped, said
/// once.
pub(crate) fn decide(
    scheduler: &Scheduler,
    report: &Report,
    (epoch, at): (u64, Timestamp),
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    let Report::Heartbeat { worker, lane, running, received, .. } = report else { return };
    let mut facts = Vec::new();
    let listed: BTreeSet<(&SourcePosition, Token)> = running.iter().map(|held| (&held.source, held.token)).collect();
    for (source, job, lease) in scheduler.state.held(worker) {
        let has_met = job.token.epoch < epoch || lease.number <= *received;
        if listed.contains(&(source, job.token)) {
            facts.extend(cancelled::restated(scheduler, job));
        } else if has_met {
            facts.push(expired::fact(scheduler, job, LeaseEnd::NotHeld, at));
        }
    }
    let most = DROPPED_AT_ONCE.min(refused::left(scheduler, worker, at));
    facts.extend(dropped(scheduler, worker, running).take(most).map(|(Held { source, token, .. }, reason)| {
        let by = Holder { worker: worker.clone(), token: *token, lane: *lane };
        SchedulerFact::ResultRefused { source: source.clone(), by, reason: reason.into() }
    }));
    settle(facts, record, decision);
}

/// What is listed, is no lease of the worker's, and has not been told to be dropped; and why it is to be.
fn dropped<'a>(
    scheduler: &'a Scheduler,
    worker: &'a WorkerId,
    running: &'a [Held],
) -> impl Iterator<Item = (&'a Held, &'static str)> {
    let told = scheduler.soft.fleet.get(worker).map(|present| &present.told);
    let mut seen = BTreeSet::new();
    running.iter().filter_map(move |held| {
        let Held { source, token, .. } = held;
        let reason = to_drop(scheduler, worker, source, *token)?;
        let anew = !told.is_some_and(|told| told.contains(&(source.clone(), *token))) && seen.insert((source, token));
        anew.then_some((held, reason))
    })
}

/// Why a listed job is no longer this worker's; `None` when it is, or its `Settled` is on its way.
fn to_drop(scheduler: &Scheduler, worker: &WorkerId, source: &SourcePosition, token: Token) -> Option<&'static str> {
    if holds(scheduler, worker, source, token) {
        return None;
    }
    if let Some(job) = scheduler.state.job(source) {
        let taken = job.token == token && job.answered.as_ref() == Some(worker);
        return (!taken).then_some(refused::STALE_FENCE);
    }
    match scheduler.state.ended(source) {
        Some(Some((by, accepted))) if by == worker && *accepted == token => None,
        Some(_) => Some(refused::FINISHED),
        None => Some(refused::UNKNOWN_JOB),
    }
}

/// Whether the worker has the job under that token.
pub(crate) fn holds(scheduler: &Scheduler, worker: &WorkerId, source: &SourcePosition, token: Token) -> bool {
    scheduler.state.job(source).is_some_and(|job| {
        let present = scheduler.soft.fleet.get(worker);
        job.token == token
            && job.lease.as_ref().is_some_and(|lease| {
                lease.worker == *worker && present.is_some_and(|present| present.incarnation == lease.incarnation)
            })
    })
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::ids::TenantId;
    use tidegate_protocol::job::Job;

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, held, job, layout};

    #[test]
    fn one_heartbeat_leads_to_a_bounded_number_of_facts() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let running = (0..5_000).map(|n| held(n, Token { epoch: 1, attempt: 1 })).collect();
        let says = Says { epoch: 1, running, ..Says::of("w") };
        shard.report(&says.hello());
        assert_eq!(shard.report(&says.heartbeat()).facts.len(), 100);
        assert_eq!(shard.report(&says.heartbeat()).facts.len(), 100);
    }

    #[test]
    fn a_worker_of_some_tenants_gets_no_other_tenants_job_also_of_those_that_waited_before_it_came() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let of = |tenant: &str, n| Job { tenant: TenantId::new(tenant).unwrap(), ..job(&format!("j{n}"), n) };
        let acme = Some(vec![TenantId::new("acme").unwrap()]);
        for (n, tenant) in ["globex", "acme", "t"].into_iter().enumerate() {
            shard.approved(approved(&of(tenant, n as u64), "1"));
        }
        let says = Says { epoch: 1, capacity: 9, credit: 9, tenants: acme, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        let granted = |shard: &mut Shard| -> Vec<u64> {
            let facts = shard.poll().facts;
            let source = |fact: &SchedulerFact| {
                let SchedulerFact::LeaseGranted { source, .. } = fact else { panic!("{fact:?}") };
                source.offset
            };
            facts.iter().map(source).collect()
        };
        assert_eq!(granted(&mut shard), [1]);
        shard.approved(approved(&of("globex", 3), "1"));
        shard.approved(approved(&of("acme", 4), "1"));
        assert_eq!(granted(&mut shard), [4]);
        // One of all tenants takes what is left, whosever it is.
        let all = Says { epoch: 1, capacity: 9, credit: 9, ..Says::of("all") };
        shard.report(&all.hello());
        shard.report(&all.heartbeat());
        assert_eq!(granted(&mut shard), [0, 2, 3]);
    }

    #[test]
    fn a_worker_holds_a_thousand_jobs_at_most_whatever_it_says() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        for n in 0..1_100 {
            shard.approved(approved(&job(&format!("j{n}"), n), "1"));
        }
        let says = Says { epoch: 1, capacity: u32::MAX, credit: u64::MAX, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        assert_eq!(shard.poll().facts.len(), 1_000);
    }
}
