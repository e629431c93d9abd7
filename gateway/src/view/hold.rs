//! What people were asked about a job, and what they said.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_protocol::command::{Action, CommandRefusal};
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::ids::{CommandId, PersonId, PoolName};
use tidegate_protocol::job::InputHash;
use tidegate_protocol::kept::KeptRecord;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::Cause;

use super::story::millis;

/// A hold, over all verdicts that asked for it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HoldStory {
    /// When the present verdict's asking began, milliseconds since the Unix epoch.
    pub since_ms: f64,
    /// When it ends.
    pub until_ms: f64,
    /// Approvals that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<GivenApproval>,
    /// Further roles that may approve because time passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalated: Vec<String>,
    /// Where it would run: the pool it would go to, were it approved now; absent when no pool takes it as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// What would run: the payload's JSON text, unless it is larger than the view keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Length and hash of the payload's text, whether it is shown or not; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_is: Option<PayloadSummary>,
    /// The payload is larger than the view keeps; the source has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload_left_out: bool,
}

/// A payload, without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadSummary {
    /// Bytes of its text: JSON, Base64, or the reference to where it is kept.
    pub bytes: usize,
    /// SHA-256 of that text, in hex.
    pub sha256: InputHash,
}

/// An approval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GivenApproval {
    /// By whom.
    pub by: PersonId,
    /// As what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: f64,
    /// The command.
    pub command: CommandId,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A genuine command that had no effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusedCommand {
    /// The command.
    pub command: CommandId,
    /// What it asked for.
    pub action: Action,
    /// By whom.
    pub by: PersonId,
    /// Why, as a word.
    pub why: CommandRefusal,
    /// Why, for people.
    pub detail: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: f64,
}

/// An operator dealt with a dead record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandledStory {
    /// The command that said so.
    pub command: CommandId,
    /// By whom.
    pub by: PersonId,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: f64,
}

/// A released job was called off: its pool has been told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WithdrawnStory {
    /// The pool.
    pub pool: PoolName,
    /// The command that said so.
    pub command: CommandId,
    /// By whom.
    pub by: PersonId,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it shall not run.
    pub cause: Cause,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: f64,
}

/// The job may delegate no longer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokedStory {
    /// The command that said so.
    pub command: CommandId,
    /// By whom.
    pub by: PersonId,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: f64,
}

impl HoldStory {
    pub(super) fn begin(&mut self, at: Timestamp, until: Timestamp) {
        (self.since_ms, self.until_ms) = (millis(at), millis(until));
        self.given.clear();
        self.escalated.clear();
    }

    pub(super) fn keep_payload(&mut self, record: &KeptRecord, at: PayloadAt, most: usize) {
        let (PayloadAt::Json(start, end) | PayloadAt::Base64(start, end) | PayloadAt::Ref(start, end)) = at else {
            return;
        };
        let text = record.value.get().get(start as usize..end as usize);
        self.payload_is =
            text.map(|text| PayloadSummary { bytes: text.len(), sha256: InputHash::of(text.as_bytes(), []) });
        self.payload_left_out = text.is_some_and(|text| text.len() > most);
        let kept = text.filter(|_| !self.payload_left_out).and_then(|text| RawValue::from_string(text.to_owned()).ok());
        self.payload = kept;
    }
}
