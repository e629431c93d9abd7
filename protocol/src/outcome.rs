//! How jobs end: `finished` and `dead`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{JobId, TenantId, WorkerId};
use crate::job::SourcePosition;
use crate::proof::Refused;
use crate::signature::Distrust;
use crate::time::Timestamp;

/// A job's terminal outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its worker said it is done.
    Succeeded,
    /// Its worker said it failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It ran out of time.
    TimedOut,
    /// The kernel said no.
    Denied,
    /// It could not be handled; the bytes are in `dead`.
    Dead,
}

impl Outcome {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::Dead => "dead",
        }
    }
}

/// The one record on `finished` of every job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    /// Format version, 1.
    pub v: u32,
    /// The job.
    pub job_id: JobId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Where its record stands.
    pub source: SourcePosition,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for people; empty for a plain success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the worker gave back, as its JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// The worker that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Times it was leased.
    #[serde(default)]
    pub attempts: u32,
    /// When the ending stage decided so.
    pub at: Timestamp,
}

/// Why something is in `dead`. The words are final: dashboards and redrive filters use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Not JSON, truncated, or not UTF-8.
    Unparsable,
    /// Deeper than the limit.
    TooDeep,
    /// Larger than the limit, as read or as it would be written.
    TooLarge,
    /// A null value.
    NullValue,
    /// A field is missing or has a bad value.
    InvalidField,
    /// The source may not speak for this tenant.
    TenantNotAllowed,
    /// The job id was seen with another payload.
    IdConflict,
    /// A record that looks like one of our control records, on a topic that others may write.
    ControlRecord,
    /// No pool takes it.
    Unroutable,
    /// Its leases ran out too often.
    MaxAttempts,
    /// A record that only a stage may write, without a valid stamp, content or signature.
    Forged,
    /// Such a record without a signature.
    Unsigned,
    /// Signed by a key that is not trusted here, or not for this, or no longer.
    Foreign,
    /// Not what was signed.
    Altered,
    /// Genuine, but for another place, or met before.
    Replayed,
    /// Of an owner that was superseded before it wrote this.
    FormerOwner,
    /// Its ticket's time is over.
    Expired,
    /// Its source takes delegated jobs alone, and it has no parent's ticket.
    ParentTicketMissing,
    /// Its source takes no parent's tickets.
    ParentTicketRefused,
    /// What it gives as its parent's ticket is not what a kernel signed.
    ParentTicketForged,
    /// A genuine ticket, but of another job, tenant or installation than its parent's.
    ParentTicketMismatch,
    /// The time of its parent's ticket, or the parent's own, is over.
    ParentTicketExpired,
}

impl From<Refused> for DeadReason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Altered => Self::Altered,
            Refused::Replayed => Self::Replayed,
            Refused::Distrusted(Distrust::Unsigned) => Self::Unsigned,
            Refused::Distrusted(Distrust::BadSignature) => Self::Forged,
            Refused::Distrusted(Distrust::UnknownKey | Distrust::WrongRole | Distrust::Retired) => Self::Foreign,
        }
    }
}

impl DeadReason {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::NullValue => "null_value",
            Self::InvalidField => "invalid_field",
            Self::TenantNotAllowed => "tenant_not_allowed",
            Self::IdConflict => "id_conflict",
            Self::ControlRecord => "control_record",
            Self::Unroutable => "unroutable",
            Self::MaxAttempts => "max_attempts",
            Self::Forged => "forged",
            Self::Unsigned => "unsigned",
            Self::Foreign => "foreign",
            Self::Altered => "altered",
            Self::Replayed => "replayed",
            Self::FormerOwner => "former_owner",
            Self::Expired => "expired",
            Self::ParentTicketMissing => "parent_ticket_missing",
            Self::ParentTicketRefused => "parent_ticket_refused",
            Self::ParentTicketForged => "parent_ticket_forged",
            Self::ParentTicketMismatch => "parent_ticket_mismatch",
            Self::ParentTicketExpired => "parent_ticket_expired",
        }
    }
}
