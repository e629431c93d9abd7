//! `WorkerWelcomed`: a worker learns this owner's epoch; leases of its older incarnations end first.

use std::collections::BTreeSet;

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef, Outbox};

use super::{cordoned, expired};
use crate::Scheduler;
use crate::fleet::Present;

/// The last fact settles the report: should an owner end between them, the report is decided again and the rest follows.
pub(crate) fn decide(
    scheduler: &Scheduler,
    worker: &WorkerId,
    incarnation: u64,
    lane: u32,
    (epoch, at): (u64, Timestamp),
    report: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    for (_, job, lease) in scheduler.state.held(worker) {
        if lease.incarnation < incarnation {
            decision.fact(expired::fact(scheduler, job, LeaseEnd::NewIncarnation, at));
        }
    }
    decision.settle(report, SchedulerFact::WorkerWelcomed { worker: worker.clone(), incarnation, epoch, lane });
}

pub(crate) fn apply(scheduler: &mut Scheduler, worker: &WorkerId, incarnation: u64, lane: u32, at: Timestamp) {
    scheduler.state.welcome(worker, incarnation, lane);
    if scheduler.soft.epoch.is_none() {
        return;
    }
    scheduler.soft.counts.welcomed += 1;
    scheduler.soft.hellos.entry(worker.clone()).or_default().welcomes.take(at);
    // Of the name: whoever begins anew has no other.
    let answers = scheduler.soft.fleet.get(worker).map(|present| present.answers).unwrap_or_default();
    let before = scheduler.soft.fleet.get(worker).filter(|present| present.incarnation == incarnation);
    let present = Present {
        incarnation,
        lane,
        welcomed: at,
        offer: None,
        sent: before.map_or(0, |present| present.sent),
        heard: at,
        silent: false,
        told: BTreeSet::new(),
        last_grant: before.map_or(0, |present| present.last_grant),
        resting: before.is_some_and(|present| present.resting),
        rests: before.map_or(0, |present| present.rests),
        waiting: BTreeSet::new(),
        answers,
    };
    scheduler.soft.fleet.insert(worker.clone(), present);
    scheduler.refresh(worker, at);
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let SchedulerFact::WorkerWelcomed { worker, incarnation, epoch, lane } = fact else { return };
    let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let order = Order::Welcome {
        incarnation: *incarnation,
        epoch: *epoch,
        heartbeat_ms: millis(scheduler.pool.heartbeat),
        lease_ms: millis(scheduler.pool.lease),
    };
    scheduler.order(0, *lane, worker, None, &order, out);
    // An operator wants it to leave, and it may not have been told.
    cordoned::leave(scheduler, 1, worker, *incarnation, *lane, out);
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::SchedulerFact;
    use tidegate_protocol::fleet::Order;

    use crate::Tuning;
    use crate::driver::{Shard, capabilities, hello, layout};

    #[test]
    fn a_hello_is_answered_with_epoch_and_terms_and_repeated_at_most_every_half_heartbeat() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let hello = hello("w", 4, capabilities(&["echo"]), 1);
        let step = shard.report(&hello);
        assert!(matches!(&step.facts[..], [SchedulerFact::WorkerWelcomed { incarnation: 4, epoch: 1, .. }]));
        let order = serde_json::from_slice(step.messages.first().unwrap().value.as_ref().unwrap()).unwrap();
        assert!(
            matches!(order, Order::Welcome { incarnation: 4, epoch: 1, heartbeat_ms: 2_500, lease_ms: 10_000 }),
            "{order:?}"
        );
        assert!(shard.report(&hello).facts.is_empty());
        shard.wait(std::time::Duration::from_millis(1_251));
        assert_eq!(shard.report(&hello).facts.len(), 1);
    }
}
