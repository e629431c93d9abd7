//! `JobDelayed` and `JobDue`: a job that is not to start yet waits in the state, and is ready when its time has come.
//!
//! It leaves its log at once, so one that waits for months pins nothing. What the state holds of such jobs is bounded
//! (`delayed_jobs`, `delayed_bytes`): beyond, they wait in the window, and move to `overflow` like any that nobody can take.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use super::expired::AT_ONCE;
use crate::Scheduler;
use crate::work::Work;

/// The fact that takes a job which has just arrived out of its log until its time; `None` when it may start, or there is
/// no room.
pub(crate) fn on_arrival(scheduler: &Scheduler, work: &Work, at: Timestamp) -> Option<SchedulerFact> {
    let until = work.terms().not_before.filter(|until| *until > at)?;
    let (jobs, bytes) = scheduler.state.delayed();
    let pool = &scheduler.pool;
    (jobs < pool.delayed_jobs && bytes + work.bytes() <= pool.delayed_bytes).then(|| SchedulerFact::JobDelayed {
        source: work.source.clone(),
        until,
        work: work.text.as_ref().to_owned(),
        moved: work.terms().moved,
    })
}

/// Jobs whose time has come. One whose deadline has passed too ends by that.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.wakes.due(fresh).take(AT_ONCE) {
        let job = scheduler.state.job(source);
        if job.is_some_and(|job| job.work.terms().deadline.is_none_or(|deadline| deadline > fresh)) {
            decision.fact(SchedulerFact::JobDue { source: source.clone() });
        }
    }
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    until: Timestamp,
    text: &RawValue,
    at: Timestamp,
) {
    let Ok(work) = Work::of(Arc::from(text.to_owned())) else {
        scheduler.soft.counts.impossible_facts += 1;
        return;
    };
    scheduler.state.delay(work, until);
    if scheduler.soft.epoch.is_some() {
        scheduler.soft.counts.delayed += 1;
        scheduler.offer(source, at);
    }
}

pub(crate) fn due(scheduler: &mut Scheduler, source: &SourcePosition, at: Timestamp) {
    scheduler.state.wake(source);
    if scheduler.soft.epoch.is_some() {
        scheduler.withdraw(source, at);
        scheduler.offer(source, at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::outcome::Outcome;
    use tidegate_protocol::time::Timestamp;
    use tidegate_stage::Stage;

    use crate::Tuning;
    use crate::driver::{Says, Shard, Way, approved, job, layout, position};

    fn later(shard: &Shard, id: &str, offset: u64, ms: u64) -> bytes::Bytes {
        let mut job = job(id, offset);
        job.not_before = Some(shard.at.millis() + ms);
        approved(&job, "1")
    }

    fn at_work(shard: &mut Shard) -> Says {
        let says = Says { epoch: shard.epoch, credit: 9, capacity: 4, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        says
    }

    #[test]
    fn a_job_is_not_leased_before_its_time_and_leaves_its_log_at_once() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            let text = later(&shard, "a", 1, 5_000);
            assert!(matches!(&shard.approved(text).facts[..], [SchedulerFact::JobDelayed { .. }]));
            assert_eq!((shard.unsettled(), shard.stage.gauges().delayed), (0, 1));
            shard.takeover(way, 2);
            at_work(&mut shard);
            assert!(shard.poll().facts.is_empty());
            let due = shard.stage.next_due().unwrap();
            shard.wait(Duration::from_secs(6));
            assert!(shard.tick_fresh(Timestamp(due.0 - 1)).facts.is_empty());
            assert!(matches!(&shard.tick_fresh(due).facts[..], [SchedulerFact::JobDue { .. }]));
            shard.report(&Says { epoch: 2, ..Says::of("w") }.heartbeat());
            let granted = shard.poll();
            let [SchedulerFact::LeaseGranted { token, work: None, .. }] = &granted.facts[..] else {
                panic!("{granted:?}")
            };
            assert_eq!(*token, Token { epoch: 2, attempt: 1 });
            assert_eq!(shard.stage.gauges().delayed, 0);
        }
    }

    #[test]
    fn its_deadline_ends_it_while_it_is_delayed() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let mut late = job("a", 1);
        late.not_before = Some(shard.at.millis() + 5_000);
        late.deadline = Some(shard.at.millis() + 2_000);
        shard.approved(approved(&late, "1"));
        shard.wait(Duration::from_secs(9));
        let step = shard.tick();
        let [SchedulerFact::JobFinished { outcome: Outcome::TimedOut, attempts: 0, .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 0);
    }

    #[test]
    fn beyond_the_bound_it_waits_in_its_log_and_still_not_before_its_time() {
        let mut shard = Shard::new(layout(), &Tuning { delayed_jobs: 1, ..Tuning::default() });
        for offset in [1, 2] {
            let text = later(&shard, &format!("j{offset}"), offset, 5_000);
            shard.approved(text);
        }
        let gauges = shard.stage.gauges();
        assert_eq!((shard.unsettled(), gauges.delayed, gauges.waiting), (1, 2, 1));
        at_work(&mut shard);
        assert!(shard.poll().facts.is_empty());
        shard.wait(Duration::from_secs(6));
        shard.tick();
        shard.report(&Says { epoch: 1, credit: 9, capacity: 4, ..Says::of("w") }.heartbeat());
        let step = shard.poll();
        let leased = step.facts.iter().filter(|fact| matches!(fact, SchedulerFact::LeaseGranted { .. }));
        assert_eq!(leased.count(), 2);
    }

    #[test]
    fn a_job_that_is_delayed_cannot_be_leased_nor_be_due_twice() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let text = later(&shard, "a", 1, 5_000);
        shard.approved(text);
        at_work(&mut shard);
        let before = shard.stage.snapshot().unwrap();
        let granted = SchedulerFact::LeaseGranted {
            source: position(1),
            worker: crate::driver::worker("w"),
            incarnation: 1,
            token: Token { epoch: 1, attempt: 1 },
            number: 1,
            lane: 0,
            work: None,
            moved: 0,
            spends: Vec::new(),
        };
        shard.stage.apply(&granted, shard.at);
        assert_eq!(shard.stage.snapshot().unwrap(), before);
        shard.stage.apply(&SchedulerFact::JobDue { source: position(1) }, shard.at);
        shard.stage.apply(&SchedulerFact::JobDue { source: position(1) }, shard.at);
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 2);
    }
}
