//! A job that is called off: `CancelAsked` of one that is leased, `WithdrawalKept` of one that may still come back, and the
//! end of one that waits.
//!
//! | the job | what follows |
//! |---|---|
//! | waits in the window | `JobFinished` (cancelled), which settles its record |
//! | requeued, delayed | the same, from the state |
//! | leased | `CancelAsked`: its worker is told; when its grace is over, `JobFinished`, and its lease is fenced |
//! | leased, its worker's result comes first | the result counts (I5), except that a retryable failure is no longer retried |
//! | leased, its lease ends first | `LeaseExpired`, then `JobFinished` instead of a further lease |
//! | in `overflow`, not read back yet | `WithdrawalKept`; it ends when it is read |
//! | ended, or never heard of | nothing |
//!
//! A withdrawal is believed like the job itself: from the kernel of the job's own partition alone, and only for a job of that
//! tenant and id.

use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Usage;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::Withdrawn;
use tidegate_stage::{Decision, InputRef, Outbox};

use super::ended;
use super::expired::AT_ONCE;
use crate::Scheduler;
use crate::state::Stopping;
use crate::work::Work;

/// What follows from a withdrawal; without a fact its record is settled by having been read.
pub(crate) fn decide(
    scheduler: &Scheduler,
    withdrawn: &Withdrawn,
    record: InputRef,
    at: Timestamp,
    decision: &mut Decision<SchedulerFact>,
) {
    let Withdrawn { source, tenant, id, cause, by, reason } = withdrawn;
    let sentence = cause.sentence(by, reason);
    let meant = |work: &Work| work.tenant == *tenant && work.id == *id;
    if let Some(job) = scheduler.state.job(source) {
        match &job.lease {
            _ if !meant(&job.work) || job.stopping.is_some() => {}
            None => {
                decision.settle(record, ended::called_off(job, None, (Outcome::Cancelled, sentence), Usage::default()))
            }
            Some(lease) => {
                let lane = scheduler.state.worker(&lease.worker).map_or(0, |worker| worker.lane);
                decision.settle(
                    record,
                    SchedulerFact::CancelAsked {
                        source: source.clone(),
                        to: Holder { worker: lease.worker.clone(), token: job.token, lane },
                        until: at + scheduler.pool.cancel_grace,
                        outcome: Outcome::Cancelled,
                        reason: sentence,
                    },
                );
            }
        }
    } else if let Some(waiting) = scheduler.soft.window.get(source) {
        if meant(&waiting.work) {
            let end = ended::called_off_unleased(&waiting.work, Outcome::Cancelled, sentence);
            decision.settle(waiting.input, end);
        }
    } else if scheduler.state.has_moved() && scheduler.state.ended(source).is_none() {
        let (source, tenant, id) = (source.clone(), tenant.clone(), id.clone());
        decision.settle(record, SchedulerFact::WithdrawalKept { source, tenant, job_id: id, reason: sentence });
    }
}

/// Leased jobs whose grace is over.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.cancels.due(fresh).take(AT_ONCE) {
        // One whose lease is due too ends by that, in the same tick.
        let lapses = scheduler.soft.leases.is_due(source, fresh);
        if let Some(job) = scheduler.state.job(source).filter(|_| !lapses)
            && let Some(Stopping { outcome, reason, .. }) = &job.stopping
        {
            let reason = format!("{reason}; its worker had not stopped it within its grace");
            decision.fact(ended::called_off(job, None, (*outcome, reason), Usage::default()));
        }
    }
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    until: Timestamp,
    outcome: Outcome,
    reason: &str,
) {
    scheduler.state.stop(source, Stopping { until, outcome, reason: reason.to_owned() });
    if scheduler.soft.epoch.is_some() {
        scheduler.soft.counts.cancels_asked += 1;
        scheduler.soft.cancels.set(source, until);
    }
}

