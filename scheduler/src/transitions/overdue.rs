//! Leased jobs that take too long: `CancelAsked`, from the scheduler's own clock.
//!
//! | the job | it is asked to stop, and then |
//! |---|---|
//! | ran for `max_runtime_ms` of its decision's constraints, and a heartbeat | ends as `timed_out` |
//! | reports no progress for the pool's `progress_timeout_ms` | is tried again: the attempt counts as failed |
//!
//! The worker enforces `max_runtime_ms` itself, by its own clock from when it starts the job; what the scheduler does is for workers that do
//! not, so it leaves them the time of a heartbeat. Liveness is not progress: a worker that reports, but not of a job, keeps its other
//! leases. A job that waits for one that it spawned cannot make progress, and need not.
//!
//! Like leases: a new owner gives every job a full term for progress (what was reported to the one before is soft), and whoever
//! could not report for a while is given a lease's time more. The start of a lease is durable, so no change of owner lengthens it
//! (of one that software granted which did not note that yet, the owner's beginning stands for it).

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use super::cancelled;
use super::expired::AT_ONCE;
use crate::Scheduler;
use crate::state::{Job, Stopping};

impl Scheduler {
    /// Watches over a job that is leased: from a lease's beginning, or an owner's.
    pub(crate) fn watch(&mut self, source: &SourcePosition, at: Timestamp) {
        let Some(job) = self.state.job(source) else { return };
        // One that was told to stop for good has another clock: that of its grace.
        // A lease of which nobody knows when it began is as old as this owner.
        let begun = job.lease.as_ref().map(|lease| lease.since.unwrap_or(at)).filter(|_| job.ending().is_none());
        if let (Some(most), Some(since)) = (job.work.terms().max_runtime, begun) {
            self.soft.runtimes.set(source, since + most + self.pool.heartbeat);
        }
        self.progressed(source, at);
    }

    /// A leased job gave a sign of progress.
    pub(crate) fn progressed(&mut self, source: &SourcePosition, at: Timestamp) {
        let asked = self.state.job(source).is_some_and(|job| job.stopping.is_some());
        if let Some(timeout) = self.pool.progress_timeout.filter(|_| !asked) {
            self.soft.stalls.set(source, at + timeout);
        }
    }

    /// Its lease is over.
    pub(crate) fn unwatch(&mut self, source: &SourcePosition) {
        let soft = &mut self.soft;
        soft.leases.stop(source);
        soft.cancels.stop(source);
        soft.asked.remove(source);
        soft.runtimes.stop(source);
        soft.stalls.stop(source);
    }
}

pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
    let soft = &scheduler.soft;
    // One whose lease or grace is due too ends by that, in the same tick.
    let job = |source| {
        let lapses = soft.leases.is_due(source, fresh) || soft.cancels.is_due(source, fresh);
        scheduler.state.job(source).filter(|_| !lapses)
    };
    for source in soft.runtimes.due(fresh).take(AT_ONCE) {
        if let Some(job) = job(source).filter(|job| job.ending().is_none()) {
            let millis = job.work.terms().max_runtime.unwrap_or_default().as_millis();
            let reason = format!("it ran for longer than the {millis} ms that its constraints allow");
            decision.fact(cancelled::call_off(scheduler, job, (Outcome::TimedOut, reason), at));
        }
    }
    for source in soft.stalls.due(fresh).take(AT_ONCE) {
        if let Some(job) = job(source).filter(|job| job.stopping.is_none())
            && !soft.runtimes.is_due(source, fresh)
        {
            stop_for_now(scheduler, job, at).into_iter().for_each(|fact| decision.fact(fact));
        }
    }
}

