//! A result under this owner's epoch: it counts with the current token and from the holder alone. A failure ends the job
//! unless its worker calls it retryable and the job has attempts left.

use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef};

use super::heartbeat::holds;
use crate::Scheduler;
use crate::transitions::{ended, refused, retried};

pub(crate) fn decide(
    scheduler: &Scheduler,
    report: &Report,
    at: Timestamp,
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    let Report::Result {
        worker, lane, source, token, outcome, reason, output, usage, retryable, retry_after_ms, ..
    } = report
    else {
        return;
    };
    let by = Holder { worker: worker.clone(), token: *token, lane: *lane };
    let refuse = |by, reason: &str| SchedulerFact::ResultRefused { source: source.clone(), by, reason: reason.into() };
    let fact = match (scheduler.state.job(source), scheduler.state.ended(source)) {
        (Some(job), _) if holds(scheduler, worker, source, *token) => match outcome {
            Outcome::Cancelled if job.ending().is_some() => ended::stopped(job, Some(by), *usage),
            // Stopped for want of progress: the attempt has failed.
            Outcome::Cancelled if let Some(stopping) = &job.stopping => {
                retried::by_result(scheduler, job, &by, (&stopping.reason, *usage, None), at)
                    .unwrap_or_else(|| ended::by_last_failure(job, by, (&stopping.reason, *usage)))
            }
            Outcome::Failed if *retryable => {
                let failure = (reason.as_str(), *usage, *retry_after_ms);
                retried::by_result(scheduler, job, &by, failure, at)
                    .unwrap_or_else(|| ended::by_last_failure(job, by, (reason, *usage)))
            }
            Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => {
                ended::by_result(scheduler, job, by, (*outcome, reason, *usage), output.as_deref())
            }
            Outcome::Denied | Outcome::Dead => refuse(by, refused::BAD_OUTCOME),
        },
        (Some(job), _) if job.token == *token && job.lease.is_some() => refuse(by, refused::NOT_HOLDER),
        (Some(job), _) if job.token == *token && job.answered.as_ref() == Some(worker) => {
            SchedulerFact::ResultRepeated { source: source.clone(), by }
        }
        (Some(_), _) => refuse(by, refused::STALE_FENCE),
        (None, Some(Some((winner, accepted)))) if winner == worker && accepted == token => {
            SchedulerFact::ResultRepeated { source: source.clone(), by }
        }
        (None, Some(_)) => refuse(by, refused::FINISHED),
        (None, None) => refuse(by, refused::UNKNOWN_JOB),
    };
    let changes_nothing = matches!(fact, SchedulerFact::ResultRefused { .. } | SchedulerFact::ResultRepeated { .. });
    if changes_nothing && refused::left(scheduler, worker, at) == 0 {
        return;
    }
    decision.settle(record, fact);
}
