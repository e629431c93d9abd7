//! What workers and a pool's scheduler say to each other (`reports.<pool>` and `work.<pool>`; DESIGN section 5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::facts::Token;
use crate::ids::{Capability, TenantId, WorkerId};
use crate::job::SourcePosition;
use crate::limits::Usage;
use crate::outcome::Outcome;

/// A worker's record on `reports.<pool>`, keyed by worker, in the worker's order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// First word of an incarnation, after it fixed its position in its lane; repeated until a Welcome comes. A worker
    /// that lost its place in the lane starts a new incarnation.
    Hello {
        /// The worker.
        worker: WorkerId,
        /// Higher than that of every earlier life (milliseconds since the Unix epoch at start, say). One that is not is told what
        /// number its name has ([`Order::Outrun`]), and says Hello with a higher one: no clock is relied on.
        incarnation: u64,
        /// The lane it reads, and from where.
        lane: u32,
        /// Offset in the lane from which it reads.
        lane_position: u64,
        /// What it can do.
        capabilities: Vec<Capability>,
        /// Jobs it can run at once.
        capacity: u32,
        /// The tenants whose jobs it takes; absent for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenants: Option<Vec<TenantId>>,
        /// What jobs may ask of it beside capabilities ([`crate::selector`]), at most [`crate::selector::MOST_LABELS`].
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
    },
    /// Everything restated, so that any one may be lost.
    Heartbeat {
        /// The worker.
        worker: WorkerId,
        /// Its incarnation.
        incarnation: u64,
        /// The lane it reads.
        lane: u32,
        /// Epoch of the highest Welcome it has; 0 before the first.
        epoch: u64,
        /// What it can do.
        capabilities: Vec<Capability>,
        /// Jobs it can run at once.
        capacity: u32,
        /// What runs, or has ended and is not yet settled.
        running: Vec<Held>,
        /// Number of the highest assignment of `epoch` received.
        received: u64,
        /// It accepts assignments of `epoch` up to this number.
        credit: u64,
        /// It finishes what runs and takes nothing new.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        draining: bool,
        /// The tenants whose jobs it takes; absent for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenants: Option<Vec<TenantId>>,
        /// What jobs may ask of it beside capabilities ([`crate::selector`]), at most [`crate::selector::MOST_LABELS`].
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// How busy what it runs on is, 0 to 1, where it knows; it gets less of what others could take too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        load: Option<f64>,
    },
    /// A job ended; sent again after every new Welcome until it is settled.
    Result {
        /// The worker.
        worker: WorkerId,
        /// Its incarnation.
        incarnation: u64,
        /// The lane it reads.
        lane: u32,
        /// Epoch of the highest Welcome it has.
        epoch: u64,
        /// The job.
        source: SourcePosition,
        /// The token of the assignment.
        token: Token,
        /// `Succeeded`, `Failed`, `Cancelled` or `TimedOut`; anything else is refused.
        outcome: Outcome,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it gives back, JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Box<RawValue>>,
        /// What it used, where it knows.
        #[serde(default, skip_serializing_if = "Usage::is_empty")]
        usage: Usage,
        /// Of a failure: another attempt may go better. Without it a failure is final.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        retryable: bool,
        /// With `retryable`: not before so many milliseconds have passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// As in a heartbeat: a result frees a slot, so it carries the new credit.
        credit: u64,
    },
    /// A job was not run and goes back (drain, or an assignment for a capability it no longer has).
    GiveBack {
        /// The worker.
        worker: WorkerId,
        /// Its incarnation.
        incarnation: u64,
        /// Epoch of the highest Welcome it has.
        epoch: u64,
        /// The job.
        source: SourcePosition,
        /// The token of the assignment.
        token: Token,
    },
    /// A sign of progress of one job.
    Progress {
        /// The worker.
        worker: WorkerId,
        /// Its incarnation.
        incarnation: u64,
        /// The job.
        source: SourcePosition,
        /// The token of the assignment.
        token: Token,
        /// 0 to 1 when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fraction: Option<f64>,
        /// A line for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// A piece of what it will give back, or of what it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Partial>,
    },
}

/// A piece of an attempt's partial output. Pieces may be missing: what follows says by `at` how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Where it begins in all partial output of the attempt, in bytes of UTF-8.
    pub at: u64,
    /// The piece.
    pub text: String,
}

/// A job a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The job.
    pub source: SourcePosition,
    /// The token of the assignment.
    pub token: Token,
    /// It waits for a job that it spawned: until it says otherwise its slot may go to such jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// A scheduler's message on `work.<pool>`, header `tg-to` = worker. Kept when its epoch is that of the highest
/// Welcome met; below it is ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Reports name this epoch from now on; assignment numbers start at 1 again. One for an epoch the incarnation
    /// already has changes nothing: numbers go on, also where the owner had forgotten the worker meanwhile.
    Welcome {
        /// For which incarnation.
        incarnation: u64,
        /// The owner's epoch.
        epoch: u64,
        /// Send a heartbeat at least this often, milliseconds.
        heartbeat_ms: u64,
        /// A lease lasts this long after the last heartbeat, milliseconds.
        lease_ms: u64,
    },
    /// Run this.
    Assignment {
        /// For which incarnation.
        incarnation: u64,
        /// Number in this epoch, from 1.
        number: u64,
        /// The job.
        source: SourcePosition,
        /// The token its result must carry; its epoch is the sender's.
        token: Token,
        /// The record from `approved`: `{v, job, decision, payload}`.
        work: Box<RawValue>,
    },
    /// The job is called off: stop it and say how it ended. When the grace is over it ends without its worker.
    Cancel {
        /// The job.
        source: SourcePosition,
        /// The token.
        token: Token,
        /// Who called it off and why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An operator wants this worker to end what it runs, to take nothing new, and to leave. Said again after every Welcome.
    Drain {
        /// For which incarnation.
        incarnation: u64,
        /// Who wants it and why, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A Hello came with a number that is not above the one that the worker's name has. Whoever has none above `known` and was not
    /// welcomed with it by this shard says Hello with one above `known`; whoever was, with one below `known`, was followed by another
    /// process of its name, and stops.
    Outrun {
        /// The number in the Hello.
        said: u64,
        /// The number that the name has.
        known: u64,
    },
    /// The result of this token was accepted or refused: forget it. Refused while it still runs (a heartbeat listed a
    /// lease that is no longer this worker's): stop it, its result would not count.
    Settled {
        /// The job.
        source: SourcePosition,
        /// The token.
        token: Token,
        /// Whether it counts.
        accepted: bool,
        /// Why not, e.g. `stale_fence`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}
