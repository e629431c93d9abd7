//! `SliceRequested`, `SliceGranted`, `SliceReturned`: what the shards of a pool borrow of its limits ([`crate::lent`]).
//!
//! | when | fact |
//! |---|---|
//! | a job's turn has come, a worker is there, and what is held will not do, or soon will not | `SliceRequested` |
//! | it was not answered in time | `SliceRequested` |
//! | the limits stage answers | `SliceGranted` |
//! | it asks for what is not in use; something owed came free; a holding's time is over | `SliceReturned` |

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest};
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef, Outbox};
use tidegate_wallet::Heard;

use crate::{Scheduler, lent};

/// Asks; whether there is anything to ask.
pub(crate) fn ask(asks: Vec<LimitRequest>, decision: &mut Decision<SchedulerFact>) -> bool {
    let any = !asks.is_empty();
    for request in asks {
        decision.fact(SchedulerFact::SliceRequested { request: Box::new(request) });
    }
    any
}

/// What an answer, or a notice that others need something, leads to.
pub(crate) fn decide(
    scheduler: &Scheduler,
    answer: &LimitAnswer,
    (epoch, at): (u64, Timestamp),
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    match scheduler.state.wallet().answered(answer.clone(), at, epoch) {
        Some(Heard::Granted(answer)) => {
            decision.settle(record, SchedulerFact::SliceGranted { answer: Box::new(answer) });
        }
        Some(Heard::Returned(request)) => {
            let nothing = matches!(&request, LimitRequest::Return { free, gone: false, .. } if free.is_zero());
            let (limit, key) = answer.about();
            let owes = scheduler.owes(limit, key, at);
            // What is owed is given back as it comes free: whoever waits for it waits a little for that.
            if !(nothing && owes) {
                decision.settle(record, SchedulerFact::SliceReturned { request: Box::new(request) });
            }
        }
        None => {}
    }
}

/// Gives back what is owed and came free; whether there was any.
pub(crate) fn pay(scheduler: &Scheduler, epoch: u64, at: Timestamp, decision: &mut Decision<SchedulerFact>) -> bool {
    let Some(request) = scheduler.pays(epoch, at) else { return false };
    decision.fact(SchedulerFact::SliceReturned { request: Box::new(request) });
    true
}

/// Holdings whose time was over at `fresh` end, and what was not answered by then is asked again.
pub(crate) fn tick(
    scheduler: &Scheduler,
    fresh: Timestamp,
    (epoch, at): (u64, Timestamp),
    decision: &mut Decision<SchedulerFact>,
) {
    for request in scheduler.state.wallet().tick(fresh, at, epoch) {
        let request = Box::new(request);
        decision.fact(match *request {
            LimitRequest::Ask { .. } => SchedulerFact::SliceRequested { request },
            LimitRequest::Return { .. } | LimitRequest::Ended { .. } => SchedulerFact::SliceReturned { request },
        });
    }
}

pub(crate) fn asked(scheduler: &mut Scheduler, request: &LimitRequest, at: Timestamp) {
    scheduler.state.wallet_mut().requested(request, at);
    scheduler.told_of(Some(request), None, at);
}

pub(crate) fn granted(scheduler: &mut Scheduler, answer: &LimitAnswer, at: Timestamp) {
    scheduler.state.wallet_mut().granted(answer, at);
    scheduler.told_of(None, Some(answer), at);
}

pub(crate) fn emit(scheduler: &Scheduler, request: &LimitRequest, out: &mut Outbox) {
    // A pool of one shard borrows nothing.
    let Some(lent) = &scheduler.pool.lent else { return };
    lent::send(&scheduler.pool.topics, &lent.lending, request, out);
}
