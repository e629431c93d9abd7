//! What people tell a kernel: `commands.<source>`, open to all writers, believed by signature alone.
//!
//! A record is one signed JSON object ([`crate::signature`], statement [`KIND`]). It says exactly what it is about - the
//! record, its input hash, the policy snapshot whose verdict the person saw - so it is worth nothing for anything else.

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, JobId, PersonId, PoolName, TenantId};
use crate::job::{InputHash, SourcePosition};
use crate::signature::{Capacity, Distrust, Signature, Trust};

/// The statement's line of a signed command.
pub const KIND: &str = "tidegate command v1";
/// Largest command record, bytes.
pub const MAX_COMMAND_BYTES: usize = 8 << 10;
/// Longest reason, bytes.
pub const MAX_REASON_BYTES: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// This person approves a held job.
    Approve,
    /// This person refuses a held job: it ends.
    Reject,
    /// A job shall not run.
    Cancel,
    /// A verdict shall no longer count.
    Revoke,
    /// A dead record shall be judged again.
    Redrive,
}

impl Action {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
            Self::Redrive => "redrive",
        }
    }
}

/// A command without its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Format version, 1.
    pub v: u32,
    /// Chosen by the sender, once for every command; tells what became of it.
    pub id: CommandId,
    /// What is asked for.
    pub action: Action,
    /// Where the job's record stands.
    pub source: SourcePosition,
    /// The job.
    pub job_id: JobId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Hash of its input.
    pub input_hash: InputHash,
    /// The policy snapshot of the verdict this person saw.
    pub snapshot: String,
    /// This person.
    pub by: PersonId,
    /// When, by their clock, milliseconds since the Unix epoch; for people.
    pub at_ms: u64,
    /// Why, for people; without control characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where the job went, as this person saw it: needed to call off one that was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

/// Why a genuine command has no effect. The words are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandRefusal {
    /// The job is not held here: its hold has ended, or there never was one.
    NotHeld,
    /// The job is neither held nor deferred here, and the command names no pool it went to.
    NotKept,
    /// It was withdrawn from that pool before.
    AlreadyWithdrawn,
    /// The record holds a job of another id, tenant or input.
    OtherInput,
    /// This person may not speak for the job's tenant.
    OtherTenant,
    /// The verdict this person saw is no longer in force.
    OtherSnapshot,
    /// It is this person's own job, or one made on their behalf.
    OwnJob,
    /// This person has none of the roles that may approve it now.
    NotAnApprover,
    /// This person has approved it already.
    AlreadyGiven,
    /// Enough people have approved it.
    Enough,
    /// This version does not do that.
    NotAvailable,
}

impl CommandRefusal {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotHeld => "not_held",
            Self::NotKept => "not_kept",
            Self::AlreadyWithdrawn => "already_withdrawn",
            Self::OtherInput => "other_input",
            Self::OtherTenant => "other_tenant",
            Self::OtherSnapshot => "other_snapshot",
            Self::OwnJob => "own_job",
            Self::NotAnApprover => "not_an_approver",
            Self::AlreadyGiven => "already_given",
            Self::Enough => "enough",
            Self::NotAvailable => "not_available",
        }
    }
}

/// One approval, as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// By whom.
    pub by: PersonId,
    /// The roles this person had then.
    pub roles: Vec<String>,
    /// `at` of its fact.
    pub at: crate::time::Timestamp,
    /// The command.
    pub command: CommandId,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Somebody who approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who; the same over all their keys.
    pub id: PersonId,
    /// What they may approve as (`finance`, `cfo`): the words of a policy's `approvers`.
    pub roles: Vec<String>,
}

/// Knows people by their keys.
pub trait People: Send + Sync + std::fmt::Debug {
    /// Whose key it is; `None` for one that is no person's.
    fn of(&self, key: &str) -> Option<Person>;

    /// Everybody whose key may approve for this tenant at that time (milliseconds since the Unix epoch). One who has
    /// several keys may stand there several times.
    fn approvers(&self, tenant: &TenantId, at_ms: u64) -> Vec<Person>;
}

/// Trusts nobody and knows nobody: for kernels that take no commands.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl People for Nobody {
    fn of(&self, _key: &str) -> Option<Person> {
        None
    }

    fn approvers(&self, _tenant: &TenantId, _at_ms: u64) -> Vec<Person> {
        Vec::new()
    }
}

impl Trust for Nobody {
    fn entitled(&self, _key: &str, _capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        Err(Distrust::UnknownKey)
    }

    fn verify(&self, _key: &str, _statement: &[u8], _signature: &Signature) -> Result<(), Distrust> {
        Err(Distrust::UnknownKey)
    }
}
