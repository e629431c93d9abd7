//! What a kernel counts. Every name, label and sentence of this crate's metrics is here.
//!
//! What facts say is counted once they have landed, so nothing is counted that an ended ownership never wrote, and nothing
//! twice in replay. The rest is counted as it happens.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::kept::KeptAs;

const RECORDS: &str = "tidegate_kernel_records_total";
const DECISIONS: &str = "tidegate_kernel_decisions_total";
const DEAD: &str = "tidegate_kernel_dead_total";
const COMMANDS_REFUSED: &str = "tidegate_kernel_commands_refused_total";
const OUTCOMES_UNUSED: &str = "tidegate_kernel_outcomes_unused_total";
const ANSWERS_UNUSED: &str = "tidegate_kernel_limit_answers_unused_total";
const SLICES: &str = "tidegate_kernel_limit_messages_total";
const SETTLED: &str = "tidegate_kernel_spends_settled_total";
const HOLDINGS: &str = "tidegate_kernel_limit_holdings";
const OPEN_SPENDS: &str = "tidegate_kernel_open_spends";
const VIOLATIONS: &str = "tidegate_kernel_invariant_violations_total";
const KNOWN_IDS: &str = "tidegate_kernel_known_ids";
const HELD: &str = "tidegate_kernel_held_jobs";
const DEFERRED: &str = "tidegate_kernel_deferred_jobs";
const HOLDS: &str = "tidegate_kernel_holds_total";
const RETURNED: &str = "tidegate_kernel_returned_jobs_total";
const WITHDRAWN: &str = "tidegate_kernel_jobs_withdrawn_total";
const DEFERRALS: &str = "tidegate_kernel_deferrals_total";
const POLICY_REVISION: &str = "tidegate_kernel_policy_revision";

/// Tells the recorder what this crate's metrics mean; call once, after it is installed.
pub fn describe_metrics() {
    for (name, sentence) in [
        (
            RECORDS,
            "Records settled, by what they turned out to be: decided, observed, held, deferred, repeated or rejected.",
        ),
        (DECISIONS, "Jobs judged, by verdict."),
        (HOLDS, "What happened to held jobs, by event: held, renewed, approved (by one person), escalated, cancelled."),
        (
            DEFERRALS,
            "Times a job was deferred, by why: slice (of a limit), throttle, or ticket (expired, and no policy).",
        ),
        (
            RETURNED,
            "Jobs that came back because their ticket expired, by what they were then: decided, held, deferred, cancelled or rejected.",
        ),
        (WITHDRAWN, "Released jobs that were called off: their pool was told, by cause (cancelled, revoked)."),
        (DEAD, "Records that could not be jobs and went to `dead`, by reason."),
        (
            COMMANDS_REFUSED,
            "Command records that had no effect, by source and why: what is not believed, and what is genuine but refused.",
        ),
        (OUTCOMES_UNUSED, "Outcome records of jobs whose end nobody waits for, by source."),
        (ANSWERS_UNUSED, "Answers of the limits stage that no longer fit what is held, by source."),
        (SLICES, "What went to and came from the limits stage, by what: asked, granted, returned, passed_on."),
        (SETTLED, "Jobs that took of limits and whose end was told, by outcome."),
        (VIOLATIONS, "Facts whose messages could not be made, by source; each is a defect. Should stay 0."),
    ] {
        describe_counter!(name, Unit::Count, sentence);
    }
    describe_gauge!(KNOWN_IDS, Unit::Count, "Job ids in the window in which a job that comes twice runs once.");
    describe_gauge!(HELD, Unit::Count, "Jobs that wait for people to approve them.");
    describe_gauge!(DEFERRED, Unit::Count, "Jobs that wait for a slice of a limit or for a throttle's delay.");
    describe_gauge!(HOLDINGS, Unit::Count, "Keys of limits of which the shard holds or has asked for something.");
    describe_gauge!(OPEN_SPENDS, Unit::Count, "Jobs that took of limits and whose end is awaited.");
    describe_gauge!(POLICY_REVISION, Unit::Count, "Revision of the policy last used.");
}

