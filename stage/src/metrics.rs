//! Metrics of the runner: names, units and sentences in one place. All carry `shard`, a bounded label.

use metrics::{counter, gauge, histogram};
use tidegate_protocol::control::Kind;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::Refused;

use crate::marks::Drop;
use crate::runner::Ended;

/// Name and sentence of every metric, for the exporter.
pub const DESCRIPTIONS: [(&str, &str); 13] = [
    ("tidegate_stage_decided_seconds", "Time from a job record's timestamp to its facts being durable."),
    ("tidegate_stage_released_seconds", "Time from a job record's timestamp to its messages being readable."),
    ("tidegate_stage_groups_total", "Groups of facts sealed."),
    ("tidegate_stage_group_bytes", "Size of a group's facts."),
    ("tidegate_stage_takeovers_total", "Ownerships begun."),
    ("tidegate_stage_epoch", "Epoch of the present ownership."),
    ("tidegate_stage_ownerships_ended_total", "Ownerships that ended, by reason."),
    ("tidegate_stage_dropped_total", "Messages not believed, by reason (below_fence: a former owner woke late)."),
    (
        "tidegate_stage_control_refused_total",
        "Control records that are not believed, by kind and reason (unsigned, forged, …); any is an attack or a wrong key.",
    ),
    ("tidegate_stage_snapshots_total", "Snapshots written."),
    ("tidegate_stage_invariant_violations_total", "Promises found broken; any is a defect or an altered log."),
    ("tidegate_stage_facts_replayed_total", "Facts replayed at takeovers."),
    ("tidegate_stage_lost_offsets_total", "Offsets of inputs that were gone and that an operator gave up."),
];

fn label(sender: &SenderId) -> (&'static str, String) {
    ("shard", sender.to_string())
}

fn latencies(name: &'static str, sender: &SenderId, submitted_ms: &[i64], wall_us: u64) {
    let latency = histogram!(name, &[label(sender)]);
    for submitted in submitted_ms {
        let since = wall_us.saturating_sub(u64::try_from(*submitted).unwrap_or(0).saturating_mul(1_000));
        latency.record(std::time::Duration::from_micros(since));
    }
}

pub(crate) fn landed(
    sender: &SenderId,
    submitted_ms: &[i64],
    wall_us: u64,
    tally: &[(&'static str, &'static str, &'static str)],
) {
    if !submitted_ms.is_empty() {
        latencies("tidegate_stage_decided_seconds", sender, submitted_ms, wall_us);
    }
    for (name, label, value) in tally {
        counter!(*name, *label => *value).increment(1);
    }
}

pub(crate) fn released(sender: &SenderId, submitted_ms: &[i64], wall_us: u64) {
    if !submitted_ms.is_empty() {
        latencies("tidegate_stage_released_seconds", sender, submitted_ms, wall_us);
    }
}

pub(crate) fn group(sender: &SenderId, bytes: usize) {
    counter!("tidegate_stage_groups_total", &[label(sender)]).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a size for a histogram")]
    histogram!("tidegate_stage_group_bytes", &[label(sender)]).record(bytes as f64);
}

pub(crate) fn takeover(sender: &SenderId, epoch: u64, replayed: u64) {
    counter!("tidegate_stage_takeovers_total", &[label(sender)]).increment(1);
    counter!("tidegate_stage_facts_replayed_total", &[label(sender)]).increment(replayed);
    #[expect(clippy::cast_precision_loss, reason = "epochs stay below 2^53")]
    gauge!("tidegate_stage_epoch", &[label(sender)]).set(epoch as f64);
}

pub(crate) fn lost(sender: &SenderId, offsets: u64) {
    counter!("tidegate_stage_lost_offsets_total", &[label(sender)]).increment(offsets);
}

pub(crate) fn ownership_ended(sender: &SenderId, ended: &Ended) {
    let (shard, name) = label(sender);
    counter!("tidegate_stage_ownerships_ended_total", shard => name.clone(), "reason" => ended.word()).increment(1);
    if matches!(ended, Ended::Chain(_) | Ended::Unclaimed { .. } | Ended::FactsLost { .. } | Ended::Unheard { .. }) {
        counter!("tidegate_stage_invariant_violations_total", shard => name).increment(1);
    }
}

pub(crate) fn dropped(sender: &SenderId, why: Drop) {
    let (shard, name) = label(sender);
    counter!("tidegate_stage_dropped_total", shard => name, "reason" => why.word()).increment(1);
}

pub(crate) fn refused(sender: &SenderId, kind: Kind, why: Refused) {
    let (shard, name) = label(sender);
    counter!("tidegate_stage_control_refused_total", shard => name, "kind" => kind.word(), "reason" => why.word())
        .increment(1);
}

pub(crate) fn snapshot(sender: &SenderId) {
    counter!("tidegate_stage_snapshots_total", &[label(sender)]).increment(1);
}

/// What a count of a stage has risen by.
pub(crate) fn counted(sender: &SenderId, name: &'static str, more: u64) {
    counter!(name, &[label(sender)]).increment(more);
}

pub(crate) fn figure(sender: &SenderId, name: &'static str, value: f64) {
    gauge!(name, &[label(sender)]).set(value);
}