pub(crate) fn emit(scheduler: &Scheduler, source: &SourcePosition, to: &Holder, reason: &str, out: &mut Outbox) {
    let order = Order::Cancel { source: source.clone(), token: to.token, reason: reason.to_owned() };
    scheduler.order(0, to.lane, &to.worker, Some(source), &order, out);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::fleet::{Order, Report};
    use tidegate_protocol::limits::{Amount, Usage};
    use tidegate_protocol::outcome::Outcome;

    use crate::Tuning;
    use crate::driver::{Says, Shard, Step, Way, approved, job, layout, position, withdrawal};

    fn says(epoch: u64) -> Says {
        Says { epoch, credit: 99, ..Says::of("w") }
    }

    fn token(shard: &Shard) -> Token {
        Token { epoch: shard.epoch, attempt: 1 }
    }

    fn leased(shard: &mut Shard) {
        shard.approved(approved(&job("a", 1), "1"));
        shard.report(&says(1).hello());
        shard.report(&says(1).heartbeat());
        assert!(matches!(&shard.poll().facts[..], [SchedulerFact::LeaseGranted { .. }]));
    }

    fn ends_as(step: &Step, outcome: Outcome) {
        let ends: Vec<_> = step.messages.iter().filter(|m| m.to.topic.as_str() == "tg.finished").collect();
        assert_eq!(ends.len(), 1, "{step:?}");
        assert!(
            matches!(step.facts.last(), Some(SchedulerFact::JobFinished { outcome: o, .. }) if *o == outcome),
            "{step:?}"
        );
    }

    #[test]
    fn a_job_that_waits_ends_at_once_and_both_records_are_settled() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        let step = shard.approved(withdrawal("a", 1));
        ends_as(&step, Outcome::Cancelled);
        assert_eq!((shard.unsettled(), shard.stage.gauges().waiting), (0, 0));
        assert!(shard.approved(withdrawal("a", 1)).facts.is_empty(), "it has ended");
    }

    #[test]
    fn a_leased_job_is_asked_to_stop_and_fenced_when_its_grace_is_over() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning { cancel_grace_ms: 3_000, ..Tuning::default() });
            leased(&mut shard);
            let step = shard.approved(withdrawal("a", 1));
            let [SchedulerFact::CancelAsked { .. }] = &step.facts[..] else { panic!("{step:?}") };
            let order = serde_json::from_slice(step.messages[0].value.as_ref().unwrap()).unwrap();
            assert!(matches!(order, Order::Cancel { token, .. } if token == Token { epoch: 1, attempt: 1 }));
            assert!(shard.approved(withdrawal("a", 1)).facts.is_empty(), "asked once");
            shard.takeover(way, 2);
            shard.wait(Duration::from_millis(2_999));
            assert!(shard.tick().facts.is_empty());
            shard.wait(Duration::from_millis(2));
            ends_as(&shard.tick(), Outcome::Cancelled);
            shard.report(&says(2).hello());
            let late = shard.report(&says(2).result(position(1), Token { epoch: 1, attempt: 1 }, Outcome::Succeeded));
            let [SchedulerFact::ResultRefused { reason, .. }] = &late.facts[..] else { panic!("{late:?}") };
            assert_eq!(reason, "finished");
        }
    }

    #[test]
    fn a_result_that_comes_within_the_grace_wins() {
        for (said, ends) in [
            (Outcome::Succeeded, Outcome::Succeeded),
            (Outcome::Failed, Outcome::Failed),
            (Outcome::Cancelled, Outcome::Cancelled),
        ] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            leased(&mut shard);
            shard.approved(withdrawal("a", 1));
            let result = says(1).result(position(1), token(&shard), said);
            ends_as(&shard.report(&result), ends);
            shard.wait(Duration::from_secs(60));
            assert!(shard.tick().facts.iter().all(|f| !matches!(f, SchedulerFact::JobFinished { .. })));
        }
    }

    #[test]
    fn what_is_called_off_is_neither_retried_nor_leased_again() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        leased(&mut shard);
        shard.approved(withdrawal("a", 1));
        let mut report = says(1).result(position(1), token(&shard), Outcome::Failed);
        let spent = Usage { tokens: Amount::units(7), ..Usage::default() };
        if let Report::Result { retryable, usage, .. } = &mut report {
            (*retryable, *usage) = (true, spent);
        }
        let step = shard.report(&report);
        ends_as(&step, Outcome::Cancelled);
        assert!(
            matches!(step.facts.last(), Some(SchedulerFact::JobFinished { usage, .. }) if *usage == spent),
            "{step:?}"
        );

        let mut shard = Shard::new(layout(), &Tuning::default());
        leased(&mut shard);
        shard.approved(withdrawal("a", 1));
        shard.report(&says(1).give_back(position(1), token(&shard)));
        ends_as(&shard.poll(), Outcome::Cancelled);
    }

    #[test]
    fn a_lease_and_a_grace_that_end_together_give_one_end() {
        let mut shard = Shard::new(layout(), &Tuning { cancel_grace_ms: 10_000, ..Tuning::default() });
        leased(&mut shard);
        shard.approved(withdrawal("a", 1));
        shard.wait(Duration::from_secs(60));
        let mut step = shard.tick();
        let more = shard.poll();
        step.facts.extend(more.facts);
        step.messages.extend(more.messages);
        ends_as(&step, Outcome::Cancelled);
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 0);
    }

    #[test]
    fn a_job_in_overflow_ends_when_it_is_read_back() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning { window_jobs: 4, ..Tuning::default() });
            // The share of `overflow` is one job: the second that is moved stays in its log.
            for offset in [1, 2] {
                let at = shard.append(0, Some(approved(&job(&format!("j{offset}"), offset), "1")), Default::default());
                shard.read();
                shard.evict(at);
                shard.read();
            }
            let step = shard.approved(withdrawal("j2", 2));
            assert!(matches!(&step.facts[..], [SchedulerFact::WithdrawalKept { .. }]), "{step:?}");
            shard.takeover(way, 2);
            shard.read();
            shard.report(&says(2).hello());
            shard.report(&says(2).heartbeat());
            shard.poll();
            ends_as(&shard.read(), Outcome::Cancelled);
        }
    }

    #[test]
    fn another_tenants_job_and_an_unknown_one_are_left_alone_and_nobody_else_may_say_so() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        let text = String::from_utf8(withdrawal("a", 1).to_vec()).unwrap();
        assert!(shard.approved(text.replace(r#""tenant":"t""#, r#""tenant":"u""#).into()).facts.is_empty());
        assert!(shard.approved(withdrawal("b", 1)).facts.is_empty());
        assert!(shard.approved(withdrawal("a", 7)).facts.is_empty());
        let forged = shard.sent_by("kernel.jobs/1", withdrawal("a", 1));
        assert!(matches!(&forged.facts[..], [SchedulerFact::WorkRefused { .. }]), "{forged:?}");
        assert_eq!(shard.stage.gauges().waiting, 1);
    }
}
