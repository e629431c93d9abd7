//! `LeaseExpired`: a lease ended without a result, the job is ready again, at once or after a pause.

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use crate::Scheduler;
use crate::state::{Job, strike};

/// Most facts of a kind in one tick; the rest is still due at the next.
pub(crate) const AT_ONCE: usize = 1_000;

/// Leases whose term is over, by a clock all reports up to which have been read.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.leases.due(fresh).take(AT_ONCE) {
        if let Some(job) = scheduler.state.job(source) {
            decision.fact(fact(scheduler, job, LeaseEnd::Silent, at));
        }
    }
}

/// The end of a job's lease, and when the job is ready again.
pub(crate) fn fact(scheduler: &Scheduler, job: &Job, end: LeaseEnd, at: Timestamp) -> SchedulerFact {
    let (source, token) = (job.work.source.clone(), job.token);
    let strikes = job.strikes.saturating_add(strike(end));
    // What gets no further lease ends at once.
    let spent = scheduler.pool.is_spent(&job.work, strikes);
    let pause = scheduler.pool.policy_of(&job.work).after_lost(end, strikes, &source, token.attempt);
    let over = spent || job.ending().is_some();
    let until = (!over && !pause.is_zero()).then(|| at + pause);
    SchedulerFact::LeaseExpired { source, token, end, until }
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    end: LeaseEnd,
    until: Option<Timestamp>,
    at: Timestamp,
) {
    scheduler.free_places(source, at);
    let Some(worker) = scheduler.state.expire(source, end, until) else { return };
    if scheduler.soft.epoch.is_none() {
        return;
    }
    scheduler.unwatch(source);
    let soft = &mut scheduler.soft;
    *soft.counts.expired.entry(crate::gauges::end_word(end)).or_default() += 1;
    if end == LeaseEnd::Silent
        && let Some(present) = soft.fleet.get_mut(&worker)
    {
        present.silent = true;
    }
    scheduler.resume(source, at);
    scheduler.refresh(&worker, at);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::time::Timestamp;
    use tidegate_stage::Stage;

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, job, layout};

    #[test]
    fn a_lease_is_due_a_term_after_the_last_report_that_lists_it_and_no_earlier() {
        let mut shard = Shard::new(layout(), &Tuning { lease_ms: 1_000, ..Tuning::default() });
        shard.approved(approved(&job("a", 1), "1"));
        shard.report(&Says::of("w").hello());
        shard.report(&Says { epoch: 1, ..Says::of("w") }.heartbeat());
        shard.poll();
        let due = shard.stage.next_due().unwrap();
        assert_eq!(due, shard.at + Duration::from_secs(1));
        shard.wait(Duration::from_secs(2));
        assert!(shard.tick_fresh(Timestamp(due.0 - 1)).facts.is_empty());
        assert_eq!(shard.tick_fresh(due).facts.len(), 1);
        assert_eq!(shard.stage.gauges().requeued, 1);
        assert!(shard.poll().facts.is_empty(), "not to the same silence");
    }
}
