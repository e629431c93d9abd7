//! Metrics of a scheduler shard: names and sentences in one place. Counts are of facts that have landed; figures are of
//! the present owner.

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::pool_command::PoolAction;

use crate::gauges::{Gauges, end_word};
use crate::transitions::refused::{BAD_OUTCOME, FINISHED, NOT_HOLDER, STALE_FENCE, UNKNOWN_JOB};

/// Name and sentence of every counter, for the exporter.
pub const COUNTERS: [(&str, &str); 10] = [
    ("tidegate_scheduler_leases_granted_total", "Jobs handed to workers, `again` when a lease before had ended."),
    ("tidegate_scheduler_leases_expired_total", "Leases that ended without a result, by why."),
    (
        "tidegate_scheduler_jobs_retried_total",
        "Attempts that failed and are followed by another, by why (worker: it said so).",
    ),
    ("tidegate_scheduler_jobs_finished_total", "Jobs that ended, by outcome."),
    (
        "tidegate_scheduler_results_refused_total",
        "Results that do not count, by why (stale_fence: of a lease that had ended).",
    ),
    ("tidegate_scheduler_jobs_moved_total", "Waiting jobs moved aside, by where."),
    (
        "tidegate_scheduler_jobs_returned_total",
        "Jobs that went back to their kernel to be judged again, by why (ticket: it expired while they waited).",
    ),
    ("tidegate_scheduler_dead_total", "Records and jobs sent to `dead`, by reason."),
    ("tidegate_scheduler_commands_total", "Operators' commands about workers, by what became of them."),
    ("tidegate_scheduler_slices_total", "Slices of limits that the shards of a pool borrow, by what was done."),
];

/// Name and sentence of every count of what leaves no fact, for the exporter: as each owner met it.
pub const COUNTS: [(&str, &str); 3] = [
    (
        "tidegate_scheduler_commands_unbelieved_total",
        "Records that are no operator's command to this pool; whoever sent one waits in vain.",
    ),
    (
        "tidegate_scheduler_reports_unanswered_total",
        "Entries and results that are no job of whoever sent them, and Hellos, beyond those that a worker is answered.",
    ),
    (
        "tidegate_scheduler_invariant_violations_total",
        "Facts that could not follow from the state; any is a defect or an altered log.",
    ),
];

/// Name and sentence of every gauge, for the exporter.
pub const GAUGES: [(&str, &str); 9] = [
    ("tidegate_scheduler_waiting_jobs", "Jobs that wait in memory; more may wait in the log (see lag)."),
    ("tidegate_scheduler_requeued_jobs", "Jobs whose lease ended without result and that are ready again."),
    (
        "tidegate_scheduler_delayed_jobs",
        "Jobs that are not ready yet: a later start, or the pause before the next attempt.",
    ),
    ("tidegate_scheduler_leases_active", "Jobs leased now."),
    ("tidegate_scheduler_workers_present", "Workers that reported to this owner and are neither silent nor draining."),
    ("tidegate_scheduler_workers_cordoned", "Workers that get nothing because an operator said so."),
    ("tidegate_scheduler_free_credit", "Assignments that workers would take now."),
    (
        "tidegate_scheduler_slices_awaited",
        "Requests for slices of limits that are on their way to the limits stage and back.",
    ),
    (
        "tidegate_scheduler_limits_silent",
        "1 while the limits stage has not answered for 5 s: jobs of limited tenants and capabilities wait for it.",
    ),
];

/// The word of a refusal, from the fixed list; labels must not come from data.
fn refusal_word(reason: &str) -> &'static str {
    [STALE_FENCE, NOT_HOLDER, UNKNOWN_JOB, FINISHED, BAD_OUTCOME]
        .into_iter()
        .find(|word| *word == reason)
        .unwrap_or("other")
}

/// What of a landed fact is counted.
pub(crate) fn tally(fact: &SchedulerFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
    let [granted, expired, retried, finished, refused, moved, returned, dead, commands, slices] =
        COUNTERS.map(|(name, _)| name);
    match fact {
        SchedulerFact::LeaseGranted { work, .. } => {
            count(granted, "again", if work.is_some() { "no" } else { "yes" });
        }
        SchedulerFact::LeaseExpired { end, .. } => count(expired, "why", end_word(*end)),
        SchedulerFact::JobRetried { .. } => count(retried, "why", "worker"),
        SchedulerFact::JobFinished { outcome, dead: reason, .. } => {
            count(finished, "outcome", outcome.word());
            if let Some(reason) = reason {
                count(dead, "reason", reason.word());
            }
        }
        SchedulerFact::ResultRefused { reason, .. } => count(refused, "why", refusal_word(reason)),
        SchedulerFact::JobMoved { .. } => count(moved, "to", "overflow"),
        SchedulerFact::JobReturned { .. } => count(returned, "why", "ticket"),
        SchedulerFact::WorkRefused { reason, .. } => count(dead, "reason", reason.word()),
        SchedulerFact::WorkerCordoned { drain, .. } => {
            count(commands, "end", if *drain { PoolAction::Drain } else { PoolAction::Cordon }.word());
        }
        SchedulerFact::WorkerUncordoned { .. } => count(commands, "end", PoolAction::Uncordon.word()),
        SchedulerFact::PoolCommandRefused { why, .. } => count(commands, "end", why.word()),
        SchedulerFact::SliceRequested { .. } => count(slices, "what", "requested"),
        SchedulerFact::SliceGranted { .. } => count(slices, "what", "answered"),
        SchedulerFact::SliceReturned { .. } => count(slices, "what", "returned"),
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::JobDelayed { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::JobDuplicate { .. }
        | SchedulerFact::WorkerForgotten { .. } => {}
    }
}

/// Present figures, and counts since this owner began.
pub(crate) fn figures(gauges: &Gauges, publish: &mut dyn FnMut(&'static str, f64)) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^53")]
    let figure = |number: usize| number as f64;
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let values: [usize; GAUGES.len()] = [
        gauges.waiting,
        gauges.requeued,
        gauges.delayed,
        gauges.leased,
        gauges.workers_present,
        gauges.workers_cordoned,
        whole(gauges.free_credit),
        gauges.slices_awaited,
        usize::from(gauges.limits_silent),
    ];
    let told = &gauges.counts;
    let counts = [told.commands_unbelieved, told.unanswered, told.impossible_facts].map(whole);
    for ((name, _), value) in GAUGES.into_iter().zip(values).chain(COUNTS.into_iter().zip(counts)) {
        publish(name, figure(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_a_fixed_list() {
        assert_eq!(refusal_word("stale_fence"), "stale_fence");
        assert_eq!(refusal_word("whatever a worker wrote"), "other");
    }

    #[test]
    fn figures_go_by_their_names() {
        let gauges = Gauges { leased: 3, free_credit: 9, ..Gauges::default() };
        let mut published = Vec::new();
        figures(&gauges, &mut |name, value| published.push((name, value)));
        assert!(published.contains(&("tidegate_scheduler_leases_active", 3.0)));
        assert!(published.contains(&("tidegate_scheduler_free_credit", 9.0)));
        assert_eq!(published.len(), GAUGES.len() + COUNTS.len());
        // By their names the runner knows counts from gauges.
        assert!(COUNTS.iter().all(|(name, _)| name.ends_with("_total")));
        assert!(!GAUGES.iter().any(|(name, _)| name.ends_with("_total")));
    }
}
