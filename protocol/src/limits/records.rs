//! What kernels, schedulers and the limits stage write to each other (`limits.requests`, `grants.<source>`, `grants.<pool>`), and
//! how the scheduler tells a kernel of a job's end (`outcomes.<source>`).

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::definition::{LimitDefinition, LimitId};
use super::spend::Usage;
use crate::ids::TenantId;
use crate::job::SourcePosition;
use crate::outcome::Outcome;
use crate::time::Timestamp;

/// Names a request for ever, together with its sender. A number never comes twice of one sender, over owners too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// Epoch of the owner that asked.
    pub epoch: u64,
    /// Number, from 1.
    pub number: u64,
}

/// What still counts of a holding that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// How much; may be more than was held when jobs used more than they reserved.
    pub amount: Amount,
    /// When the last of it was spent, by the shard's time: it counts for the window after that.
    pub last: Timestamp,
}

/// A kernel or scheduler shard to the limits stage, on `limits.requests`. `at` is the shard's own time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitRequest {
    /// It wants capacity, or longer time for what it has. Always answered by a [`LimitAnswer::Granted`].
    Ask {
        /// This request.
        id: RequestId,
        /// Number of the request that began its holding; its own number when it has none.
        holding: u64,
        /// Of which limit.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// What the limit is.
        definition: LimitDefinition,
        /// The tenant of the job that asks: keys are bounded by tenant.
        tenant: TenantId,
        /// At least this much more is of use; nothing when only time is asked for.
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        need: Amount,
        /// This much more is wanted.
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        want: Amount,
        /// What it has of its holding: what the limits stage counts beyond that was in an answer or a return that never came.
        /// Absent: it has none, or the holding is no capacity.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        has: Option<Amount>,
        /// When.
        at: Timestamp,
    },
    /// It gives capacity back.
    Return {
        /// This request.
        id: RequestId,
        /// Of which holding.
        holding: u64,
        /// Of which limit.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// This much was not in use within the window, nor within the clocks' allowance before it.
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        free: Amount,
        /// The holding ends, and this is what still counts of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rest: Option<Residue>,
        /// What is freed may be spent elsewhere from this stamp on, by any shard's time.
        from: Timestamp,
        /// It has nothing of this holding, and does not know any more what it spent of it: it is as one that nobody speaks for.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        gone: bool,
    },
    /// A job that passed a breaker ended: failed, or a probe.
    Ended {
        /// This request.
        id: RequestId,
        /// Of which holding.
        holding: u64,
        /// Which breaker.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// What it is.
        definition: LimitDefinition,
        /// The job's tenant.
        tenant: TenantId,
        /// Whether it failed.
        failed: bool,
        /// Whether it was a probe.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        probe: bool,
        /// When.
        at: Timestamp,
    },
}

impl LimitRequest {
    /// Limit and key it is about.
    #[must_use]
    pub const fn about(&self) -> (&LimitId, &str) {
        match self {
            Self::Ask { limit, key, .. } | Self::Return { limit, key, .. } | Self::Ended { limit, key, .. } => {
                (limit, key)
            }
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        match self {
            Self::Ask { id, .. } | Self::Return { id, .. } | Self::Ended { id, .. } => *id,
        }
    }
}

/// Why nothing is granted although the limit may have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedFor {
    /// The tenant has as many keys as it may.
    TooManyKeys,
    /// The request contradicts what is known of the limit.
    Invalid,
}

impl RefusedFor {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooManyKeys => "too_many_keys",
            Self::Invalid => "invalid",
        }
    }
}

/// The limits stage to a kernel shard, on `grants.<source>`, or a scheduler shard, on `grants.<pool>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAnswer {
    /// The answer to an `Ask`.
    Granted {
        /// The request.
        request: RequestId,
        /// The holding this belongs to from now on; another number than asked for: that one had lapsed, this one begins
        /// with nothing spent. 0: there is none, nothing was granted.
        holding: u64,
        /// Of which limit.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// This much more. Of a breaker: the probes it lets through, else 0 (`until` says whether it is closed).
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        amount: Amount,
        /// What the holding may be spent before.
        until: Timestamp,
        /// What it may be spent from: what others spent of it counts no longer then, by any shard's time.
        from: Timestamp,
        /// Nothing more can be had before this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
        /// Of a breaker: it is half open, only probes pass.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        probe: bool,
        /// Nothing is granted for another reason than that nothing is left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<RefusedFor>,
    },
    /// Others need it: give back this much of what is not in use.
    Recalled {
        /// Of which holding.
        holding: u64,
        /// Of which limit.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// How much.
        amount: Amount,
        /// So much of it is more than this holder's part while others wait: it is to be given back as it comes free, although
        /// it is in use. A holder that spends again what came free would let others wait for as long as it is busy.
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        owed: Amount,
    },
    /// A breaker opened or closed: what was granted of it is void, ask again when it is needed, not before `again`.
    Switched {
        /// Of which holding.
        holding: u64,
        /// Which breaker.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// While it is open.
        again: Timestamp,
    },
}

impl LimitAnswer {
    /// Limit and key it is about.
    #[must_use]
    pub const fn about(&self) -> (&LimitId, &str) {
        match self {
            Self::Granted { limit, key, .. }
            | Self::Recalled { limit, key, .. }
            | Self::Switched { limit, key, .. } => (limit, key),
        }
    }
}

/// The scheduler to the kernel that decided, on `outcomes.<source>`: a job that took of limits ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeTold {
    /// Format version, 1.
    pub v: u32,
    /// The job.
    pub source: SourcePosition,
    /// How it ended.
    pub outcome: Outcome,
    /// Leases it had; 0: it never ran, so nothing was used.
    pub attempts: u32,
    /// What its worker says it used.
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
    /// When the scheduler decided so.
    pub at: Timestamp,
}
