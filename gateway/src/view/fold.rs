//! What each fact and message changes in a story.

use serde_json::value::RawValue;
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::job::Job;
use tidegate_protocol::kept::{KeptAs, Replaced};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;

use super::hold::{GivenApproval, HandledStory, RefusedCommand, RevokedStory, WithdrawnStory};
use super::shelf::Shelf;
use super::story::{Attempt, DeadCause, State, Story, millis};

/// Most leases a story remembers.
const ATTEMPTS: usize = 16;
/// Most refused commands a story remembers.
const REFUSED: usize = 16;

pub(super) fn kernel(shelf: &mut Shelf, at: Timestamp, fact: KernelFact) {
    match fact {
        KernelFact::PolicyAdopted { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. } => {}
        KernelFact::JobDecided { job, decision, pool, payload: _, observed, replaces, spends: _, would_take: _ } => {
            let source = job.source.clone();
            shelf.change(&source, |story| {
                // What is allowed anew may run already: pools' logs are read beside this one.
                let anew =
                    judged_anew(story, replaces) && (story.state != State::Running || !decision.verdict.permits());
                if matches!(story.state, State::Unknown | State::Held | State::Deferred) || anew {
                    story.state = match (observed, decision.verdict) {
                        (true, _) => State::Observed,
                        (false, Verdict::Allow | Verdict::AllowWithConstraints) => State::Approved,
                        // Neither released nor ended: the kernel does not write these verdicts yet.
                        (false, Verdict::RequireApproval | Verdict::Throttle) => State::Unknown,
                        (false, Verdict::Deny) => State::Denied,
                    };
                }
                if !observed && decision.verdict == Verdict::Deny {
                    end(story, at, Outcome::Denied, &decision.reason);
                }
                take_job(story, job);
                story.times.decided_ms = Some(millis(at));
                story.decision = Some(decision);
                // Judged anew it may go elsewhere.
                story.pool = pool.or(story.pool.take());
            });
        }
        KernelFact::JobDeferred { job, decision, replaces, .. } => {
            let source = job.source.clone();
            shelf.change(&source, |story| {
                if matches!(story.state, State::Unknown | State::Held) || judged_anew(story, replaces) {
                    story.state = State::Deferred;
                }
                take_job(story, job);
                story.decision = story.decision.take().or(decision.map(|decision| *decision));
            });
        }
        KernelFact::JobHeld { job, decision, payload, record, until, replaces, pool } => {
            let (source, most) = (job.source.clone(), shelf.bounds().output_bytes);
            shelf.change(&source, |story| {
                if matches!(story.state, State::Unknown | State::Deferred) || judged_anew(story, replaces) {
                    story.state = State::Held;
                }
                take_job(story, job);
                story.decision = Some(decision);
                let hold = story.hold.get_or_insert_default();
                hold.begin(at, until);
                hold.pool = pool;
                if let Some(record) = record {
                    hold.keep_payload(&record, payload, most);
                }
            });
        }
        KernelFact::HoldRenewed { source, decision, until } => shelf.change(&source, |story| {
            story.decision = Some(*decision);
            story.hold.get_or_insert_default().until_ms = millis(until);
        }),
        KernelFact::ApprovalGiven { source, command, by, roles, snapshot: _, reason } => {
            shelf.change(&source, |story| {
                let given = GivenApproval { by, roles, at_ms: millis(at), command, reason };
                story.hold.get_or_insert_default().given.push(given);
            });
        }
        KernelFact::HoldEscalated { source, to } => {
            shelf.change(&source, |story| story.hold.get_or_insert_default().escalated.push(to));
        }
        KernelFact::CommandRefused { source, command, action, by, why, detail } => shelf.change(&source, |story| {
            let refused = RefusedCommand { command, action, by, why, detail, at_ms: millis(at) };
            if story.refused.len() == REFUSED {
                story.refused.remove(0);
            }
            story.refused.push(refused);
        }),
        KernelFact::JobCancelled { job, command: _, by, reason, replaces: _, cause } => {
            shelf.change(&job.source.clone(), |story| {
                story.state = State::Cancelled;
                end(story, at, Outcome::Cancelled, &cause.sentence(&by, &reason));
                take_job(story, *job);
                story.times.decided_ms.get_or_insert(millis(at));
            });
        }
        KernelFact::JobWithdrawn { source, job_id: _, tenant: _, pool, command, by, reason, cause } => {
            shelf.change(&source, |story| {
                story.withdrawn =
                    Some(Box::new(WithdrawnStory { pool, command, by, reason, cause, at_ms: millis(at) }));
            });
        }
        KernelFact::DelegationRevoked { source, job_id: _, tenant: _, command, by, reason, until: _ } => {
            // Every shard that heard of it says so: the first stands.
            shelf.change(&source, |story| {
                let revoked = RevokedStory { command, by, reason, at_ms: millis(at) };
                story.revoked.get_or_insert_with(|| Box::new(revoked));
            });
        }
        KernelFact::RecordRedriven { source, command, by, reason } => {
            let died = source.redriven(source.redrive.saturating_sub(1));
            shelf.done_with(died.clone());
            shelf.change(&died, |story| story.redriven_as = Some(source.clone()));
            let handled = HandledStory { command, by, reason, at_ms: millis(at) };
            shelf.change(&source, |story| story.redriven = Some(Box::new(handled)));
        }
        KernelFact::RecordDropped { source, command, by, reason } => {
            shelf.done_with(source.clone());
            let handled = HandledStory { command, by, reason, at_ms: millis(at) };
            shelf.change(&source, |story| story.dropped = Some(Box::new(handled)));
        }
        KernelFact::JobRepeated { source, duplicate_of, job_id: _, tenant: _ } => shelf.repeat(&source, &duplicate_of),
        KernelFact::RecordRejected { source, reason, detail, input_hash: _, job, replaces: _ } => {
            shelf.change(&source, |story| {
                story.state = State::Dead;
                end(story, at, Outcome::Dead, &detail);
                story.dead = Some(DeadCause { reason, detail });
                story.times.decided_ms = Some(millis(at));
                if let Some(job) = job {
                    take_job(story, *job);
                }
            });
        }
    }
}

