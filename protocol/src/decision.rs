//! Verdicts, and the record every job is after the kernel.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::job::Job;

/// What the kernel said. Ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// May run.
    Allow,
    /// May not run.
    Deny,
}

impl Verdict {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A verdict with what explains and binds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence for people.
    pub reason: String,
    /// The rules that decided; empty when a default did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule_ids: Vec<String>,
    /// Tags the policy derived from topic and payload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risk_tags: Vec<String>,
    /// Hash of the compiled policy snapshot.
    pub snapshot: String,
    /// Reserved for the constraints of `allow_with_constraints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<serde_json::Value>,
    /// Reserved for the ticket: inclusion path to the signed root of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<serde_json::Value>,
}

/// Where the payload's bytes stand in the source record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadAt {
    /// There is none; sent on as `null`.
    None,
    /// `[start, end)`: bytes of a JSON value, sent on as they are.
    Json(u32, u32),
    /// `[start, end)`: bytes of a JSON string that is base64, sent on as `payload_base64`.
    Base64(u32, u32),
}

/// The record on `approved.<pool>`, `denied` and later `held`: `{v, job, decision, payload | payload_base64}`.
#[derive(Debug, Clone, Deserialize)]
pub struct Judged {
    /// Format version, 1.
    pub v: u32,
    /// The job.
    pub job: Job,
    /// The decision.
    pub decision: Decision,
    /// The payload's exact JSON text.
    #[serde(default)]
    pub payload: Option<Box<RawValue>>,
    /// The payload as base64 text, when it was given so.
    #[serde(default)]
    pub payload_base64: Option<String>,
}

/// A judged job could not be written.
#[derive(Debug, thiserror::Error)]
#[error("job could not be encoded: {reason}")]
pub struct EncodeError {
    /// Why.
    pub reason: String,
}

impl Judged {
    /// Writes `{"v":1,"job":…,"decision":…,"payload":…}` with the payload bytes as they stand in `value`, the source
    /// record's value, which the caller has already parsed: they are not checked again.
    ///
    /// # Errors
    /// [`EncodeError`] when `payload` lies outside `value`, or job or decision cannot be written.
    pub fn encode(job: &Job, decision: &Decision, payload: PayloadAt, value: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let error = |e: serde_json::Error| EncodeError { reason: e.to_string() };
        let part = |start: u32, end: u32| {
            value.get(start as usize..end as usize).ok_or_else(|| EncodeError {
                reason: format!("payload {start}..{end} lies outside the record of {} bytes", value.len()),
            })
        };
        let mut out = Vec::with_capacity(value.len() + 768);
        out.extend_from_slice(br#"{"v":1,"job":"#);
        serde_json::to_writer(&mut out, job).map_err(error)?;
        out.extend_from_slice(br#","decision":"#);
        serde_json::to_writer(&mut out, decision).map_err(error)?;
        match payload {
            PayloadAt::None => out.extend_from_slice(br#","payload":null"#),
            PayloadAt::Json(start, end) => {
                out.extend_from_slice(br#","payload":"#);
                out.extend_from_slice(part(start, end)?);
            }
            PayloadAt::Base64(start, end) => {
                out.extend_from_slice(br#","payload_base64":"#);
                out.extend_from_slice(part(start, end)?);
            }
        }
        out.push(b'}');
        Ok(out)
    }
}
