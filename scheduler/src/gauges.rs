//! What a scheduler shard tells about itself. Soft: counted by this owner from its own beginning.

use std::collections::BTreeMap;

use tidegate_protocol::facts::LeaseEnd;
use tidegate_protocol::outcome::Outcome;

/// Present sizes and counts since this owner began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Jobs that wait in memory.
    pub waiting: usize,
    /// Bytes of their records.
    pub waiting_bytes: usize,
    /// Jobs leased now.
    pub leased: usize,
    /// Jobs whose lease ended without result and that are ready again.
    pub requeued: usize,
    /// Jobs that are not ready yet: a later start, or the pause before the next attempt.
    pub delayed: usize,
    /// Workers known.
    pub workers: usize,
    /// Workers that reported under this epoch and are neither silent nor draining.
    pub workers_present: usize,
    /// Workers with room for a job.
    pub workers_free: usize,
    /// Workers that get nothing because an operator said so, known or not.
    pub workers_cordoned: usize,
    /// Assignments that could be sent now: credit and capacity left, over all workers.
    pub free_credit: u64,
    /// Requests for slices of limits that the limits stage has not answered.
    pub slices_awaited: usize,
    /// Such a request has not been answered for long.
    pub limits_silent: bool,
    /// What happened since this owner began.
    pub counts: Counts,
}

/// What happened since this owner began. All counts only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Leases granted.
    pub granted: u64,
    /// Leases ended without result, by why.
    pub expired: BTreeMap<&'static str, u64>,
    /// Jobs ended, by outcome.
    pub finished: BTreeMap<Outcome, u64>,
    /// Results refused because their token is not the current one.
    pub stale_fences: u64,
    /// Results refused, by reason (stale fences included).
    pub refused: BTreeMap<String, u64>,
    /// Accepted results that came again.
    pub repeated: u64,
    /// Made-up entries, results and Hellos that were not answered: their worker had been answered enough of late.
    pub unanswered: u64,
    /// Workers welcomed.
    pub welcomed: u64,
    /// Hellos below the number that their name has, which were told so.
    pub outrun: u64,
    /// Workers forgotten.
    pub forgotten: u64,
    /// Records that are a second one of a live job.
    pub duplicates: u64,
    /// Jobs moved to `overflow`.
    pub moved: u64,
    /// Jobs that went back to their kernel.
    pub returned: u64,
    /// Leased jobs that were told to stop.
    pub cancels_asked: u64,
    /// Failures that are retried.
    pub retried: u64,
    /// Jobs that left their log to start later.
    pub delayed: u64,
    /// Withdrawals of released jobs that were met.
    pub withdrawals: u64,
    /// Records on job inputs that are no allowed job.
    pub work_refused: u64,
    /// Reports that cannot be read or name what is not there.
    pub bad_reports: u64,
    /// Reports of an older incarnation.
    pub old_incarnation_reports: u64,
    /// Reports that name an epoch above this owner's: a newer owner is at work, or they are forged.
    pub reports_ahead: u64,
    /// Reports from workers beyond the bound of workers.
    pub workers_refused: u64,
    /// Give-backs of what the worker does not hold.
    pub idle_give_backs: u64,
    /// Records of `commands.<pool>` that are no operator's command to this pool.
    pub commands_unbelieved: u64,
    /// Commands that came again.
    pub commands_repeated: u64,
    /// Signs of progress.
    pub progress: u64,
    /// Facts that could not follow from the state: invariant violations.
    pub impossible_facts: u64,
}

/// The word of a lease's end in metrics.
pub(crate) const fn end_word(end: LeaseEnd) -> &'static str {
    match end {
        LeaseEnd::Silent => "silent",
        LeaseEnd::NewIncarnation => "new_incarnation",
        LeaseEnd::NotHeld => "not_held",
        LeaseEnd::GivenBack => "given_back",
        LeaseEnd::Stalled => "stalled",
    }
}
