//! The lines between the agent and a process that is kept alive. `docs/workers.md` has them for people; what a line says
//! never changes its meaning, and `v` rises when an old process could misread a new line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::ids::{Capability, JobId, TenantId};
use tidegate_protocol::job::Actor;

use crate::Context;
use crate::handler::cut;

/// Version of the lines.
const VERSION: u32 = 1;
/// Bytes of a line that is shown in an error.
const SHOWN: usize = 200;

/// What the process is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Told<'a> {
    /// Do this; one at a time.
    Job(Box<JobLine<'a>>),
    /// Stop, and answer how it ended.
    Cancel { v: u32, seq: u64, reason: &'a str, grace_ms: u128 },
}

#[derive(Debug, Serialize)]
pub(super) struct JobLine<'a> {
    v: u32,
    seq: u64,
    id: &'a JobId,
    tenant: &'a TenantId,
    topic: &'a str,
    capability: &'a Capability,
    requires: &'a [Capability],
    labels: &'a BTreeMap<String, String>,
    risk_tags: &'a [String],
    derived_tags: &'a [String],
    priority: u8,
    actor: &'a Actor,
    deadline_ms: Option<u64>,
    parent: Option<&'a JobId>,
    /// The same in every attempt.
    source: String,
    attempt: u32,
    token: String,
    input_hash: String,
    policy_snapshot: &'a str,
    constraints: Option<&'a Constraints>,
    ticket_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    payload_encoding: &'a str,
    payload: &'a RawValue,
}

impl<'a> Told<'a> {
    pub(super) fn job(context: &'a Context, seq: u64, ticket_file: Option<&'a Path>) -> Self {
        let (job, decision, token) = (context.job(), context.decision(), context.key().token);
        Self::Job(Box::new(JobLine {
            v: VERSION,
            seq,
            id: &job.id,
            tenant: &job.tenant,
            topic: &job.topic,
            capability: &job.capability,
            requires: &job.requires,
            labels: &job.labels,
            risk_tags: &job.risk_tags,
            derived_tags: &decision.risk_tags,
            priority: job.priority,
            actor: &job.actor,
            deadline_ms: job.deadline,
            parent: job.parent.as_ref(),
            source: job.source.to_string(),
            attempt: token.attempt,
            token: format!("{}.{}", token.epoch, token.attempt),
            input_hash: job.input_hash.to_string(),
            policy_snapshot: &decision.snapshot,
            constraints: context.constraints(),
            ticket_file,
            traceparent: context.traceparent(),
            payload_encoding: if context.payload_is_base64() { "base64" } else { "json" },
            payload: context.payload(),
        }))
    }

    pub(super) fn cancel(seq: u64, reason: &'a str, grace: Duration) -> Self {
        Self::Cancel { v: VERSION, seq, reason, grace_ms: grace.as_millis() }
    }

    /// With its end of line.
    pub(super) fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        // A payload's own line breaks are white space between its tokens: within strings JSON has none.
        line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line.push(b'\n');
        Ok(line)
    }
}

/// What the process answers.
#[derive(Debug)]
pub(super) enum Answer {
    Progress { fraction: Option<f64>, note: String },
    Partial(String),
    Result(Option<Box<RawValue>>),
    Failure { reason: String, retryable: bool, retry_after: Option<Duration>, output: Option<Box<RawValue>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Progress,
    Partial,
    Result,
    Failure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    #[serde(rename = "type")]
    kind: Kind,
    seq: u64,
    #[serde(default)]
    fraction: Option<f64>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    output: Option<Box<RawValue>>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// A line that is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is no answer: {why}")]
pub(super) struct Nonsense {
    line: String,
    why: String,
}

/// What a line says, with the number of the job it is about.
pub(super) fn read(line: &[u8]) -> Result<(u64, Answer), Nonsense> {
    let nonsense = |why: String| {
        let mut shown = String::from_utf8_lossy(line.get(..SHOWN * 2).unwrap_or(line)).replace(char::is_control, " ");
        cut(&mut shown, SHOWN);
        Nonsense { line: shown, why }
    };
    let said: AnswerLine = serde_json::from_slice(line).map_err(|error| nonsense(error.to_string()))?;
    let AnswerLine { kind, seq, fraction, note, text, output, reason, retryable, retry_after_ms } = said;
    let of_end = output.is_some() || reason.is_some() || retryable.is_some() || retry_after_ms.is_some();
    let of_progress = fraction.is_some() || note.is_some();
    let foreign = match kind {
        Kind::Progress => of_end || text.is_some(),
        Kind::Partial => of_end || of_progress,
        Kind::Result => {
            of_progress || text.is_some() || reason.is_some() || retryable.is_some() || retry_after_ms.is_some()
        }
        Kind::Failure => of_progress || text.is_some(),
    };
    if foreign {
        return Err(nonsense("it has members that belong to another type".into()));
    }
    let answer = match (kind, reason) {
        (Kind::Partial, _) => Answer::Partial(text.ok_or_else(|| nonsense("a partial output needs a `text`".into()))?),
        (Kind::Progress, _) => Answer::Progress { fraction, note: note.unwrap_or_default() },
        (Kind::Result, _) => Answer::Result(output),
        (Kind::Failure, Some(reason)) => Answer::Failure {
            reason,
            retryable: retryable.unwrap_or(retry_after_ms.is_some()),
            retry_after: retry_after_ms.map(Duration::from_millis),
            output,
        },
        (Kind::Failure, None) => return Err(nonsense("a failure needs a `reason`".into())),
    };
    Ok((seq, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_everything_else_is_refused_with_the_reason() {
        let (seq, answer) = read(br#"{"type":"result","seq":7,"output":{"a": 1}}"#).unwrap();
        assert!(seq == 7 && matches!(answer, Answer::Result(Some(output)) if output.get() == r#"{"a": 1}"#));
        let (_, answer) = read(br#"{"type":"failure","seq":1,"reason":"busy","retry_after_ms":5}"#).unwrap();
        assert!(matches!(answer, Answer::Failure { retryable: true, retry_after: Some(_), .. }));
        let (_, answer) = read(br#"{"type":"failure","seq":1,"reason":"no"}"#).unwrap();
        assert!(matches!(answer, Answer::Failure { retryable: false, retry_after: None, .. }));
        for (line, why) in [
            ("ready!", "expected value"),
            ("", "EOF"),
            (r#"{"type":"done","seq":1}"#, "unknown variant"),
            (r#"{"type":"result"}"#, "missing field `seq`"),
            (r#"{"type":"result","seq":1,"reslt":2}"#, "unknown field"),
            (r#"{"type":"result","seq":1,"retryable":true}"#, "another type"),
            (r#"{"type":"failure","seq":1}"#, "needs a `reason`"),
            (r#"{"type":"progress","seq":1,"output":1}"#, "another type"),
            (r#"{"type":"partial","seq":1}"#, "needs a `text`"),
            (r#"{"type":"partial","seq":1,"text":"x","note":"y"}"#, "another type"),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.why.contains(why), "{line}: {error}");
        }
        let long = read(&[b'x'; 5_000]).unwrap_err();
        assert!(long.to_string().len() < 400, "{long}");
    }
}
