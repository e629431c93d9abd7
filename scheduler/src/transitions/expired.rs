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
