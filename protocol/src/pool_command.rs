//! What operators tell a pool about its workers: `commands.<pool>`, open to all writers, believed by signature alone.
//!
//! A record is one signed JSON object ([`crate::signature`], statement [`KIND`]). The same one goes to every shard of the pool,
//! since a worker speaks to all of them. It counts once: a shard remembers its id for as long as it could count again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, PersonId, PoolName, WorkerId};

/// The statement's line of a signed command to a pool.
pub const KIND: &str = "tidegate pool command v1";
/// Largest record, bytes.
pub const MAX_POOL_COMMAND_BYTES: usize = 4 << 10;
/// It counts for so long after it was signed.
pub const FRESH: Duration = Duration::from_mins(15);
/// And so long before: clocks differ.
pub const AHEAD: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolAction {
    /// The worker gets no further job.
    Cordon,
    /// It may again.
    Uncordon,
    /// It gets no further job, ends what it runs, and leaves.
    Drain,
}

impl PoolAction {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain => "drain",
        }
    }
}

/// A command without its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCommand {
    /// Format version, 1.
    pub v: u32,
    /// Chosen by the sender, once for every command; tells what became of it.
    pub id: CommandId,
    /// What is asked for.
    pub action: PoolAction,
    /// The pool: it counts for no other.
    pub pool: PoolName,
    /// The worker; it need not be there.
    pub worker: WorkerId,
    /// This person.
    pub by: PersonId,
    /// When, by their clock, milliseconds since the Unix epoch: see [`FRESH`].
    pub at_ms: u64,
    /// Why, for people; without control characters, at most [`crate::command::MAX_REASON_BYTES`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Which life of a worker is told something, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its incarnation.
    pub incarnation: u64,
    /// The lane it reads.
    pub lane: u32,
}

/// Why a genuine command has no effect. The words are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolRefusal {
    /// It was signed too long ago, or its time is still to come.
    OutOfTime,
    /// The worker is not cordoned.
    NotCordoned,
    /// Too many workers are cordoned already.
    TooMany,
    /// Too many commands came of late.
    NotNow,
}

impl PoolRefusal {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OutOfTime => "out_of_time",
            Self::NotCordoned => "not_cordoned",
            Self::TooMany => "too_many",
            Self::NotNow => "not_now",
        }
    }
}
