//! The role limits: one group for all its shards.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::channel::mpsc;
use tidegate_limits::{Layout, Limits, LimitsConfig};
use tidegate_protocol::ids::SourceName;
use tidegate_stage::Stage;

use super::every::{SHOWN, ShardVisitor};
use super::shards::{Begun, Hosting, RoleError, Shards, StandsStill, hold};
use super::{Ground, Role, group};
use crate::config::Config;
use crate::topics::source_partitions;

struct Lenders {
    ground: Ground,
    /// As it lends from its next owner on.
    config: RwLock<LimitsConfig>,
}

impl Lenders {
    fn config(&self) -> LimitsConfig {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shards for Lenders {
    type Stage = Limits;
    const ROLE: Role = Role::Limits;

    fn begin(self: &Arc<Self>, shard: u32) -> Result<Begun<Limits>, String> {
        let config = self.config();
        let spec = config
            .shard_spec(shard, &self.ground.process, self.ground.config.pace.clone())
            .map_err(|e| e.to_string())?;
        Ok(Begun { spec, make: Box::new(move || Limits::new(config.clone())) })
    }

    fn signals(&self, _shard: u32) -> mpsc::UnboundedReceiver<<Limits as Stage>::Signal> {
        // Nothing comes from outside the spine.
        mpsc::unbounded().1
    }

    fn released(&self, _shard: u32) {}
}

/// The limits, held.
pub(crate) struct LimitsHosting {
    lenders: Arc<Lenders>,
    hosting: Hosting,
}

fn made(reason: impl ToString) -> RoleError {
    RoleError::Made { role: Role::Limits, reason: reason.to_string() }
}

/// Whom the limits answer by this configuration.
async fn config_of(ground: &Ground, config: &Config) -> Result<LimitsConfig, RoleError> {
    lending(config, source_partitions(config, &*ground.spine).await.map_err(made)?)
}

/// Shows the shards of the limits.
pub(super) fn shards(
    config: &Config,
    sources: &BTreeMap<SourceName, u32>,
    visitor: &mut impl ShardVisitor,
) -> Result<(), RoleError> {
    let lends = lending(config, sources.clone())?;
    for shard in 0..config.limits.escrow.shards {
        let spec = lends.shard_spec(shard, SHOWN, config.pace.clone()).map_err(made)?;
        visitor.shard(spec, &|| Limits::new(lends.clone()));
    }
    Ok(())
}

fn lending(config: &Config, sources: BTreeMap<SourceName, u32>) -> Result<LimitsConfig, RoleError> {
    let borrowers = config.pools.iter().filter(|pool| pool.borrows());
    let pools = borrowers.map(|pool| (pool.name().clone(), pool.shards)).collect();
    let layout = Layout { prefix: config.prefix.clone(), sources, pools };
    LimitsConfig::new(&layout, &config.limits.escrow).map_err(made)
}

impl LimitsHosting {
    /// From now on it lends to the pools of that configuration too: every shard is taken over again.
    pub(crate) async fn lend_to(&self, config: &Config) -> Result<Vec<StandsStill>, RoleError> {
        let config = config_of(&self.lenders.ground, config).await?;
        *self.lenders.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(self.hosting.renew().await)
    }

    pub(crate) async fn stop(self) {
        self.hosting.stop().await;
    }
}

/// Begins the shards of the limits.
pub(crate) async fn limits(ground: &Ground) -> Result<LimitsHosting, RoleError> {
    let config = config_of(ground, &ground.config).await?;
    let (group, facts) = (group(&ground.config.prefix, Role::Limits, None), config.facts().clone());
    let lenders = Arc::new(Lenders { ground: ground.clone(), config: RwLock::new(config) });
    let hosting = hold(ground.clone(), group, facts, Arc::clone(&lenders)).await?;
    Ok(LimitsHosting { lenders, hosting })
}
