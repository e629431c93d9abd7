//! What a command is told about its job in its environment.

use std::ffi::OsString;

use crate::Context;

/// Prefix of all of them. Variables of the worker's own environment with it are not handed on.
pub const PREFIX: &str = "TIDEGATE_";

/// Every variable with what it holds; those marked optional are absent when the job does not say.
pub const VARIABLES: &[(&str, &str)] = &[
    ("TIDEGATE_JOB_ID", "the job's id, unique within its tenant"),
    ("TIDEGATE_TENANT", "the tenant"),
    ("TIDEGATE_TOPIC", "the job's dotted name, e.g. `job.payments.wire`"),
    ("TIDEGATE_CAPABILITY", "the capability it needs"),
    ("TIDEGATE_REQUIRES", "further things it needs, as a JSON array"),
    ("TIDEGATE_RISK_TAGS", "risk tags its submitter claimed, as a JSON array"),
    ("TIDEGATE_DERIVED_TAGS", "risk tags the policy derived, as a JSON array"),
    ("TIDEGATE_LABELS", "its labels, as a JSON object"),
    ("TIDEGATE_PRIORITY", "0 (least urgent) to 9"),
    ("TIDEGATE_ACTOR_ID", "optional: who asked"),
    ("TIDEGATE_ACTOR_TYPE", "optional: their kind, e.g. `agent`"),
    ("TIDEGATE_DEADLINE_MS", "optional: milliseconds since the Unix epoch after which nobody wants the result"),
    ("TIDEGATE_PARENT", "optional: the job that spawned it"),
    ("TIDEGATE_SOURCE", "where its record stands, `source/partition@offset`: the same in every attempt"),
    ("TIDEGATE_ATTEMPT", "how often it was handed out, from 1"),
    ("TIDEGATE_TOKEN", "the fencing token of this attempt, `epoch.attempt`; rises with every attempt"),
    ("TIDEGATE_INPUT_HASH", "SHA-256 of what was submitted, 64 hex digits"),
    ("TIDEGATE_POLICY_SNAPSHOT", "hash of the policy that let it run"),
    ("TIDEGATE_CONSTRAINTS", "optional: what the job must keep to, as a JSON object of the policy's words"),
    (
        "TIDEGATE_TICKET_FILE",
        "optional: a file with the job's ticket, for `tidegate submit --parent-ticket`; absent when the job is too large to delegate",
    ),
    ("TRACEPARENT", "optional: the trace it belongs to, W3C trace context"),
    ("TIDEGATE_URL", "optional: where to submit jobs, when the worker was told a gateway"),
    ("TIDEGATE_KEY", "optional: the key of that gateway, when the worker was told one to hand on"),
    ("TIDEGATE_PAYLOAD_ENCODING", "`json`, or `base64` when stdin holds a JSON string of base64"),
];

/// What a command in a folder of its own gets of the worker's environment; `HOME` and `TMPDIR` are that folder.
pub const HANDED_ON: [&str; 4] = ["PATH", "LANG", "LC_ALL", "TZ"];

/// The variables of a job.
pub(super) fn of(context: &Context) -> Vec<(&'static str, String)> {
    let (job, decision, token) = (context.job(), context.decision(), context.key().token);
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let mut variables = vec![
        ("TIDEGATE_JOB_ID", job.id.to_string()),
        ("TIDEGATE_TENANT", job.tenant.to_string()),
        ("TIDEGATE_TOPIC", job.topic.clone()),
        ("TIDEGATE_CAPABILITY", job.capability.to_string()),
        ("TIDEGATE_REQUIRES", json(serde_json::to_string(&job.requires))),
        ("TIDEGATE_RISK_TAGS", json(serde_json::to_string(&job.risk_tags))),
        ("TIDEGATE_DERIVED_TAGS", json(serde_json::to_string(&decision.risk_tags))),
        ("TIDEGATE_LABELS", json(serde_json::to_string(&job.labels))),
        ("TIDEGATE_PRIORITY", job.priority.to_string()),
        ("TIDEGATE_SOURCE", job.source.to_string()),
        ("TIDEGATE_ATTEMPT", token.attempt.to_string()),
        ("TIDEGATE_TOKEN", format!("{}.{}", token.epoch, token.attempt)),
        ("TIDEGATE_INPUT_HASH", job.input_hash.to_string()),
        ("TIDEGATE_POLICY_SNAPSHOT", decision.snapshot.clone()),
        ("TIDEGATE_PAYLOAD_ENCODING", if context.payload_is_base64() { "base64" } else { "json" }.to_owned()),
    ];
    let optional = [
        ("TIDEGATE_ACTOR_ID", job.actor.id.clone()),
        ("TIDEGATE_ACTOR_TYPE", job.actor.kind.clone()),
        ("TIDEGATE_DEADLINE_MS", job.deadline.map(|ms| ms.to_string())),
        ("TIDEGATE_CONSTRAINTS", context.constraints().map(|all| json(serde_json::to_string(all)))),
        ("TIDEGATE_PARENT", job.parent.as_ref().map(ToString::to_string)),
        (TRACE, context.traceparent().map(str::to_owned)),
    ];
    variables.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    variables
}

/// By this name programs are told of a trace. The worker's own is not theirs.
const TRACE: &str = "TRACEPARENT";

/// Which names of the worker's own environment are not handed on.
pub(super) fn withheld(own: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    own.filter(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) || name == TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_own_settings_are_not_handed_on() {
        let own =
            ["PATH", "TIDEGATE_SPINE", "TIDEGATE_KAFKA_PASSWORD", "MY_TIDEGATE_X", "TRACEPARENT"].map(OsString::from);
        let withheld: Vec<OsString> = withheld(own.into_iter()).collect();
        assert_eq!(withheld, ["TIDEGATE_SPINE", "TIDEGATE_KAFKA_PASSWORD", "TRACEPARENT"]);
    }
}
