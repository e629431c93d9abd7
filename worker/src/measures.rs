//! Every metric of a worker: name, unit, sentence. All carry the label `pool`, which the config bounds.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::outcome::Outcome;

use crate::session::Ignored;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// What it says.
    pub sentence: &'static str,
}

macro_rules! measures {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, $sentence:literal;)*) => {
        $(const $constant: &str = $name;)*
        /// All of them; docs and dashboards are rendered from here.
        pub const MEASURES: &[Measure] = &[
            $(Measure { name: $name, kind: Kind::$kind, unit: Unit::$unit, sentence: $sentence },)*
        ];
    };
}

measures! {
    JOBS = "tidegate_worker_jobs_total", Counter, Count, "Jobs that ended here and whose result was sent, by `outcome`.";
    JOB_SECONDS = "tidegate_worker_job_seconds", Histogram, Seconds, "Time a job's handler took, however it ended.";
    RUNNING = "tidegate_worker_running_jobs", Gauge, Count, "Jobs that occupy a slot now, those that lost their lease included.";
    CREDIT = "tidegate_worker_credit_jobs", Gauge, Count, "Further jobs the worker would accept now.";
    UNSETTLED = "tidegate_worker_unsettled_results", Gauge, Count, "Results sent, or waiting to be sent, that the scheduler has not settled.";
    IN_DOUBT = "tidegate_worker_in_doubt_jobs", Gauge, Count, "Jobs that run although none of the worker's reports landed for a full lease: whether they are still its own is not known.";
    LEASES_LOST = "tidegate_worker_leases_lost_total", Counter, Count, "Running jobs that were stopped because their lease was gone.";
    REFUSED = "tidegate_worker_results_refused_total", Counter, Count, "Results the scheduler refused (stale token, not the holder, job ended).";
    GIVEN_BACK = "tidegate_worker_given_back_total", Counter, Count, "Jobs given back to the scheduler without a result.";
    ABANDONED = "tidegate_worker_abandoned_total", Counter, Count, "Jobs whose runner was gone without a word (an HTTP worker that fell silent); their leases end at once.";
    SKIPPED = "tidegate_worker_lane_skipped_records_total", Counter, Count, "Records of other workers met in this worker's lane; many mean too few lanes.";
    BAD = "tidegate_worker_lane_bad_records_total", Counter, Count, "Records addressed to this worker that are no order of its pool's scheduler.";
    UNPROVEN = "tidegate_worker_jobs_refused_total", Counter, Count, "Assigned jobs refused unrun because their ticket proves nothing here; any is an attack or a wrong key.";
    UNCONSTRAINED = "tidegate_worker_jobs_unconstrained_total", Counter, Count, "Assigned jobs refused unrun because nothing here enforces a constraint of theirs.";
    IGNORED = "tidegate_worker_orders_ignored_total", Counter, Count, "Orders without effect, by `why`: other_incarnation, other_epoch, repeated, not_held.";
    INCARNATIONS = "tidegate_worker_incarnations_total", Counter, Count, "Lives begun: the start, each time the lane was lost, and each time the name had a higher number than ours.";
    APPEND_FAILURES = "tidegate_worker_append_failures_total", Counter, Count, "Report appends that failed for good and were said again.";
}

/// Tells the installed recorder what the metrics mean. Call once, after installing it.
pub fn describe() {
    for measure in MEASURES {
        match measure.kind {
            Kind::Counter => describe_counter!(measure.name, measure.unit, measure.sentence),
            Kind::Gauge => describe_gauge!(measure.name, measure.unit, measure.sentence),
            Kind::Histogram => describe_histogram!(measure.name, measure.unit, measure.sentence),
        }
    }
}

/// The metrics of one worker, looked up once.
pub(crate) struct Measures {
    succeeded: Counter,
    failed: Counter,
    cancelled: Counter,
    timed_out: Counter,
    other_incarnation: Counter,
    other_epoch: Counter,
    repeated: Counter,
    not_held: Counter,
    pub(crate) job_seconds: Histogram,
    pub(crate) running: Gauge,
    pub(crate) credit: Gauge,
    pub(crate) unsettled: Gauge,
    pub(crate) in_doubt: Gauge,
    pub(crate) leases_lost: Counter,
    pub(crate) refused: Counter,
    pub(crate) given_back: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) skipped: Counter,
    pub(crate) bad: Counter,
    pub(crate) unproven: Counter,
    pub(crate) unconstrained: Counter,
    pub(crate) incarnations: Counter,
    pub(crate) append_failures: Counter,
}

impl Measures {
    pub(crate) fn of(pool: &PoolName) -> Self {
        let pool = pool.as_str().to_owned();
        let plain = |name| counter!(name, "pool" => pool.clone());
        let jobs = |outcome: Outcome| counter!(JOBS, "pool" => pool.clone(), "outcome" => outcome.word());
        let ignored = |why: Ignored| counter!(IGNORED, "pool" => pool.clone(), "why" => why.word());
        Self {
            succeeded: jobs(Outcome::Succeeded),
            failed: jobs(Outcome::Failed),
            cancelled: jobs(Outcome::Cancelled),
            timed_out: jobs(Outcome::TimedOut),
            other_incarnation: ignored(Ignored::OtherIncarnation),
            other_epoch: ignored(Ignored::OtherEpoch),
            repeated: ignored(Ignored::Repeated),
            not_held: ignored(Ignored::NotHeld),
            job_seconds: histogram!(JOB_SECONDS, "pool" => pool.clone()),
            running: gauge!(RUNNING, "pool" => pool.clone()),
            credit: gauge!(CREDIT, "pool" => pool.clone()),
            unsettled: gauge!(UNSETTLED, "pool" => pool.clone()),
            in_doubt: gauge!(IN_DOUBT, "pool" => pool.clone()),
            leases_lost: plain(LEASES_LOST),
            refused: plain(REFUSED),
            given_back: plain(GIVEN_BACK),
            abandoned: plain(ABANDONED),
            skipped: plain(SKIPPED),
            bad: plain(BAD),
            unproven: plain(UNPROVEN),
            unconstrained: plain(UNCONSTRAINED),
            incarnations: plain(INCARNATIONS),
            append_failures: plain(APPEND_FAILURES),
        }
    }

    pub(crate) fn job(&self, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded => self.succeeded.increment(1),
            Outcome::Cancelled => self.cancelled.increment(1),
            Outcome::TimedOut => self.timed_out.increment(1),
            Outcome::Failed | Outcome::Denied | Outcome::Dead => self.failed.increment(1),
        }
    }

    pub(crate) fn ignored(&self, why: Ignored) {
        match why {
            Ignored::OtherIncarnation => self.other_incarnation.increment(1),
            Ignored::OtherEpoch => self.other_epoch.increment(1),
            Ignored::Repeated => self.repeated.increment(1),
            Ignored::NotHeld => self.not_held.increment(1),
        }
    }
}
