//! `LeaseGranted`: a job goes to a worker.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Spend;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, Outbox};

use super::{ended, returned, slices};
use crate::Scheduler;
use crate::gate::Takes;
use crate::state::Lease;
use crate::transition::Phase;
use crate::work::Work;

/// One lease, or what must be asked for before it, or the end of the job whose turn it is and whose deadline has passed, or its way back when its ticket has; false when nothing can be placed.
pub(crate) fn next(scheduler: &Scheduler, epoch: u64, at: Timestamp, decision: &mut Decision<SchedulerFact>) -> bool {
    let soft = &scheduler.soft;
    let Some((class, worker)) = soft.placement.best() else { return false };
    let Some((_, source)) = soft.ready.head(class) else { return false };
    let Some(present) = soft.fleet.get(worker) else { return false };
    let (job, waiting) = (scheduler.state.job(source), soft.window.get(source));
    let Some(work) = job.map(|job| &job.work).or(waiting.map(|waiting| &waiting.work)) else { return false };
    if work.terms().deadline.is_some_and(|deadline| deadline <= at) {
        ended::timed_out(scheduler, source, decision);
        return true;
    }
    if work.expires <= at {
        returned::expired(scheduler, source, decision);
        return true;
    }
    if present.heard + scheduler.pool.lease <= at {
        return false; // silent, and not swept yet
    }
    let (spends, asks) = match scheduler.take(&work.alike, epoch, at) {
        Takes::Spends(spends, asks) => (spends, asks),
        Takes::Asks(asks) => return slices::ask(asks, decision),
    };
    let fact = SchedulerFact::LeaseGranted {
        source: source.clone(),
        worker: worker.clone(),
        incarnation: present.incarnation,
        token: Token { epoch, attempt: job.map_or(work.terms().leases, |job| job.token.attempt).saturating_add(1) },
        number: present.last_number().saturating_add(1),
        lane: present.lane,
        work: if job.is_none() { Some(work.text.as_ref().to_owned()) } else { None },
        moved: if job.is_none() { work.terms().moved } else { 0 },
        spends,
    };
    match waiting {
        Some(waiting) if job.is_none() => decision.settle(waiting.input, fact),
        Some(_) | None => decision.fact(fact),
    }
    slices::ask(asks, decision);
    true
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    lease: Lease,
    token: Token,
    (work, spends): (Option<&RawValue>, &[Spend]),
    at: Timestamp,
) {
    let of = scheduler.owner_of(source);
    let waited = scheduler.soft.window.remove(source).map(|waiting| waiting.work);
    let work = match (scheduler.state.phase(source), waited, work) {
        (Phase::Requeued | Phase::Delayed, ..) => None,
        // What the window holds is what the fact was made of.
        (Phase::Waiting | Phase::Leased | Phase::Ended, Some(work), _) => Some(work),
        (Phase::Waiting | Phase::Leased | Phase::Ended, None, Some(text)) => Work::of(Arc::from(text.to_owned())).ok(),
        (Phase::Waiting | Phase::Leased | Phase::Ended, None, None) => None,
    };
    let (worker, number) = (lease.worker.clone(), lease.number);
    if !scheduler.state.grant(source, work, token, lease) {
        scheduler.soft.counts.impossible_facts += 1;
        return;
    }
    if !spends.is_empty() {
        scheduler.state.wallet_mut().spend(source, spends, at);
    }
    if scheduler.soft.epoch.is_none() {
        return;
    }
    // The lease is counted: what it means for its tenant's limits can be said.
    if let Some((_, line)) = of {
        scheduler.serve(source, line.as_ref(), at);
    }
    scheduler.withdraw(source, at);
    let soft = &mut scheduler.soft;
    soft.counts.granted += 1;
    soft.leases.set(source, at + scheduler.pool.lease);
    if let Some(present) = soft.fleet.get_mut(&worker) {
        present.sent = number;
        present.last_grant = soft.counts.granted;
        // It said so of an earlier lease.
        present.waiting.remove(source);
    }
    soft.placement.granted(&worker);
    scheduler.watch(source, at);
    scheduler.refresh(&worker, at);
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let SchedulerFact::LeaseGranted { source, worker, incarnation, token, number, lane, .. } = fact else { return };
    let Some(job) = scheduler.state.job(source).filter(|job| job.token == *token) else { return };
    let order = Order::Assignment {
        incarnation: *incarnation,
        number: *number,
        source: source.clone(),
        token: *token,
        work: job.work.text.as_ref().to_owned(),
    };
    scheduler.order(0, *lane, worker, Some(source), &order, out);
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::SchedulerFact;
    use tidegate_protocol::headers;
    use tidegate_stage::{Delivery, Outbox, Stage};

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, job, layout};

    #[test]
    fn the_first_lease_carries_the_record_and_its_assignment_the_same_text() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let text = approved(&job("a", 1), "{ \"n\" : 1.50 }");
        shard.approved(text.clone());
        shard.report(&Says::of("w").hello());
        shard.report(&Says { epoch: 1, ..Says::of("w") }.heartbeat());
        let step = shard.poll();
        let [SchedulerFact::LeaseGranted { work: Some(work), .. }] = &step.facts[..] else { panic!("{step:?}") };
        assert_eq!(work.get().as_bytes(), &text[..]);
        let message = step.messages.first().unwrap();
        assert_eq!((message.delivery, message.headers.text(headers::TO)), (Delivery::Lane, Some("w")));
        let sent = message.value.as_ref().unwrap();
        assert!(sent.windows(text.len()).any(|part| part == &text[..]));
    }

    #[test]
    fn a_second_lease_of_a_leased_job_is_not_believed() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        shard.report(&Says::of("w").hello());
        shard.report(&Says { epoch: 1, ..Says::of("w") }.heartbeat());
        let mut fact = shard.poll().facts.remove(0);
        let before = shard.stage.snapshot().unwrap();
        if let SchedulerFact::LeaseGranted { worker, token, .. } = &mut fact {
            *worker = crate::driver::worker("thief");
            token.attempt = 2;
        }
        shard.stage.apply(&fact, shard.at);
        let mut outbox = Outbox::new();
        shard.stage.emit(&fact, shard.at, None, &mut outbox);
        assert_eq!((shard.stage.snapshot().unwrap(), outbox.into_messages().len()), (before, 0));
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 1);
    }
}
