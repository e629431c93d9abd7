//! Verdicts, and the record every job is after the kernel.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::constraints::Constraints;
use crate::ids::PersonId;
use crate::job::Job;
use crate::payload::PayloadRef;
use crate::trace;

/// What the kernel said. `Ord` is severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// May run.
    Allow,
    /// May run if it keeps to the decision's constraints.
    AllowWithConstraints,
    /// May run once people have approved it.
    RequireApproval,
    /// May run later: it is judged again after a while.
    Throttle,
    /// May not run.
    Deny,
}

impl Verdict {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithConstraints => "allow_with_constraints",
            Self::RequireApproval => "require_approval",
            Self::Throttle => "throttle",
            Self::Deny => "deny",
        }
    }

    /// Whether a job of this verdict may be released by it alone.
    #[must_use]
    pub const fn permits(self) -> bool {
        match self {
            Self::Allow | Self::AllowWithConstraints => true,
            Self::RequireApproval | Self::Throttle | Self::Deny => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
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
    /// What the job must keep to, for `allow_with_constraints`; also for a verdict that may become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Box<Constraints>>,
    /// Who must approve, for `require_approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Approval>>,
    /// Who has approved it: the people whose approvals this verdict rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<PersonId>,
    /// When it is judged again, for `throttle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// What the submitter may do instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remediations: Vec<Remediation>,
    /// What the deciding rules are for (OWASP agentic ids, audit controls), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<String>,
    /// What rules that are only tried out (`shadow`, `warn`, a canary's other share) would have said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Shadow>,
    /// The kernel waits to be told how the job ends, because it took of a limit that is settled then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// Leases the job had under tickets that expired: its next one counts on, so that fencing tokens rise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leases: u32,
    /// Attempts under them that count as failed: its attempts count on too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strikes: u32,
    /// When a ticket for this decision expires, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Reserved for the ticket: inclusion path to the signed root of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<serde_json::Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Decision {
    /// A decision with only what every one has.
    #[must_use]
    pub fn new(verdict: Verdict, reason: impl Into<String>, snapshot: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
            rule_ids: Vec::new(),
            risk_tags: Vec::new(),
            snapshot: snapshot.into(),
            constraints: None,
            approval: None,
            approved_by: Vec::new(),
            throttle: None,
            remediations: Vec::new(),
            controls: Vec::new(),
            shadow: Vec::new(),
            settles: false,
            leases: 0,
            strikes: 0,
            expires_ms: None,
            ticket: None,
        }
    }
}

/// Who must approve a job, by when, and what happens if nobody does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Roles any of which an approver must have; empty means any approver of the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many different people must approve, from 1.
    pub quorum: u32,
    /// How long the job waits for them, in milliseconds from the decision.
    pub ttl_ms: u64,
    /// What happens when that time is over.
    pub on_timeout: OnTimeout,
    /// Further roles that may approve after a while, soonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
}

/// What becomes of a job nobody approved in time. Silence is never an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It is denied.
    Deny,
}

/// A role that may approve after a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Milliseconds from the decision.
    pub after_ms: u64,
    /// The role.
    pub to: String,
}

/// When a throttled job is judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Milliseconds from the decision.
    pub retry_after_ms: u64,
    /// Milliseconds from the first decision after which it is denied.
    pub give_up_after_ms: u64,
}

/// A way out offered with a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remediation {
    /// Unique within its rule.
    pub id: String,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The job topic to submit to instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement_topic: Option<String>,
    /// The capability to ask for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement_capability: Option<String>,
    /// Labels to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add_labels: BTreeMap<String, String>,
    /// Labels to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
}

/// What a rule that is only tried out would have said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The rule.
    pub rule: String,
    /// What it would have decided.
    pub effect: Verdict,
    /// Why it did not.
    pub mode: ShadowMode,
}

/// Why a matching rule did not take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowMode {
    /// `mode: shadow`: recorded only.
    Shadow,
    /// `mode: warn`: the submitter is told.
    Warn,
    /// The job is not in the rule's canary share.
    Canary,
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
    /// `[start, end)`: bytes of a [`PayloadRef`], sent on as `payload_ref`: the payload itself is kept elsewhere.
    Ref(u32, u32),
}

/// The record on `approved.<pool>`, `denied` and later `held`: `{v, job, decision, payload | payload_base64 | payload_ref}`.
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
    /// What stands for a payload that is kept elsewhere.
    #[serde(default)]
    pub payload_ref: Option<PayloadRef>,
    /// The trace it belongs to ([`crate::trace`]), where its record names one.
    #[serde(default)]
    pub traceparent: Option<String>,
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
            PayloadAt::Ref(start, end) => {
                out.extend_from_slice(br#","payload_ref":"#);
                out.extend_from_slice(part(start, end)?);
            }
        }
        out.push(b'}');
        Ok(out)
    }

    /// Names the trace in a record's text, unless it is none: `{…}` becomes `{…,"traceparent":"…"}`. Before its ticket.
    pub fn put_trace(text: &mut Vec<u8>, traceparent: &str) {
        if trace::is_parent(traceparent) && text.pop_if(|last| *last == b'}').is_some() {
            text.extend_from_slice(br#","traceparent":""#);
            text.extend_from_slice(traceparent.as_bytes());
            text.extend_from_slice(br#""}"#);
        }
    }
}
