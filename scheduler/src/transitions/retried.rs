//! `JobRetried`: an attempt failed, its worker said that another may go better, and the job has attempts left.

use std::time::Duration;

use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Usage;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Outbox;

use crate::Scheduler;
use crate::retry::MOST_RETRY_AFTER;
use crate::state::Job;

/// The fact of a failure that may be retried; `None` when the job has no attempt left, or is called off.
pub(crate) fn by_result(
    scheduler: &Scheduler,
    job: &Job,
    by: &Holder,
    (reason, usage, after): (&str, Usage, Option<u64>),
    at: Timestamp,
) -> Option<SchedulerFact> {
    let failures = job.strikes.saturating_add(1);
    if job.ending().is_some() || scheduler.pool.is_spent(&job.work, failures) {
        return None;
    }
    let policy = scheduler.pool.policy_of(&job.work);
    let pause = policy.pause(failures, &job.work.source, job.token.attempt);
    let asked = after.map_or(Duration::ZERO, Duration::from_millis).min(MOST_RETRY_AFTER);
    Some(SchedulerFact::JobRetried {
        source: job.work.source.clone(),
        by: by.clone(),
        until: at + asked + pause,
        reason: reason.to_owned(),
        usage,
    })
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    by: &Holder,
    until: Timestamp,
    usage: Usage,
    at: Timestamp,
) {
    scheduler.free_places(source, at);
    let Some(worker) = scheduler.state.retry(source, by, Some(until), usage) else { return };
    if scheduler.soft.epoch.is_none() {
        return;
    }
    scheduler.soft.counts.retried += 1;
    scheduler.unwatch(source);
    scheduler.resume(source, at);
    scheduler.refresh(&worker, at);
}

pub(crate) fn emit(scheduler: &Scheduler, source: &SourcePosition, by: &Holder, out: &mut Outbox) {
    let order = Order::Settled { source: source.clone(), token: by.token, accepted: true, reason: String::new() };
    scheduler.order(0, by.lane, &by.worker, Some(source), &order, out);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::fleet::Report;
    use tidegate_protocol::outcome::{DeadReason, Outcome};
    use tidegate_stage::{Delivery, Stage};

    use crate::Tuning;
    use crate::driver::{Says, Shard, Step, Way, approved, held, job, layout, position};

    fn says(epoch: u64) -> Says {
        Says { epoch, credit: 99, ..Says::of("w") }
    }

    fn fails(shard: &mut Shard, attempt: u32, after: Option<u64>) -> Step {
        let mut report = says(shard.epoch).result(position(1), Token { epoch: shard.epoch, attempt }, Outcome::Failed);
        if let Report::Result { retryable, retry_after_ms, reason, .. } = &mut report {
            *retryable = true;
            *retry_after_ms = after;
            *reason = "503".into();
        }
        shard.report(&report)
    }

    fn leased(shard: &mut Shard) {
        shard.report(&says(shard.epoch).hello());
        shard.report(&says(shard.epoch).heartbeat());
        let step = shard.poll();
        assert!(matches!(&step.facts[..], [SchedulerFact::LeaseGranted { .. }]), "{step:?}");
    }

    /// Time passes until the job is leased again; how long that took.
    fn again(shard: &mut Shard) -> Duration {
        let began = shard.at;
        for _ in 0..100_000 {
            if shard.stage.next_due().is_some_and(|due| due <= shard.at) {
                shard.tick();
            }
            shard.report(&says(shard.epoch).heartbeat());
            if !shard.poll().facts.is_empty() {
                return shard.at.since(began);
            }
            shard.wait(Duration::from_millis(5));
        }
        panic!("never leased again");
    }

    #[test]
    fn a_retryable_failure_is_settled_waits_its_pause_and_is_leased_with_the_next_token() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            shard.approved(approved(&job("a", 1), "1"));
            leased(&mut shard);
            let step = fails(&mut shard, 1, Some(2_000));
            let [SchedulerFact::JobRetried { until, .. }] = &step.facts[..] else { panic!("{step:?}") };
            let until = *until;
            assert!(until >= shard.at + Duration::from_millis(1_999), "what the worker asked for comes on top");
            let kinds: Vec<_> = step.messages.iter().map(|m| (m.ordinal, m.delivery)).collect();
            assert_eq!(kinds, [(0, Delivery::Lane)], "nothing has finished");
            assert_eq!(shard.stage.gauges().delayed, 1);
            shard.takeover(way, 2);
            let took = again(&mut shard);
            assert!(shard.at >= until && took >= Duration::from_secs(1));
            let ok = says(2).result(position(1), Token { epoch: 2, attempt: 2 }, Outcome::Succeeded);
            let step = shard.report(&ok);
            assert!(matches!(&step.facts[..], [SchedulerFact::JobFinished { attempts: 2, .. }]), "{step:?}");
        }
    }

    #[test]
    fn the_same_failure_told_again_is_acknowledged_again_and_a_heartbeat_that_lists_it_is_no_news() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        leased(&mut shard);
        fails(&mut shard, 1, Some(9_000));
        let running = vec![held(1, Token { epoch: 1, attempt: 1 })];
        assert!(shard.report(&Says { running, ..says(1) }.heartbeat()).facts.is_empty());
        let step = fails(&mut shard, 1, Some(9_000));
        assert!(matches!(&step.facts[..], [SchedulerFact::ResultRepeated { .. }]), "{step:?}");
    }

    #[test]
    fn the_last_attempt_ends_the_job_as_dead_with_the_reason_and_its_record() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let mut wish = job("a", 1);
        wish.retry.max_attempts = Some(2);
        shard.approved(approved(&wish, "1"));
        leased(&mut shard);
        fails(&mut shard, 1, None);
        again(&mut shard);
        let step = fails(&mut shard, 2, None);
        let [SchedulerFact::JobFinished { outcome: Outcome::Dead, dead, attempts: 2, reason, by: Some(_), .. }] =
            &step.facts[..]
        else {
            panic!("{step:?}")
        };
        assert_eq!(
            (*dead, reason.as_str()),
            (Some(DeadReason::MaxAttempts), "failed in 2 of 2 attempts, at last: 503")
        );
        let ordinals: Vec<_> = step.messages.iter().map(|m| m.ordinal).collect();
        assert_eq!(ordinals, [0, 1, 2]);
    }

    #[test]
    fn a_fatal_failure_ends_the_job_at_its_first_attempt() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        leased(&mut shard);
        let step = shard.report(&says(1).result(position(1), Token { epoch: 1, attempt: 1 }, Outcome::Failed));
        assert!(matches!(&step.facts[..], [SchedulerFact::JobFinished { outcome: Outcome::Failed, .. }]), "{step:?}");
    }

    #[test]
    fn what_all_attempts_used_is_told_at_the_end() {
        use tidegate_protocol::limits::{Amount, Usage};
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        leased(&mut shard);
        for (attempt, retry) in [(1, true), (2, false)] {
            let mut report = says(1).result(position(1), Token { epoch: 1, attempt }, Outcome::Failed);
            if let Report::Result { retryable, usage, .. } = &mut report {
                *retryable = retry;
                *usage = Usage { tokens: Some(Amount(7)), money: None };
            }
            let step = shard.report(&report);
            if retry {
                again(&mut shard);
            } else {
                let [SchedulerFact::JobFinished { usage, .. }] = &step.facts[..] else { panic!("{step:?}") };
                assert_eq!(usage.tokens, Some(Amount(14)));
            }
        }
    }
}
