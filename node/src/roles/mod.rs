//! What a process does: roles, each in charge of the shards its group gives it.

mod every;
mod figures;
mod gateway;
mod kernel;
mod lag;
mod limits;
mod scheduler;
mod shards;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tidegate_spine::Spine;

use crate::checkpoint_file::CheckpointFile;
use crate::clock::TokioClock;
use crate::config::{Config, Keys};
use crate::policy_folder;
use crate::readiness::Board;

pub use every::{ShardVisitor, every_shard};
pub use figures::Left;
pub(crate) use gateway::GatewayHosting;
pub use gateway::{commands, fleet, follow_view, progress, submitters, view_of};
pub(crate) use kernel::{SourceHosting, kernels};
pub(crate) use lag::{is_near, is_near_by_size, kept, shrinks};
pub(crate) use limits::{LimitsHosting, limits};
pub(crate) use scheduler::{PoolHosting, schedulers, sources_of};
pub use shards::{RoleError, StandsStill};

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Judges jobs.
    Kernel,
    /// Shares limits out to kernels, and to the schedulers of pools of several shards.
    Limits,
    /// Hands approved jobs to workers.
    Scheduler,
    /// HTTP API.
    Gateway,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Limits, Self::Scheduler, Self::Gateway];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Limits => "limits",
            Self::Scheduler => "scheduler",
            Self::Gateway => "gateway",
        }
    }

    /// Whether it is a stage, which signs its facts.
    #[must_use]
    pub const fn signs(self) -> bool {
        match self {
            Self::Kernel | Self::Limits | Self::Scheduler => true,
            Self::Gateway => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The group by which the processes of a role share its shards: one for each source or pool `of`, where it has some.
#[must_use]
pub(crate) fn group(prefix: &str, role: Role, of: Option<&str>) -> String {
    match of {
        Some(of) => format!("{prefix}{role}.{of}"),
        None => format!("{prefix}{role}"),
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no role; there are kernel, limits, scheduler and gateway")]
pub struct UnknownRole {
    /// As written.
    pub word: String,
}

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|r| r.word() == word).ok_or_else(|| UnknownRole { word: word.to_owned() })
    }
}

/// Some roles.
pub type Roles = BTreeSet<Role>;

/// What every role is made from.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) config: Arc<Config>,
    pub(crate) spine: Arc<dyn Spine>,
    pub(crate) clock: TokioClock,
    pub(crate) policy: policy_folder::Current,
    pub(crate) board: Arc<Board>,
    /// Names the process in claims.
    pub(crate) process: String,
    pub(crate) keys: Keys,
    /// Where checkpoints also go.
    pub(crate) checkpoints: Option<CheckpointFile>,
}
