//! `ResultRefused` and `ResultRepeated`: the sender of a result learns that it does not count, or that it did.

use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Outbox;

use crate::Scheduler;

/// The token is not the job's current one.
pub(crate) const STALE_FENCE: &str = "stale_fence";
/// The token is current, but another worker's or incarnation's.
pub(crate) const NOT_HOLDER: &str = "not_holder";
/// No such job is leased, requeued or remembered.
pub(crate) const UNKNOWN_JOB: &str = "unknown_job";
/// The job ended, by another result or without one.
pub(crate) const FINISHED: &str = "finished";
/// A worker may not say so.
pub(crate) const BAD_OUTCOME: &str = "bad_outcome";

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition, by: &Holder, reason: &str, at: Timestamp) {
    let soft = &mut scheduler.soft;
    if soft.epoch.is_none() {
        return;
    }
    if reason == STALE_FENCE {
        soft.counts.stale_fences += 1;
    }
    *soft.counts.refused.entry(reason.to_owned()).or_default() += 1;
    if let Some(present) = soft.fleet.get_mut(&by.worker) {
        present.tell(source, by.token);
        present.answers.give(at);
    }
}

/// An accepted result came again: that is said again.
pub(crate) fn repeated(scheduler: &mut Scheduler, by: &Holder, at: Timestamp) {
    scheduler.soft.counts.repeated += 1;
    if let Some(present) = scheduler.soft.fleet.get_mut(&by.worker) {
        present.answers.give(at);
    }
}

/// How many more answers that change nothing a worker gets at `at`.
pub(crate) fn left(scheduler: &Scheduler, worker: &WorkerId, at: Timestamp) -> usize {
    scheduler.soft.fleet.get(worker).map_or(0, |present| present.answers.left(at))
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let (source, by, accepted, reason) = match fact {
        SchedulerFact::ResultRefused { source, by, reason } => (source, by, false, reason.clone()),
        SchedulerFact::ResultRepeated { source, by } => (source, by, true, String::new()),
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::LeaseGranted { .. }
        | SchedulerFact::LeaseExpired { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::JobRetried { .. }
        | SchedulerFact::JobDelayed { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::JobFinished { .. }
        | SchedulerFact::JobDuplicate { .. }
        | SchedulerFact::JobMoved { .. }
        | SchedulerFact::JobReturned { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::PoolCommandRefused { .. }
        | SchedulerFact::WorkerForgotten { .. } => return,
    };
    let order = Order::Settled { source: source.clone(), token: by.token, accepted, reason };
    scheduler.order(0, by.lane, &by.worker, Some(source), &order, out);
}
