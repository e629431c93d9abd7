//! A job that is called off: `CancelAsked` of one that is leased, `WithdrawalKept` of one that may still come back, and the
//! end of one that waits.
//!
//! | the job | what follows |
//! |---|---|
//! | waits in the window | `JobFinished` (cancelled), which settles its record |
//! | requeued, delayed | the same, from the state |
//! | leased | `CancelAsked`: its worker is told; when its grace is over, `JobFinished`, and its lease is fenced |
//! | leased, its shard changes its owner | `CancelAsked` once more, when its worker lists it to the new owner; it does not end without its worker before a lease's time is over, nor after an outage: nobody could say that it had stopped |
//! | leased, its worker's result comes first | the result counts (I5), except that a retryable failure is no longer retried |
//! | leased, its lease ends first | `LeaseExpired`, then `JobFinished` instead of a further lease |
//! | in `overflow`, not read back yet | `WithdrawalKept`; it ends when it is read |
//! | it was there, and nothing of that time is | forgotten what was kept: it had ended before ([`crate::overflow`]) |
//! | the same, and as many are kept as may be | `WithdrawalMoved`: it follows the job into `overflow`, so finds it here again |
//! | ended, or never heard of | nothing |
//!
//! A withdrawal is believed like the job itself: from the kernel of the job's own partition alone, and only for a job of that
//! tenant and id. It comes twice. On `withdrawals.<pool>` first, which is always read, but may be ahead of the job: then it is
//! remembered for a while ([`crate::early`]). And on `approved.<pool>`, behind the job: all of the table is said of that one.
//!
//! An attempt that is stopped because its job makes no progress ([`super::overdue`]) goes the same way, but the job does not
//! end: its lease does (`Stalled`), or its worker's word that it stopped counts as a failure, and it is tried again.

use serde_json::value::to_raw_value;
use tidegate_protocol::facts::{Holder, LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Usage;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::{Withdrawal, Withdrawn};
use tidegate_stage::{Decision, InputRef, Outbox};

use super::expired::AT_ONCE;
use super::{ended, expired};
use crate::Scheduler;
use crate::scheduler::InputIs;
use crate::state::{Job, Stopping};
use crate::window::Origin;
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
    let meant = |work: &Work| work.alike.tenant == *tenant && work.name() == id.as_str();
    if let Some(job) = scheduler.state.job(source) {
        if meant(&job.work) && job.ending().is_none() {
            decision.settle(record, call_off(scheduler, job, (Outcome::Cancelled, sentence), at));
        }
    } else if let Some(waiting) = scheduler.soft.window.get(source) {
        if meant(&waiting.work) {
            let end = ended::called_off_unleased(&waiting.work, Outcome::Cancelled, sentence);
            decision.settle(waiting.input, end);
        }
    } else if scheduler.state.overflow().may_hold() && scheduler.state.ended(source).is_none() {
        // On `withdrawals` another is to follow, and one that comes back from `overflow` has passed its job.
        let InputIs::Jobs(from) = scheduler.input(record.input) else { return };
        let source = source.clone();
        // What comes back from `overflow` is behind its job no longer, so it is kept whatever makes way for it.
        if scheduler.state.overflow().may_withdraw(&source) || from == Origin::Overflow {
            let (tenant, job_id) = (tenant.clone(), id.clone());
            decision.settle(record, SchedulerFact::WithdrawalKept { source, tenant, job_id, reason: sentence });
        } else if from == Origin::Approved
            && let Ok(withdrawal) = to_raw_value(&Withdrawal { v: 1, withdrawn: withdrawn.clone() })
        {
            let bucket = scheduler.bucket(record.input);
            decision.settle(record, SchedulerFact::WithdrawalMoved { source, bucket, withdrawal });
        }
    }
}

/// The end of a job of the state, or if it is leased the order to stop it.
pub(crate) fn call_off(
    scheduler: &Scheduler,
    job: &Job,
    (outcome, reason): (Outcome, String),
    at: Timestamp,
) -> SchedulerFact {
    let until = at + scheduler.pool.cancel_grace;
    ask(scheduler, job, Stopping { until, outcome, reason: reason.clone(), again: false })
        .unwrap_or_else(|| ended::called_off(job, None, (outcome, reason), Usage::default()))
}

/// The order to stop; `None` for a job that is not leased.
pub(crate) fn ask(scheduler: &Scheduler, job: &Job, stopping: Stopping) -> Option<SchedulerFact> {
    let lease = job.lease.as_ref()?;
    let lane = scheduler.state.worker(&lease.worker).map_or(0, |worker| worker.lane);
    let Stopping { until, outcome, reason, again } = stopping;
    Some(SchedulerFact::CancelAsked {
        source: job.work.source.clone(),
        to: Holder { worker: lease.worker.clone(), token: job.token, lane },
        until,
        outcome,
        reason,
        again,
    })
}