pub(super) fn scheduler(shelf: &mut Shelf, pool: &PoolName, at: Timestamp, fact: SchedulerFact) {
    match fact {
        SchedulerFact::LeaseGranted { source, worker, token, .. } => shelf.change(&source, |story| {
            story.pool = Some(pool.clone());
            if !story.state.is_ended() {
                story.state = State::Running;
            }
            let now = millis(at);
            story.times.leased_ms.get_or_insert(now);
            let attempt = Attempt {
                attempt: token.attempt,
                epoch: token.epoch,
                worker,
                leased_ms: now,
                ended_ms: None,
                lost: None,
                failed: None,
                again_ms: None,
            };
            if story.attempts.len() == ATTEMPTS {
                story.attempts.remove(0);
            }
            story.attempts.push(attempt);
        }),
        SchedulerFact::LeaseExpired { source, token, end, until } => shelf.change(&source, |story| {
            if story.state == State::Running {
                story.state = State::Approved;
            }
            if let Some(lease) =
                story.attempts.iter_mut().find(|a| (a.epoch, a.attempt) == (token.epoch, token.attempt))
            {
                lease.ended_ms = Some(millis(at));
                lease.lost = Some(end);
                lease.again_ms = until.map(millis);
            }
        }),
        SchedulerFact::JobRetried { source, by, until, reason, .. } => shelf.change(&source, |story| {
            if story.state == State::Running {
                story.state = State::Approved;
            }
            let token = (by.token.epoch, by.token.attempt);
            if let Some(lease) = story.attempts.iter_mut().find(|a| (a.epoch, a.attempt) == token) {
                lease.ended_ms = Some(millis(at));
                lease.failed = Some(reason);
                lease.again_ms = Some(millis(until));
            }
        }),
        SchedulerFact::JobFinished { source, job_id, tenant, outcome, reason, dead, output, by, .. } => {
            let keep = shelf.bounds().output_bytes;
            shelf.change(&source, |story| {
                story.pool = Some(pool.clone());
                story.id.get_or_insert(job_id);
                story.tenant.get_or_insert(tenant);
                story.state = State::of(outcome);
                end(story, at, outcome, &reason);
                take_output(story, output, keep);
                if let Some(word) = dead {
                    story.dead = Some(DeadCause { reason: word, detail: reason });
                }
                if let Some(by) = by
                    && let Some(lease) =
                        story.attempts.iter_mut().find(|a| (a.epoch, a.attempt) == (by.token.epoch, by.token.attempt))
                {
                    lease.ended_ms = Some(millis(at));
                }
            });
        }
        SchedulerFact::JobDuplicate { source, duplicate_of, settles: _, moved: _ } => shelf.change(&source, |story| {
            story.state = State::Duplicate;
            story.duplicate_of = Some(duplicate_of);
            story.times.finished_ms = Some(millis(at));
        }),
        // Of a returned job its kernel says what it is from now on, perhaps in what was read before this.
        SchedulerFact::JobReturned { .. }
        | SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::ResultRefused { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::JobMoved { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::JobDelayed { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerForgotten { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::PoolCommandRefused { .. } => {}
    }
}

/// Whether this is the next verdict on a job whose ticket expired, and the story has not ended meanwhile.
fn judged_anew(story: &Story, replaces: Option<Replaced>) -> bool {
    !story.state.is_ended() && replaces.is_some_and(|replaced| replaced.was == KeptAs::Released)
}

fn end(story: &mut Story, at: Timestamp, outcome: Outcome, reason: &str) {
    story.outcome = Some(outcome);
    reason.clone_into(&mut story.reason);
    story.times.finished_ms = Some(millis(at));
}

fn take_job(story: &mut Story, job: Job) {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are below 2^53")]
    let submitted = job.submitted_ms as f64;
    story.times.submitted_ms = Some(submitted);
    story.id = Some(job.id.clone());
    story.tenant = Some(job.tenant.clone());
    story.job = Some(job);
}

fn take_output(story: &mut Story, output: Option<Box<RawValue>>, keep: usize) {
    let (kept, left_out) = match output {
        Some(output) if output.get().len() > keep => (None, true),
        fits => (fits, false),
    };
    story.output = kept;
    story.output_left_out = left_out;
}
