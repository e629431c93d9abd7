//! Every metric of this crate, with a sentence each.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use tidegate_policy::Snapshot;

const POLICY_REVISION: &str = "tidegate_node_policy_revision";
const POLICY_RULES: &str = "tidegate_node_policy_rules";
const POLICY_LOADS: &str = "tidegate_node_policy_loads_total";
const READY: &str = "tidegate_node_ready";
const SHARDS: &str = "tidegate_node_shards_owned";
const LAG: &str = "tidegate_node_lag_records";
const OLDEST: &str = "tidegate_node_oldest_unsettled_seconds";
const RETENTION: &str = "tidegate_node_retention_seconds";
const UNREAD: &str = "tidegate_node_unread_ratio";
const POOL_BACKLOG: &str = "tidegate_node_pool_backlog_jobs";
const POOL_OLDEST: &str = "tidegate_node_pool_oldest_waiting_seconds";
const POOL_FREE: &str = "tidegate_node_pool_free_credit";
const POOL_WANTED: &str = "tidegate_node_pool_wanted_workers";
const WORKERS: &str = "tidegate_node_workers";
const CHECKPOINTS_LEFT_OUT: &str = "tidegate_audit_checkpoints_left_out_total";

/// Tells the exporter about this crate's metrics and those of the crates below it.
pub fn describe() {
    describe_gauge!(POLICY_REVISION, "Revision of the policy this process has loaded.");
    describe_gauge!(POLICY_RULES, "Rules in the policy this process has loaded.");
    describe_counter!(POLICY_LOADS, "Policy sets read from the folder, by result.");
    describe_gauge!(READY, "1 when `/readyz` says ready, else 0.");
    describe_gauge!(SHARDS, "Shards this process owns, by role.");
    describe_gauge!(
        LAG,
        "Records of an input that are not settled, by partition, every 5 s; 0 when its shard is no longer here."
    );
    describe_gauge!(
        OLDEST,
        "Age of the oldest record of an input that is not settled (undecided, on a source), by partition, every 5 s."
    );
    describe_gauge!(RETENTION, "How long the broker keeps records of an input, by partition; 0: not limited by age.");
    describe_gauge!(
        UNREAD,
        "Share of the records of an input that is not read, by partition, every 5 s, where the broker lets the oldest go by size, and has since the shard came here; else 0. More than 0.5 is an alarm."
    );
    describe_gauge!(
        POOL_BACKLOG,
        "Jobs that nobody has, in the shards of a pool that this process has: of its logs, and those ready to be tried again."
    );
    describe_gauge!(
        POOL_OLDEST,
        "How long the first of those in its logs has been there; take the maximum over processes."
    );
    describe_gauge!(POOL_FREE, "Assignments that its workers would take now.");
    describe_gauge!(
        POOL_WANTED,
        "Workers of `worker_slots` jobs that its backlog and running jobs ask for, a fraction: to be summed over processes, then rounded up."
    );
    describe_gauge!(WORKERS, "Workers that run inside this process.");
    describe_counter!(
        CHECKPOINTS_LEFT_OUT,
        "Checkpoints of the audit log that are not in `audit.checkpoint_file`: its disk failed or was too slow."
    );
    for (name, sentence) in tidegate_stage::metrics::DESCRIPTIONS {
        if name.ends_with("_total") {
            describe_counter!(name, sentence);
        } else if name.ends_with("_seconds") || name.ends_with("_bytes") {
            describe_histogram!(name, sentence);
        } else {
            describe_gauge!(name, sentence);
        }
    }
    let counters = tidegate_scheduler::measures::COUNTERS.into_iter().chain(tidegate_scheduler::measures::COUNTS);
    for (name, sentence) in counters {
        describe_counter!(name, sentence);
    }
    for (name, sentence) in tidegate_scheduler::measures::GAUGES {
        describe_gauge!(name, sentence);
    }
    let counters = tidegate_limits::measures::COUNTERS.into_iter().chain(tidegate_limits::measures::COUNTS);
    for (name, sentence) in counters {
        describe_counter!(name, sentence);
    }
    for (name, sentence) in tidegate_limits::measures::GAUGES {
        describe_gauge!(name, sentence);
    }
    tidegate_kernel::describe_metrics();
    tidegate_worker::measures::describe();
    tidegate_gateway::metrics::describe();
}

#[expect(clippy::cast_precision_loss, reason = "revisions and counts are far below 2^53")]
pub(crate) fn policy_loaded(snapshot: &Snapshot) {
    gauge!(POLICY_REVISION).set(snapshot.revision() as f64);
    gauge!(POLICY_RULES).set(snapshot.rules().len() as f64);
    counter!(POLICY_LOADS, "result" => "loaded").increment(1);
}

pub(crate) fn policy_refused() {
    counter!(POLICY_LOADS, "result" => "refused").increment(1);
}

pub(crate) fn ready(ready: bool) {
    gauge!(READY).set(if ready { 1.0 } else { 0.0 });
}

#[expect(clippy::cast_precision_loss, reason = "a count of shards")]
pub(crate) fn shards_owned(role: &'static str, owned: usize) {
    gauge!(SHARDS, "role" => role).set(owned as f64);
}

pub(crate) fn workers(change: f64) {
    gauge!(WORKERS).increment(change);
}

pub(crate) fn checkpoints_left_out(number: u64) {
    counter!(CHECKPOINTS_LEFT_OUT).increment(number);
}

#[expect(clippy::cast_precision_loss, reason = "a count of records")]
pub(crate) fn lag(partition: &str, records: u64) {
    gauge!(LAG, "partition" => partition.to_owned()).set(records as f64);
}

/// What is told of a pool, as far as its shards are here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PoolFigures {
    pub(crate) backlog: u64,
    pub(crate) oldest: std::time::Duration,
    pub(crate) free: u64,
    pub(crate) wanted: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs")]
pub(crate) fn pool(name: &str, figures: PoolFigures) {
    let label = [("pool", name.to_owned())];
    gauge!(POOL_BACKLOG, &label).set(figures.backlog as f64);
    gauge!(POOL_OLDEST, &label).set(figures.oldest.as_secs_f64());
    gauge!(POOL_FREE, &label).set(figures.free as f64);
    gauge!(POOL_WANTED, &label).set(figures.wanted);
}

/// `None`: not limited by age.
pub(crate) fn retention(partition: &str, kept: Option<std::time::Duration>) {
    gauge!(RETENTION, "partition" => partition.to_owned()).set(kept.unwrap_or_default().as_secs_f64());
}

/// `share`: 0 to 1.
pub(crate) fn unread(partition: &str, share: f64) {
    gauge!(UNREAD, "partition" => partition.to_owned()).set(share);
}

pub(crate) fn oldest(partition: &str, age: std::time::Duration) {
    gauge!(OLDEST, "partition" => partition.to_owned()).set(age.as_secs_f64());
}
