//! `WorkerOutrun`: a worker says Hello with a number that is not above the one that its name has, and learns that one.

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef, Outbox};

use crate::Scheduler;

pub(crate) fn decide(
    scheduler: &Scheduler,
    worker: &WorkerId,
    said: u64,
    lane: u32,
    hello: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    if let Some(known) = scheduler.state.worker(worker) {
        let known = known.incarnation;
        decision.settle(hello, SchedulerFact::WorkerOutrun { worker: worker.clone(), said, known, lane });
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, worker: &WorkerId, at: Timestamp) {
    if scheduler.soft.epoch.is_some() {
        scheduler.soft.counts.outrun += 1;
        scheduler.soft.hellos.entry(worker.clone()).or_default().outruns.take(at);
    }
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let SchedulerFact::WorkerOutrun { worker, said, known, lane } = fact else { return };
    scheduler.order(0, *lane, worker, None, &Order::Outrun { said: *said, known: *known }, out);
}
