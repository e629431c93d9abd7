//! A job that was not run goes back.

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_stage::{Decision, InputRef};

use super::heartbeat::holds;
use crate::Scheduler;

/// Soft: counts what cannot be given back.
pub(crate) fn note(scheduler: &mut Scheduler, report: &Report) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if !holds(scheduler, worker, source, *token) {
        scheduler.soft.counts.idle_give_backs += 1;
    }
}

pub(crate) fn decide(scheduler: &Scheduler, report: &Report, record: InputRef, decision: &mut Decision<SchedulerFact>) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if holds(scheduler, worker, source, *token) {
        let fact = SchedulerFact::LeaseExpired { source: source.clone(), token: *token, end: LeaseEnd::GivenBack };
        decision.settle(record, fact);
    }
}
