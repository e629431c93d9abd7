//! `WorkerForgotten`: a worker that holds nothing and has long been silent makes room.

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use super::expired::AT_ONCE;
use crate::Scheduler;

pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for worker in scheduler.soft.forget.due(fresh).take(AT_ONCE) {
        decision.fact(SchedulerFact::WorkerForgotten { worker: worker.clone() });
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, worker: &WorkerId) {
    scheduler.state.forget(worker);
    let soft = &mut scheduler.soft;
    soft.fleet.remove(worker);
    soft.hellos.remove(worker);
    soft.placement.remove_worker(worker);
    soft.silence.stop(worker);
    soft.forget.stop(worker);
    soft.rests.stop(worker);
    soft.counts.forgotten += 1;
}
