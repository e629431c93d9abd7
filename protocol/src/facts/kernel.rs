//! The facts of a kernel shard.

use crate::command::{Action, CommandRefusal};
use crate::decision::{Decision, PayloadAt};
use crate::ids::{CommandId, JobId, PersonId, PoolName, TenantId};
use crate::job::{InputHash, Job, SourcePosition};
use crate::kept::{DeferredWhy, KeptRecord, Replaced};
use crate::limits::{LimitAnswer, LimitRequest, OutcomeTold, Spend, WouldTake};
use crate::outcome::DeadReason;
use crate::time::Timestamp;
use crate::withdrawal::Cause;
use serde::{Deserialize, Serialize};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A fact of a kernel shard (`decisions.<source>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelFact {
    /// A policy snapshot of a higher revision, or the first, is used from here on.
    PolicyAdopted {
        /// Highest revision of the bundles in it.
        revision: u64,
        /// Its hash.
        snapshot: String,
    },
    /// A job got its verdict. Emits to `approved.<pool>`, or to `denied` and `finished`.
    JobDecided {
        /// The job.
        job: Job,
        /// The decision.
        decision: Decision,
        /// Where an allowed job goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<PoolName>,
        /// Where its payload stands in the source record.
        payload: PayloadAt,
        /// `observe: true` sources: audited, nothing is released.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        observed: bool,
        /// The job was kept: this verdict stands in place of that, and `payload` is a place in the kept record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Replaced>,
        /// What it takes of limits, when it may run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spends: Vec<Spend>,
        /// Of an `observe: true` source: what it would have taken. None of it is spent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        would_take: Vec<WouldTake>,
    },
    /// A limit is asked for capacity, or for time. Emits the request to `limits.requests`.
    SliceRequested {
        /// `Ask`.
        request: Box<LimitRequest>,
    },
    /// The limits stage answered, or a breaker switched. Settles its record on `grants.<source>`.
    SliceGranted {
        /// `Granted` or `Switched`.
        answer: Box<LimitAnswer>,
    },
    /// Capacity goes back: others need it, or its time is over. Emits to `limits.requests`.
    SliceReturned {
        /// `Return`.
        request: Box<LimitRequest>,
    },
    /// A job that took of limits ended: what it used replaces what was reserved. Settles its record on `outcomes.<source>`.
    SpendSettled {
        /// As told by the scheduler.
        told: Box<OutcomeTold>,
    },
    /// The end of a job that passed a breaker goes on to the limits stage. Emits to `limits.requests`.
    OutcomePassedOn {
        /// `Ended`.
        request: Box<LimitRequest>,
    },
    /// A job waits for a slice of a limit or for a throttle's delay, and is then judged again. Settles its record.
    JobDeferred {
        /// The job.
        job: Job,
        /// Where its payload stands in the kept record's value.
        payload: PayloadAt,
        /// The record; absent when the job is kept already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Box<KeptRecord>>,
        /// Why.
        why: DeferredWhy,
        /// Then it is denied, whatever it still waits for.
        until: Timestamp,
        /// A throttled job is judged again then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<Timestamp>,
        /// Times it was throttled so far, this one included.
        #[serde(default, skip_serializing_if = "is_zero")]
        throttled: u32,
        /// The limits it waits for, each by its id and, after a space, its key.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits_for: Vec<String>,
        /// What policy said; absent while it could not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<Box<Decision>>,
        /// How it was kept before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Replaced>,
    },
    /// A job waits for people to approve it. Settles its record; emits to `held`.
    JobHeld {
        /// The job.
        job: Job,
        /// What asks for the approval.
        decision: Decision,
        /// Where its payload stands in the kept record's value.
        payload: PayloadAt,
        /// The record; absent when the job is kept already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Box<KeptRecord>>,
        /// Then it is denied, unless enough people have approved it.
        until: Timestamp,
        /// How it was kept before. What people said under that counts no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Replaced>,
        /// Where it would go, were it approved now; for people. Absent when no pool takes it as it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<PoolName>,
    },
    /// A held job was judged again by another policy, which asks for no more than before: what people said still counts.
    /// Emits to `held`.
    HoldRenewed {
        /// The job.
        source: SourcePosition,
        /// What asks for the approval now.
        decision: Box<Decision>,
        /// Then it is denied; never later than before.
        until: Timestamp,
    },
    /// A person approved a held job. Emits to `held`.
    ApprovalGiven {
        /// The job.
        source: SourcePosition,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// The roles of this person.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        roles: Vec<String>,
        /// The policy snapshot of the verdict they saw.
        snapshot: String,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Time passed, and this role too may approve a held job. Emits to `held`.
    HoldEscalated {
        /// The job.
        source: SourcePosition,
        /// The role.
        to: String,
    },
    /// A genuine command that has no effect.
    CommandRefused {
        /// The record it names.
        source: SourcePosition,
        /// The command.
        command: CommandId,
        /// What it asked for.
        action: Action,
        /// By whom.
        by: PersonId,
        /// Why, as a word.
        why: CommandRefusal,
        /// Why, for people.
        detail: String,
    },
    /// A held or deferred job was called off, or one that came back after it was withdrawn. Emits to `finished`.
    JobCancelled {
        /// The job.
        job: Box<Job>,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// How it was kept.
        replaces: Replaced,
        /// Why it shall not run.
        #[serde(default, skip_serializing_if = "Cause::is_cancelled")]
        cause: Cause,
    },
    /// A released job was called off: its pool is told, and ends it unless it has ended. Emits to `approved.<pool>`.
    JobWithdrawn {
        /// The job.
        source: SourcePosition,
        /// Its id.
        job_id: JobId,
        /// Its tenant.
        tenant: TenantId,
        /// Where it went.
        pool: PoolName,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Why it shall not run.
        #[serde(default, skip_serializing_if = "Cause::is_cancelled")]
        cause: Cause,
    },
    /// A job, of this shard or of another, may delegate no longer: no job that acts for it is let run here, and what acts for
    /// it and has not begun is stopped by facts of its own. Emits nothing.
    DelegationRevoked {
        /// Where the job's record stands.
        source: SourcePosition,
        /// Its id.
        job_id: JobId,
        /// Its tenant.
        tenant: TenantId,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Then no ticket that it had can be valid any more.
        until: Timestamp,
    },
    /// An operator has a dead record judged again. The fact of its verdict follows in the same group.
    RecordRedriven {
        /// The record in its new life.
        source: SourcePosition,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An operator has done with a dead record: views show it no longer.
    RecordDropped {
        /// The record.
        source: SourcePosition,
        /// The command that said so.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The same job (tenant, id, input hash) again: its first verdict stands and it runs once.
    JobRepeated {
        /// This record.
        source: SourcePosition,
        /// The record that was decided.
        duplicate_of: SourcePosition,
        /// The job's id.
        job_id: JobId,
        /// Its tenant.
        tenant: TenantId,
    },
    /// A record that cannot be a job here. Emits to `dead`, and to `finished` when `job` is known to be its own.
    RecordRejected {
        /// This record.
        source: SourcePosition,
        /// Why, as a word.
        reason: DeadReason,
        /// Why, for people.
        detail: String,
        /// Hash of what was rejected.
        input_hash: InputHash,
        /// The job, when it could be read and the id is not another's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<Box<Job>>,
        /// The job was kept; `dead` gets the kept record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Replaced>,
    },
}
