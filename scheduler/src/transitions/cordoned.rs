//! `WorkerCordoned`, `WorkerUncordoned`, `PoolCommandRefused`: what an operator's command leads to.
//!
//! | command | the worker is | leads to |
//! |---|---|---|
//! | any | | nothing, when its id was met before (counted) |
//! | any, signed more than an hour ago | | nothing |
//! | any, signed too long ago or ahead of time | | refused `out_of_time`; one that is ahead may count later |
//! | any, when too many were met | | refused `not_now`; it may count later |
//! | `cordon` | free or cordoned | `WorkerCordoned`; nothing new is given to it |
//! | `drain` | known | the same, and it is told to leave |
//! | `drain` | not known | the same as `cordon`: whoever comes under that name later is not told |
//! | `uncordon` | cordoned | `WorkerUncordoned` |
//! | `uncordon` | free | refused `not_cordoned` |

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::ids::{CommandId, WorkerId};
use tidegate_protocol::pool_command::{PoolAction, PoolCommand, PoolRefusal, Told};
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef, Outbox};

use crate::Scheduler;
use crate::cordons::{MOST_CORDONED, Timely, timely};

/// Why it has no effect.
fn refusal(scheduler: &Scheduler, command: &PoolCommand, at: Timestamp) -> Option<(PoolRefusal, String)> {
    let cordons = scheduler.state.cordons();
    let (worker, cordoned) = (&command.worker, cordons.of(&command.worker).is_some());
    if !matches!(timely(command.at_ms, at), Timely::InTime(_)) {
        let detail = "it was signed more than 15 minutes ago, or its time is still to come: sign it anew";
        return Some((PoolRefusal::OutOfTime, detail.to_owned()));
    }
    if !cordons.can_remember(at) {
        return Some((PoolRefusal::NotNow, "too many commands came of late: say it again in some minutes".to_owned()));
    }
    match command.action {
        PoolAction::Uncordon if !cordoned => Some((PoolRefusal::NotCordoned, format!("`{worker}` is not cordoned"))),
        PoolAction::Cordon | PoolAction::Drain if !cordoned && !cordons.has_room() => {
            Some((PoolRefusal::TooMany, format!("{MOST_CORDONED} workers are cordoned: uncordon those that are gone")))
        }
        PoolAction::Cordon | PoolAction::Drain | PoolAction::Uncordon => None,
    }
}

pub(crate) fn decide(
    scheduler: &Scheduler,
    command: &PoolCommand,
    at: Timestamp,
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    let cordons = scheduler.state.cordons();
    if cordons.has_met(&command.id, at) || timely(command.at_ms, at) == Timely::Old {
        return;
    }
    let PoolCommand { worker, action, id, by, at_ms, reason, .. } = command.clone();
    let fact = match (refusal(scheduler, command, at), action) {
        // What cannot be remembered would be a fact each time it is said.
        (Some((why, _)), _)
            if !cordons.may_refuse(at) || (why == PoolRefusal::OutOfTime && !cordons.can_remember(at)) =>
        {
            return;
        }
        (Some((why, detail)), _) => {
            SchedulerFact::PoolCommandRefused { worker, action, command: id, by, at_ms, why, detail }
        }
        (None, PoolAction::Cordon) => {
            SchedulerFact::WorkerCordoned { worker, drain: false, tell: None, command: id, by, at_ms, reason }
        }
        (None, PoolAction::Drain) => {
            let known = scheduler.state.worker(&worker);
            let tell = known.map(|known| Told { incarnation: known.incarnation, lane: known.lane });
            SchedulerFact::WorkerCordoned { worker, drain: true, tell, command: id, by, at_ms, reason }
        }
        (None, PoolAction::Uncordon) => SchedulerFact::WorkerUncordoned { worker, command: id, by, at_ms, reason },
    };
    decision.settle(record, fact);
}

/// A command, and when it was signed (milliseconds since the Unix epoch).
type Met<'a> = (&'a CommandId, u64);

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    worker: &WorkerId,
    tell: Option<Told>,
    said: String,
    (command, signed_ms): Met<'_>,
    at: Timestamp,
) {
    let cordons = scheduler.state.cordons_mut();
    cordons.remember(command, signed_ms, at);
    cordons.cordon(worker, tell, said);
    place_anew(scheduler, worker, at);
}

pub(crate) fn lift(scheduler: &mut Scheduler, worker: &WorkerId, (command, signed_ms): Met<'_>, at: Timestamp) {
    let cordons = scheduler.state.cordons_mut();
    cordons.remember(command, signed_ms, at);
    cordons.uncordon(worker);
    place_anew(scheduler, worker, at);
}

pub(crate) fn refused(scheduler: &mut Scheduler, why: PoolRefusal, (command, signed_ms): Met<'_>, at: Timestamp) {
    let cordons = scheduler.state.cordons_mut();
    // Of what there was no room for it may be said again.
    if why != PoolRefusal::NotNow {
        cordons.remember(command, signed_ms, at);
    }
    cordons.refused(at);
}

fn place_anew(scheduler: &mut Scheduler, worker: &WorkerId, at: Timestamp) {
    if scheduler.soft.epoch.is_some() && scheduler.soft.fleet.contains_key(worker) {
        scheduler.refresh(worker, at);
    }
}

/// What a worker that is to leave is told.
pub(crate) fn said(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("drained by {by}") } else { format!("drained by {by}: {reason}") }
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    if let SchedulerFact::WorkerCordoned { worker, tell: Some(Told { incarnation, lane }), .. } = fact {
        leave(scheduler, 0, worker, *incarnation, *lane, out);
    }
}

/// Tells a worker that is to leave so, when this is the incarnation that is to.
pub(crate) fn leave(
    scheduler: &Scheduler,
    ordinal: u8,
    worker: &WorkerId,
    incarnation: u64,
    lane: u32,
    out: &mut Outbox,
) {
    let cordon = scheduler.state.cordons().of(worker).filter(|cordon| cordon.leaves == Some(incarnation));
    if let Some(cordon) = cordon {
        let order = Order::Drain { incarnation, reason: cordon.reason.clone() };
        scheduler.order(ordinal, lane, worker, None, &order, out);
    }
}