/// The order once more, for a worker that lists a job to an owner that has not given it.
pub(crate) fn restated(scheduler: &Scheduler, job: &Job) -> Option<SchedulerFact> {
    let stopping = job.stopping.as_ref().filter(|_| !scheduler.soft.asked.contains(&job.work.source))?;
    ask(scheduler, job, stopping.clone())
}

/// Leased jobs whose grace is over.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.cancels.due(fresh).take(AT_ONCE) {
        // One whose lease is due too ends by that, in the same tick.
        let lapses = scheduler.soft.leases.is_due(source, fresh);
        if let Some(job) = scheduler.state.job(source).filter(|_| !lapses)
            && let Some(Stopping { outcome, reason, again, .. }) = &job.stopping
        {
            if *again {
                decision.fact(expired::fact(scheduler, job, LeaseEnd::Stalled, at));
                continue;
            }
            let reason = format!("{reason}; its worker had not stopped it within its grace");
            decision.fact(ended::called_off(job, None, (*outcome, reason), Usage::default()));
        }
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition, stopping: Stopping) {
    let soft = &mut scheduler.soft;
    if soft.epoch.is_some() {
        soft.counts.cancels_asked += u64::from(soft.asked.insert(source.clone()));
        soft.cancels.set(source, stopping.until.max(soft.unheard_until));
        // Asked already: a clock that stayed due would have the shard tick for nothing until the grace is over.
        soft.stalls.stop(source);
        if !stopping.again {
            soft.runtimes.stop(source);
        }
    }
    scheduler.state.stop(source, stopping);
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
    use tidegate_stage::Stage;

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
            let began = shard.at;
            shard.wait(Duration::from_millis(3_001));
            assert!(shard.tick().facts.is_empty(), "its worker could not be heard yet");
            shard.report(&says(2).hello());
            let running = vec![crate::driver::held(1, Token { epoch: 1, attempt: 1 })];
            shard.report(&Says { running, ..says(2) }.heartbeat());
            shard.wait(Duration::from_millis(9_999) - shard.at.since(began));
            assert!(shard.tick().facts.is_empty());
            shard.wait(Duration::from_millis(2));
            ends_as(&shard.tick(), Outcome::Cancelled);
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
    fn who_could_not_report_for_a_while_has_a_leases_time_to_say_that_it_stopped() {
        for way in [None, Some(Way::Replay), Some(Way::Snapshot)] {
            let mut shard = Shard::new(layout(), &Tuning { cancel_grace_ms: 3_000, ..Tuning::default() });
            leased(&mut shard);
            shard.approved(withdrawal("a", 1));
            shard.wait(Duration::from_secs(60));
            match way {
                None => shard.gap(Duration::from_secs(60)),
                Some(way) => shard.takeover(way, 2),
            }
            assert!(shard.tick().facts.is_empty(), "{way:?}");
            shard.report(&says(shard.epoch).hello());
            shard.wait(Duration::from_secs(9));
            let running = vec![crate::driver::held(1, Token { epoch: 1, attempt: 1 })];
            shard.report(&Says { running, ..says(shard.epoch) }.heartbeat());
            assert!(shard.tick().facts.is_empty(), "{way:?}");
            let token = Token { epoch: 1, attempt: 1 };
            ends_as(
                &shard.report(&says(shard.epoch).result(position(1), token, Outcome::Succeeded)),
                Outcome::Succeeded,
            );
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
    fn it_is_heard_though_its_tenants_bucket_is_full_and_whatever_its_job_is_doing() {
        let mut shard = Shard::new(layout(), &Tuning { window_jobs: 8, ..Tuning::default() });
        leased(&mut shard);
        for offset in 2..9 {
            shard.approved(approved(&job(&format!("j{offset}"), offset), "1"));
        }
        assert!(!shard.stage.admits(0), "the bucket is full");
        assert!(shard.approved(withdrawal("a", 1)).facts.is_empty(), "not read");
        assert!(matches!(&shard.called_off(withdrawal("a", 1)).facts[..], [SchedulerFact::CancelAsked { .. }]));
        ends_as(&shard.called_off(withdrawal("j2", 2)), Outcome::Cancelled);
        // Both stand behind their jobs too, and are read in their time.
        shard.report(&says(1).result(position(1), token(&shard), Outcome::Cancelled));
        while shard.stage.gauges().waiting > 0 {
            let granted = shard.poll();
            let Some(SchedulerFact::LeaseGranted { source, token, .. }) = granted.facts.first() else {
                panic!("{granted:?}")
            };
            shard.report(&says(1).result(source.clone(), *token, Outcome::Succeeded));
        }
        assert_eq!((shard.unsettled(), shard.stage.gauges().counts.impossible_facts), (0, 0));
    }

    #[test]
    fn one_that_comes_ahead_of_its_job_ends_it_when_it_is_read_and_is_no_record_of_anything_else() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        assert!(shard.called_off(withdrawal("a", 1)).facts.is_empty());
        ends_as(&shard.approved(approved(&job("a", 1), "1")), Outcome::Cancelled);
        assert!(shard.approved(withdrawal("a", 1)).facts.is_empty(), "it has ended");
        let job = shard.called_off(approved(&job("b", 2), "1"));
        assert!(matches!(&job.facts[..], [SchedulerFact::WorkRefused { .. }]), "{job:?}");
    }

    #[test]
    fn a_new_owner_says_it_once_more_to_a_worker_that_has_the_job_and_the_grace_stays_as_it_was() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            leased(&mut shard);
            let step = shard.called_off(withdrawal("a", 1));
            let [SchedulerFact::CancelAsked { until: first, .. }] = step.facts[..] else { panic!("{step:?}") };
            shard.takeover(way, 2);
            shard.report(&says(2).hello());
            let running = vec![crate::driver::held(1, Token { epoch: 1, attempt: 1 })];
            let lists = Says { running, ..says(2) }.heartbeat();
            let step = shard.report(&lists);
            let [SchedulerFact::CancelAsked { until, .. }] = step.facts[..] else { panic!("{step:?}") };
            let order = serde_json::from_slice(step.messages[0].value.as_ref().unwrap()).unwrap();
            assert!(matches!(order, Order::Cancel { .. }) && until == first, "{order:?}");
            assert!(shard.report(&lists).facts.is_empty(), "once");
        }
    }

    #[test]
    fn beyond_what_is_kept_a_withdrawal_follows_its_job_into_overflow() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning { window_jobs: 4, ..Tuning::default() });
            for offset in [1, 2] {
                let at = shard.append(0, Some(approved(&job(&format!("j{offset}"), offset), "1")), Default::default());
                shard.read();
                shard.evict(at);
                shard.read();
            }
            for offset in 10..10 + 4_096 {
                let step = shard.approved(withdrawal("x", offset));
                assert!(matches!(&step.facts[..], [SchedulerFact::WithdrawalKept { .. }]), "{step:?}");
            }
            let step = shard.approved(withdrawal("j2", 2));
            assert!(matches!(&step.facts[..], [SchedulerFact::WithdrawalMoved { bucket: 0, .. }]), "{step:?}");
            assert_eq!(step.messages[0].to.to_string(), "tg.overflow.p/0");
            shard.takeover(way, 2);
            shard.read();
            shard.report(&says(2).hello());
            shard.report(&says(2).heartbeat());
            shard.poll();
            shard.report(&says(2).result(position(1), Token { epoch: 2, attempt: 1 }, Outcome::Succeeded));
            // There is room for the next in the share of `overflow`, and behind it for what calls it off.
            shard.poll();
            let step = shard.read();
            let [SchedulerFact::CancelAsked { source, .. }] = &step.facts[..] else { panic!("{step:?}") };
            assert_eq!(*source, position(2));
            assert_eq!(shard.unsettled(), 0);
        }
    }

    #[test]
    fn what_is_kept_of_a_job_that_had_ended_leaves_with_the_last_that_could_have_been_it() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning { window_jobs: 4, ..Tuning::default() });
            for offset in [1, 2] {
                let at = shard.append(0, Some(approved(&job(&format!("j{offset}"), offset), "1")), Default::default());
                shard.read();
                shard.evict(at);
                shard.read();
            }
            // Long after its end: nobody remembers that it ended.
            let step = shard.approved(withdrawal("x", 7));
            assert!(matches!(&step.facts[..], [SchedulerFact::WithdrawalKept { .. }]), "{step:?}");
            shard.takeover(way, 2);
            shard.read();
            shard.report(&says(2).hello());
            shard.report(&says(2).heartbeat());
            for offset in [1, 2] {
                assert!(shard.stage.snapshot().unwrap().contains(r#""withdrawn":"#));
                let step = shard.poll();
                let [SchedulerFact::LeaseGranted { moved, .. }] = &step.facts[..] else { panic!("{step:?}") };
                assert_eq!(*moved, offset);
                shard.report(&says(2).result(position(offset), Token { epoch: 2, attempt: 1 }, Outcome::Succeeded));
                shard.read();
            }
            assert!(!shard.stage.snapshot().unwrap().contains(r#""withdrawn":"#));
            assert!(shard.approved(withdrawal("x", 7)).facts.is_empty(), "and there is no reason to keep it again");
            shard.takeover(way, 3);
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
