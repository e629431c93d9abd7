//! A result under this owner's epoch: it counts with the current token and from the holder alone.

use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::outcome::Outcome;
use tidegate_stage::{Decision, InputRef};

use super::heartbeat::holds;
use crate::Scheduler;
use crate::transitions::{ended, refused};

pub(crate) fn decide(scheduler: &Scheduler, report: &Report, record: InputRef, decision: &mut Decision<SchedulerFact>) {
    let Report::Result { worker, lane, source, token, outcome, reason, output, usage, .. } = report else { return };
    let by = Holder { worker: worker.clone(), token: *token, lane: *lane };
    let refuse = |by, reason: &str| SchedulerFact::ResultRefused { source: source.clone(), by, reason: reason.into() };
    let fact = match (scheduler.state.job(source), scheduler.state.ended(source)) {
        (Some(job), _) if holds(scheduler, worker, source, *token) => match outcome {
            Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => {
                ended::by_result(scheduler, job, by, (*outcome, reason, *usage), output.as_deref())
            }
            Outcome::Denied | Outcome::Dead => refuse(by, refused::BAD_OUTCOME),
        },
        (Some(job), _) if job.token == *token && job.lease.is_some() => refuse(by, refused::NOT_HOLDER),
        (Some(_), _) => refuse(by, refused::STALE_FENCE),
        (None, Some(Some((winner, accepted)))) if winner == worker && accepted == token => {
            SchedulerFact::ResultRepeated { source: source.clone(), by }
        }
        (None, Some(_)) => refuse(by, refused::FINISHED),
        (None, None) => refuse(by, refused::UNKNOWN_JOB),
    };
    decision.settle(record, fact);
}
