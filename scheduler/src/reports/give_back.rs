//! A job that was not run goes back.

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef};

use super::heartbeat::holds;
use crate::Scheduler;
use crate::transitions::expired;

/// Soft: counts what cannot be given back.
pub(crate) fn note(scheduler: &mut Scheduler, report: &Report) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if !holds(scheduler, worker, source, *token) {
        scheduler.soft.counts.idle_give_backs += 1;
    }
}

pub(crate) fn decide(
    scheduler: &Scheduler,
    report: &Report,
    at: Timestamp,
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if holds(scheduler, worker, source, *token)
        && let Some(job) = scheduler.state.job(source)
    {
        decision.settle(record, expired::fact(scheduler, job, LeaseEnd::GivenBack, at));
    }
}