fn stop_for_now(scheduler: &Scheduler, job: &Job, at: Timestamp) -> Option<SchedulerFact> {
    let millis = scheduler.pool.progress_timeout.unwrap_or_default().as_millis();
    let reason = format!("no progress was reported for {millis} ms");
    let until = at + scheduler.pool.cancel_grace;
    cancelled::ask(scheduler, job, Stopping { until, outcome: Outcome::TimedOut, reason, again: true })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::{LeaseEnd, SchedulerFact, Token};
    use tidegate_protocol::fleet::{Order, Report};
    use tidegate_protocol::outcome::{DeadReason, Outcome};
    use tidegate_stage::Stage;

    use crate::Tuning;
    use crate::driver::{Says, Shard, Step, Way, approved, held, job, layout, position, withdrawal};

    const LONG: Duration = Duration::from_millis(30_000);

    fn token(attempt: u32) -> Token {
        Token { epoch: 1, attempt }
    }

    /// A shard whose worker has the job, with what else its decision says.
    fn at_work(tuning: &Tuning, more: &str) -> Shard {
        let mut shard = Shard::new(layout(), tuning);
        let text = String::from_utf8(approved(&job("a", 1), "1").to_vec()).unwrap();
        shard.approved(text.replace(r#""snapshot""#, &format!(r#"{more}"snapshot""#)).into());
        shard.report(&says(1).hello());
        shard.report(&says(1).heartbeat());
        assert!(matches!(&shard.poll().facts[..], [SchedulerFact::LeaseGranted { .. }]));
        shard
    }

    fn says(epoch: u64) -> Says {
        Says { epoch, credit: 99, ..Says::of("w") }
    }

    fn lists(epoch: u64, attempt: u32) -> Says {
        Says { running: vec![held(1, token(attempt))], ..says(epoch) }
    }

    fn progress(attempt: u32) -> Report {
        let (worker, source) = (crate::driver::worker("w"), position(1));
        Report::Progress {
            worker,
            incarnation: 1,
            source,
            token: token(attempt),
            fraction: None,
            note: String::new(),
            partial: None,
        }
    }

    /// Its worker goes on reporting that it has the job, until something happens.
    fn beats(shard: &mut Shard, epoch: u64, attempt: u32, most: Duration) -> Option<(Duration, Step)> {
        let began = shard.at;
        while shard.at.since(began) < most {
            shard.wait(Duration::from_millis(500));
            shard.report(&lists(epoch, attempt).heartbeat());
            let step = shard.tick();
            if !step.facts.is_empty() {
                return Some((shard.at.since(began), step));
            }
        }
        None
    }

    /// Nothing is due that is past: a shard that has asked waits for the answer, and does not tick for nothing.
    fn rests(shard: &Shard) {
        let due = shard.stage.next_due();
        assert!(due.is_none_or(|due| due > shard.at), "{due:?} at {:?}", shard.at);
    }

    const RUNTIME: &str = r#""constraints":{"budgets":{"max_runtime_ms":30000}},"#;

    #[test]
    fn a_job_that_runs_for_longer_than_it_may_is_asked_to_stop_and_timed_out_when_its_grace_is_over() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = at_work(&Tuning::default(), RUNTIME);
            assert!(beats(&mut shard, 1, 1, Duration::from_secs(20)).is_none());
            shard.takeover(way, 2);
            shard.report(&says(2).hello());
            let (after, step) = beats(&mut shard, 2, 1, LONG).unwrap();
            // The lease's beginning counts, and a heartbeat is left to the worker.
            assert!(after > Duration::from_secs(12) && after < Duration::from_secs(14), "{after:?}");
            let [SchedulerFact::CancelAsked { outcome: Outcome::TimedOut, again: false, .. }] = &step.facts[..] else {
                panic!("{step:?}")
            };
            let order = serde_json::from_slice(step.messages[0].value.as_ref().unwrap()).unwrap();
            assert!(matches!(order, Order::Cancel { .. }), "{order:?}");
            rests(&shard);
            let (after, step) = beats(&mut shard, 2, 1, LONG).unwrap();
            assert!(after > Duration::from_secs(9) && after < Duration::from_secs(11), "{after:?}");
            let [SchedulerFact::JobFinished { outcome: Outcome::TimedOut, by: None, .. }] = &step.facts[..] else {
                panic!("{step:?}")
            };
        }
    }

    #[test]
    fn a_worker_that_stops_such_a_job_when_it_is_asked_to_ends_it_as_timed_out() {
        let mut shard = at_work(&Tuning::default(), RUNTIME);
        beats(&mut shard, 1, 1, Duration::from_secs(60)).unwrap();
        let step = shard.report(&says(1).result(position(1), token(1), Outcome::Cancelled));
        let [SchedulerFact::JobFinished { outcome: Outcome::TimedOut, by: Some(_), .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
    }

    #[test]
    fn a_lease_whose_beginning_is_not_known_counts_from_its_owners_beginning() {
        let mut shard = at_work(&Tuning::default(), RUNTIME);
        let snapshot = shard.stage.snapshot().unwrap();
        let since = format!(r#","since":{}"#, serde_json::to_string(&shard.at).unwrap());
        assert!(snapshot.contains(&since), "{snapshot}");
        shard.stage.restore(&snapshot.replace(&since, "")).unwrap();
        shard.wait(Duration::from_secs(600));
        shard.stage.observe(tidegate_stage::Signal::Owner { epoch: 2 }, shard.at);
        shard.epoch = 2;
        shard.report(&says(2).hello());
        let (after, step) = beats(&mut shard, 2, 1, Duration::from_secs(60)).unwrap();
        assert!(after > Duration::from_secs(31) && after < Duration::from_secs(34), "{after:?}");
        assert!(matches!(&step.facts[..], [SchedulerFact::CancelAsked { outcome: Outcome::TimedOut, .. }]), "{step:?}");
    }

    fn slow() -> Tuning {
        Tuning {
            progress_timeout_ms: Some(6_000),
            max_attempts: 2,
            backoff_ms: 0,
            max_backoff_ms: 0,
            ..Tuning::default()
        }
    }

    #[test]
    fn a_worker_that_lives_without_progress_is_told_to_stop_then_fenced_and_the_attempt_counts() {
        let mut shard = at_work(&slow(), "");
        for attempt in [1, 2] {
            shard.wait(Duration::from_secs(4));
            shard.report(&lists(1, attempt).heartbeat());
            shard.report(&progress(attempt));
            let (after, step) = beats(&mut shard, 1, attempt, LONG).unwrap();
            assert!(after > Duration::from_secs(5), "it had just reported progress: {after:?}");
            assert!(matches!(&step.facts[..], [SchedulerFact::CancelAsked { again: true, .. }]), "{step:?}");
            rests(&shard);
            let (after, step) = beats(&mut shard, 1, attempt, LONG).unwrap();
            assert!(after > Duration::from_secs(9), "{after:?}");
            let [SchedulerFact::LeaseExpired { end: LeaseEnd::Stalled, until: None, .. }] = &step.facts[..] else {
                panic!("{step:?}")
            };
            let told = shard.report(&lists(1, attempt).heartbeat());
            assert!(
                matches!(&told.facts[..], [SchedulerFact::ResultRefused { reason, .. }] if reason == "stale_fence")
            );
            shard.report(&says(1).heartbeat());
            let step = shard.poll();
            match (attempt, &step.facts[..]) {
                (1, [SchedulerFact::LeaseGranted { .. }])
                | (_, [SchedulerFact::JobFinished { dead: Some(DeadReason::MaxAttempts), .. }]) => {}
                _ => panic!("{attempt}: {step:?}"),
            }
        }
    }

    #[test]
    fn one_that_stops_in_time_is_tried_again_one_that_succeeds_counts_and_one_called_off_meanwhile_ends() {
        let asked = || {
            let mut shard = at_work(&slow(), "");
            beats(&mut shard, 1, 1, LONG).unwrap();
            shard
        };
        let step = asked().report(&says(1).result(position(1), token(1), Outcome::Cancelled));
        assert!(matches!(&step.facts[..], [SchedulerFact::JobRetried { reason, .. }] if reason.contains("progress")));
        let step = asked().report(&says(1).result(position(1), token(1), Outcome::Succeeded));
        assert!(matches!(&step.facts[..], [SchedulerFact::JobFinished { outcome: Outcome::Succeeded, .. }]));
        let mut shard = asked();
        let step = shard.called_off(withdrawal("a", 1));
        assert!(matches!(&step.facts[..], [SchedulerFact::CancelAsked { again: false, .. }]), "{step:?}");
        let (_, step) = beats(&mut shard, 1, 1, LONG).unwrap();
        assert!(
            matches!(&step.facts[..], [SchedulerFact::JobFinished { outcome: Outcome::Cancelled, .. }]),
            "{step:?}"
        );
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 0);
    }

    #[test]
    fn a_job_that_waits_for_its_child_makes_no_progress_and_nobody_asks_for_it() {
        let mut shard = at_work(&slow(), "");
        let waits = |waits| {
            let mut says = lists(1, 1);
            says.running[0].waits = waits;
            says.heartbeat()
        };
        for _ in 0..60 {
            shard.wait(Duration::from_millis(500));
            shard.report(&waits(true));
            assert!(shard.tick().facts.is_empty());
        }
        shard.report(&waits(false));
        let (after, _) = beats(&mut shard, 1, 1, LONG).unwrap();
        assert!(after > Duration::from_secs(5), "a full term again: {after:?}");
    }

    #[test]
    fn progress_of_a_lease_that_is_over_or_of_another_worker_is_no_sign() {
        let mut shard = at_work(&slow(), "");
        let due = shard.stage.next_due();
        shard.wait(Duration::from_millis(500));
        let Report::Progress { source, token, .. } = progress(2) else { panic!() };
        let (worker, fraction, note) = (crate::driver::worker("w"), None, String::new());
        shard.report(&Report::Progress { worker, incarnation: 1, source, token, fraction, note, partial: None });
        let Report::Progress { source, token, .. } = progress(1) else { panic!() };
        let (worker, note) = (crate::driver::worker("thief"), String::new());
        shard.report(&Report::Progress { worker, incarnation: 1, source, token, fraction, note, partial: None });
        assert_eq!(shard.stage.next_due(), due);
    }
}
