//! A released job is called off: the kernel to the pool's scheduler, twice.
//!
//! On `approved.<pool>`, in every bucket the job's tenant has in that pool, so behind the job itself: that one is certain to find
//! it. And on `withdrawals.<pool>`, for each shard of these buckets, which is read whatever else waits: that one is soon. Its
//! proof stands in the header, as on every message of a stage but a ticketed one. It says nothing of a job that the
//! scheduler does not know or that has ended: a result that came first stands (I5).

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, PersonId, TenantId};
use crate::job::SourcePosition;

/// How every withdrawal begins, and no job: a reader of `approved.<pool>` or `overflow.<pool>` tells them apart by it.
const BEGIN: &[u8] = br#"{"v":1,"withdrawn":{"#;

/// A record of `approved.<pool>` that is no job, and every record of `withdrawals.<pool>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Format version, 1.
    pub v: u32,
    /// Which job, and who says so.
    pub withdrawn: Withdrawn,
}

/// What is said of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Where its record stands.
    pub source: SourcePosition,
    /// Its tenant: a job of another tenant at that place is not meant.
    pub tenant: TenantId,
    /// Its id, likewise.
    pub id: JobId,
    /// Why it shall not run.
    pub cause: Cause,
    /// Who said so.
    pub by: PersonId,
    /// Why, for people; at most [`MAX_REASON_BYTES`](crate::command::MAX_REASON_BYTES).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Why a job shall not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody called it off.
    #[default]
    Cancelled,
    /// The job that spawned it may no longer.
    Revoked,
}

impl Cause {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Revoked => "revoked",
        }
    }

    /// Whether it is the usual one.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self == Self::Cancelled
    }

    /// The sentence that ends the job.
    #[must_use]
    pub fn sentence(self, by: &PersonId, reason: &str) -> String {
        let word = self.word();
        if reason.is_empty() { format!("{word} by {by}") } else { format!("{word} by {by}: {reason}") }
    }
}

impl Withdrawal {
    /// Reads a record's value; `None` when it is no withdrawal, so that it is to be read as a job.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        if !value.starts_with(BEGIN) {
            return None;
        }
        serde_json::from_slice(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_is_told_from_a_job_by_how_it_begins() {
        let withdrawn = Withdrawn {
            source: "jobs/0@7".parse().unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            id: JobId::new("a").unwrap(),
            cause: Cause::Revoked,
            by: PersonId::new("olga").unwrap(),
            reason: String::new(),
        };
        let withdrawal = Withdrawal { v: 1, withdrawn };
        let text = serde_json::to_vec(&withdrawal).unwrap();
        assert_eq!(Withdrawal::read(&text), Some(withdrawal));
        for job in [&br#"{"v":1,"job":{},"withdrawn":{}}"#[..], br#"{"v":1,"withdrawn":{"source":"x"}}"#, b""] {
            assert_eq!(Withdrawal::read(job), None);
        }
    }
}
