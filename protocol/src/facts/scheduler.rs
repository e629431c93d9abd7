//! The facts of a scheduler shard, and what they speak of.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::address::{Offset, TopicPartition};
use crate::ids::{CommandId, JobId, PersonId, TenantId, WorkerId};
use crate::job::{InputHash, SourcePosition};
use crate::limits::{LimitAnswer, LimitRequest, Spend, Usage};
use crate::outcome::{DeadReason, Outcome};
use crate::pool_command::{PoolAction, PoolRefusal, Told};
use crate::time::Timestamp;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The fencing token of an attempt: rises for a job with every lease, over owners too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// Epoch of the owner that granted the lease.
    pub epoch: u64,
    /// The job's lease count, from 1.
    pub attempt: u32,
}

/// Why a lease ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEnd {
    /// No heartbeat for a full term.
    Silent,
    /// The worker started anew.
    NewIncarnation,
    /// The worker's report under the present epoch does not know of it.
    NotHeld,
    /// The worker gave it back (drain, capability withdrawn).
    GivenBack,
    /// Its worker reports, but of this job no progress, and had not ended it when the grace it was given was over.
    Stalled,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_no_number(number: &u64) -> bool {
    *number == 0
}

/// A fact of a scheduler shard (`leases.<pool>`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerFact {
    /// A worker said Hello, or reported under an older epoch. Emits `Welcome` with this owner's epoch to its lane.
    /// Any lease of an older incarnation ends with [`LeaseEnd::NewIncarnation`] facts of their own.
    WorkerWelcomed {
        /// The worker.
        worker: WorkerId,
        /// Its incarnation.
        incarnation: u64,
        /// The granting owner's epoch.
        epoch: u64,
        /// The lane its messages go to.
        lane: u32,
    },
    /// A worker said Hello with a number below the one that its name has, or with the same as a life that has reported since it was
    /// welcomed: its clock stepped back between two lives, or it is another process of that name. Emits `Outrun` to its lane.
    WorkerOutrun {
        /// The worker.
        worker: WorkerId,
        /// The number it said.
        said: u64,
        /// The number that its name has.
        known: u64,
        /// The lane it reads, as it said.
        lane: u32,
    },
    /// A job goes to a worker. Emits the assignment to its lane; never emitted again.
    LeaseGranted {
        /// The job.
        source: SourcePosition,
        /// To whom.
        worker: WorkerId,
        /// Which incarnation of it.
        incarnation: u64,
        /// The token.
        token: Token,
        /// Number of the assignment to this worker in this epoch, from 1.
        number: u64,
        /// The lane.
        lane: u32,
        /// The record from `approved`: only when the state does not have it yet (from an earlier lease, or a delay).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<Box<RawValue>>,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
        /// What it takes of limits that are lent, in a pool of several shards; places of it are free when the lease ends.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spends: Vec<Spend>,
    },
    /// A lease ended without result; the job is ready again, at once or later.
    LeaseExpired {
        /// The job.
        source: SourcePosition,
        /// The token that is now stale.
        token: Token,
        /// Why.
        end: LeaseEnd,
        /// Not before this time; absent: at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A leased job is to stop. Emits `Cancel` to its worker's lane; never emitted again. A new owner says it once more, when
    /// the worker reports to it.
    CancelAsked {
        /// The job.
        source: SourcePosition,
        /// Who has it, its token and lane.
        to: Holder,
        /// When it ends without its worker.
        until: Timestamp,
        /// How it ends then.
        outcome: Outcome,
        /// Why, for people.
        reason: String,
        /// It does not end then: the lease does, and the attempt counts as a failed one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// A job was called off that is not here now, but may be in `overflow`: it ends when it is read.
    WithdrawalKept {
        /// The job.
        source: SourcePosition,
        /// Its tenant.
        tenant: TenantId,
        /// Its id.
        job_id: JobId,
        /// Why, for people.
        reason: String,
    },
    /// The same when too many are kept already: the withdrawal goes to `overflow.<pool>`, behind the job.
    WithdrawalMoved {
        /// The job.
        source: SourcePosition,
        /// Partition of `overflow.<pool>`.
        bucket: u32,
        /// The withdrawal's record.
        withdrawal: Box<RawValue>,
    },
    /// An attempt failed and another may go better: it waits for that. Emits `Settled` (accepted).
    JobRetried {
        /// The job.
        source: SourcePosition,
        /// Who had it, its token and lane.
        by: Holder,
        /// Not before this time.
        until: Timestamp,
        /// Why it failed, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What the worker says it used.
        #[serde(default, skip_serializing_if = "Usage::is_empty")]
        usage: Usage,
    },
    /// A job is not to start yet: it leaves its log and waits in the state.
    JobDelayed {
        /// The job.
        source: SourcePosition,
        /// Not before this time.
        until: Timestamp,
        /// Its record.
        work: Box<RawValue>,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
    },
    /// The time of a job that was delayed or waited for its next attempt has come: it is ready.
    JobDue {
        /// The job.
        source: SourcePosition,
    },
    /// A job ended. Emits `finished`, for `Outcome::Dead` also `dead`, and `Settled` to the worker's lane.
    JobFinished {
        /// The job.
        source: SourcePosition,
        /// Its id.
        job_id: JobId,
        /// Its tenant.
        tenant: TenantId,
        /// How.
        outcome: Outcome,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// The word for `dead`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dead: Option<DeadReason>,
        /// What the worker gave back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Box<RawValue>>,
        /// The holder, its token and lane, when a result ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Holder>,
        /// Leases so far.
        attempts: u32,
        /// For `Outcome::Dead` the record from `approved`, which goes to `dead`; absent when that record was itself too
        /// large: then `dead` names it by position and hash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<Box<RawValue>>,
        /// What the worker says it used.
        #[serde(default, skip_serializing_if = "Usage::is_empty")]
        usage: Usage,
        /// The kernel waits for its end: emits also to `outcomes.<source>`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        settles: bool,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
    },
    /// The accepted result came once more (its `Settled` was lost with an owner). Emits `Settled` (accepted) again.
    ResultRepeated {
        /// The job, already ended.
        source: SourcePosition,
        /// Who sent it, with its token and lane.
        by: Holder,
    },
    /// A result that is not believed. Emits `Settled` (refused) to the worker's lane, so that it stops sending it.
    ResultRefused {
        /// The job it names.
        source: SourcePosition,
        /// Who sent it, with the token it named and its lane.
        by: Holder,
        /// Why: `stale_fence`, `not_holder`, `unknown_job`, `finished`, `bad_outcome`.
        reason: String,
    },
    /// A second live record of a (tenant, job id): ends here, without a `finished` of its own.
    JobDuplicate {
        /// This record.
        source: SourcePosition,
        /// The live one.
        duplicate_of: SourcePosition,
        /// The kernel waits for its end: emits to `outcomes.<source>` that it never ran.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        settles: bool,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
    },
    /// A waiting job moved to `overflow.<pool>` so that it does not pin its log.
    JobMoved {
        /// The job.
        source: SourcePosition,
        /// Partition of `overflow.<pool>`.
        bucket: u32,
        /// Its record.
        work: Box<RawValue>,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
    },
    /// A job's ticket expired before it could be leased: it goes back to the kernel that decided, to be judged again, and
    /// nothing more is known of it here. Emits to `outcomes.<source>`.
    JobReturned {
        /// The job.
        source: SourcePosition,
        /// Leases so far.
        attempts: u32,
        /// Attempts so far that count as failed, under this ticket and earlier ones.
        #[serde(default, skip_serializing_if = "is_zero")]
        strikes: u32,
        /// What its attempts under this ticket used.
        #[serde(default, skip_serializing_if = "Usage::is_empty")]
        usage: Usage,
        /// Its record.
        work: Box<RawValue>,
        /// The kernel waits for its end: emits first that the job ended, for what it took of limits.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        settles: bool,
        /// The number of its move, when the job was read from `overflow.<pool>` and is taken out of it by this; else 0.
        #[serde(default, skip_serializing_if = "is_no_number")]
        moved: u64,
    },
    /// A record on `approved` or `overflow` that is no judged, allowed job. Emits `dead`.
    WorkRefused {
        /// Where it stands.
        partition: TopicPartition,
        /// Its offset there.
        offset: Offset,
        /// Why, as a word.
        reason: DeadReason,
        /// Why, for people.
        detail: String,
        /// SHA-256 of its value (of nothing for a null value).
        input_hash: InputHash,
    },
    /// A worker that holds nothing and has long been silent is forgotten. Whether it is cordoned is not.
    WorkerForgotten {
        /// The worker.
        worker: WorkerId,
    },
    /// An operator's command: the worker gets no further job. With `tell` emits `Drain` to its lane, and from then on after every
    /// `Welcome` of that incarnation.
    WorkerCordoned {
        /// The worker, known or not.
        worker: WorkerId,
        /// It is to leave when it has ended what it runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drain: bool,
        /// Who is told to leave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tell: Option<Told>,
        /// The command.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// When, by their clock, milliseconds since the Unix epoch.
        at_ms: u64,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An operator's command: a cordoned worker may get jobs again.
    WorkerUncordoned {
        /// The worker.
        worker: WorkerId,
        /// The command.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// When, by their clock, milliseconds since the Unix epoch.
        at_ms: u64,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A genuine command to the pool that has no effect.
    PoolCommandRefused {
        /// The worker it names.
        worker: WorkerId,
        /// What it asked for.
        action: PoolAction,
        /// The command.
        command: CommandId,
        /// By whom.
        by: PersonId,
        /// When, by their clock, milliseconds since the Unix epoch.
        at_ms: u64,
        /// Why, as a word.
        why: PoolRefusal,
        /// Why, for people.
        detail: String,
    },
    /// The shard asks the limits stage for a slice of a limit, or for longer time. Emits the request.
    SliceRequested {
        /// An `Ask`.
        request: Box<LimitRequest>,
    },
    /// The limits stage answered.
    SliceGranted {
        /// `Granted` or `Switched`.
        answer: Box<LimitAnswer>,
    },
    /// The shard gives back what it does not use of a limit. Emits the request.
    SliceReturned {
        /// A `Return`.
        request: Box<LimitRequest>,
    },
}

/// Who held a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The worker.
    pub worker: WorkerId,
    /// Its token.
    pub token: Token,
    /// Its lane.
    pub lane: u32,
}
