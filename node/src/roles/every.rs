//! Every shard that a configuration has stages for, each made as its role makes it: for whoever replays facts and runs nothing.

use std::collections::BTreeMap;

use tidegate_protocol::ids::SourceName;
use tidegate_stage::{ShardSpec, Stage};

use super::shards::RoleError;
use super::{kernel, limits, scheduler};
use crate::config::{Config, Keys};

/// Names the process in specs by which nobody claims.
pub(super) const SHOWN: &str = "shown";

/// Is shown shards, whatever their stages are.
pub trait ShardVisitor {
    /// A shard, and what makes a fresh stage of it.
    fn shard<S: Stage>(&mut self, spec: ShardSpec, make: &dyn Fn() -> S);
}

/// Shows every shard of kernels, limits and schedulers. `sources` are all sources with their partitions. Kernels have no policy:
/// what facts say does not depend on it.
///
/// # Errors
/// [`RoleError`] when names of the configuration make no topics or senders.
pub fn every_shard(
    config: &Config,
    keys: &Keys,
    sources: &BTreeMap<SourceName, u32>,
    visitor: &mut impl ShardVisitor,
) -> Result<(), RoleError> {
    kernel::shards(config, keys, sources, visitor)?;
    limits::shards(config, sources, visitor)?;
    scheduler::shards(config, keys, sources, visitor)
}
