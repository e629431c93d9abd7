//! `LeaseExpired`: a lease ended without a result, the job is ready again.

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use crate::Scheduler;

/// Most facts of a kind in one tick; the rest is still due at the next.
pub(crate) const AT_ONCE: usize = 1_000;

/// Leases whose term is over, by a clock all reports up to which have been read.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.leases.due(fresh).take(AT_ONCE) {
        if let Some(job) = scheduler.state.job(source) {
            let (source, token) = (source.clone(), job.token);
            decision.fact(SchedulerFact::LeaseExpired { source, token, end: LeaseEnd::Silent });
        }
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition, end: LeaseEnd, at: Timestamp) {
    let Some(worker) = scheduler.state.expire(source, end) else { return };
    let soft = &mut scheduler.soft;
    if soft.epoch.is_none() {
        return;
    }
    *soft.counts.expired.entry(crate::gauges::end_word(end)).or_default() += 1;
    soft.leases.stop(source);
    if end == LeaseEnd::Silent
        && let Some(present) = soft.fleet.get_mut(&worker)
    {
        present.silent = true;
    }
    scheduler.offer(source);
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