/// What counts of a fact that has landed.
pub(crate) fn tally(fact: &KernelFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
    if let Some(became) = returned(fact) {
        count(RETURNED, "outcome", became);
    }
    match fact {
        KernelFact::PolicyAdopted { .. } => {}
        KernelFact::JobDecided { decision, observed, replaces, .. } => {
            if replaces.is_none() {
                count(RECORDS, "outcome", if *observed { "observed" } else { "decided" });
            }
            count(DECISIONS, "verdict", decision.verdict.word());
        }
        KernelFact::SliceRequested { .. } => count(SLICES, "what", "asked"),
        KernelFact::SliceGranted { .. } => count(SLICES, "what", "granted"),
        KernelFact::SliceReturned { .. } => count(SLICES, "what", "returned"),
        KernelFact::OutcomePassedOn { .. } => count(SLICES, "what", "passed_on"),
        KernelFact::SpendSettled { told } => count(SETTLED, "outcome", told.outcome.word()),
        KernelFact::JobRepeated { .. } => count(RECORDS, "outcome", "repeated"),
        KernelFact::JobHeld { replaces, .. } => {
            if replaces.is_none() {
                count(RECORDS, "outcome", "held");
            }
            count(HOLDS, "event", "held");
        }
        KernelFact::HoldRenewed { .. } => count(HOLDS, "event", "renewed"),
        KernelFact::ApprovalGiven { .. } => count(HOLDS, "event", "approved"),
        KernelFact::HoldEscalated { .. } => count(HOLDS, "event", "escalated"),
        KernelFact::JobCancelled { replaces, .. } => {
            if replaces.was != KeptAs::Released {
                count(HOLDS, "event", "cancelled");
            }
        }
        KernelFact::JobWithdrawn { cause, .. } => count(WITHDRAWN, "cause", cause.word()),
        KernelFact::CommandRefused { .. } => {}
        KernelFact::JobDeferred { why, replaces, .. } => {
            if replaces.is_none() {
                count(RECORDS, "outcome", "deferred");
            }
            count(DEFERRALS, "why", why.word());
        }
        KernelFact::RecordRejected { reason, replaces, .. } => {
            if replaces.is_none() {
                count(RECORDS, "outcome", "rejected");
            }
            count(DEAD, "reason", reason.word());
        }
    }
}

/// What became of a job whose ticket had expired, when this fact is about one.
fn returned(fact: &KernelFact) -> Option<&'static str> {
    let (replaces, became) = match fact {
        KernelFact::JobDecided { replaces, .. } => (replaces, "decided"),
        KernelFact::JobHeld { replaces, .. } => (replaces, "held"),
        KernelFact::JobDeferred { replaces, .. } => (replaces, "deferred"),
        KernelFact::RecordRejected { replaces, .. } => (replaces, "rejected"),
        KernelFact::JobCancelled { replaces, .. } if replaces.was == KeptAs::Released => return Some("cancelled"),
        KernelFact::PolicyAdopted { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. }
        | KernelFact::HoldRenewed { .. }
        | KernelFact::ApprovalGiven { .. }
        | KernelFact::HoldEscalated { .. }
        | KernelFact::CommandRefused { .. }
        | KernelFact::JobCancelled { .. }
        | KernelFact::JobWithdrawn { .. }
        | KernelFact::JobRepeated { .. } => return None,
    };
    replaces.is_some_and(|replaced| replaced.was == KeptAs::Released).then_some(became)
}

/// How many jobs are kept.
pub(crate) fn kept(count: impl Fn(KeptAs) -> usize, publish: &mut dyn FnMut(&'static str, f64)) {
    for (name, kind) in [(HELD, KeptAs::Held), (DEFERRED, KeptAs::Deferred)] {
        publish(name, u32::try_from(count(kind)).map_or(f64::MAX, f64::from));
    }
}

/// Present figures.
pub(crate) fn figures(known_ids: usize, revision: Option<u64>, publish: &mut dyn FnMut(&'static str, f64)) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^53")]
    let figure = |number: u64| number as f64;
    publish(KNOWN_IDS, figure(u64::try_from(known_ids).unwrap_or(u64::MAX)));
    if let Some(revision) = revision {
        publish(POLICY_REVISION, figure(revision));
    }
}

/// Present figures of limits.
pub(crate) fn wallet(wallet: &crate::wallet::Wallet, publish: &mut dyn FnMut(&'static str, f64)) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^53")]
    let figure = |number: usize| number as f64;
    publish(HOLDINGS, figure(wallet.len()));
    publish(OPEN_SPENDS, figure(wallet.open()));
}

/// Handles of what is counted as it happens, taken once so that counting costs no look-up.
pub(crate) struct Meters {
    source: SourceName,
    pub(crate) outcomes_unused: Counter,
    pub(crate) answers_unused: Counter,
    pub(crate) violations: Counter,
}

impl Meters {
    pub(crate) fn new(source: &SourceName) -> Self {
        let of = |name: &'static str| counter!(name, "source" => source.to_string());
        Self {
            source: source.clone(),
            outcomes_unused: of(OUTCOMES_UNUSED),
            answers_unused: of(ANSWERS_UNUSED),
            violations: of(VIOLATIONS),
        }
    }

    /// A command was refused, for a reason out of a fixed list.
    pub(crate) fn commands_refused(&self, why: &'static str) {
        counter!(COMMANDS_REFUSED, "source" => self.source.to_string(), "why" => why).increment(1);
    }
}
