//! The role limits: one group for all its shards.

use std::sync::Arc;

use futures::channel::mpsc;
use tidegate_limits::{Layout, Limits, LimitsConfig};
use tidegate_stage::Stage;

use super::shards::{Begun, Hosting, RoleError, Shards, hold};
use super::{Ground, Role, group};
use crate::topics::source_partitions;

struct Lenders {
    ground: Ground,
    config: LimitsConfig,
}

impl Shards for Lenders {
    type Stage = Limits;
    const ROLE: Role = Role::Limits;

    fn begin(self: &Arc<Self>, shard: u32) -> Result<Begun<Limits>, String> {
        let config = self.config.clone();
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

/// Begins the shards of the limits.
pub(crate) async fn limits(ground: &Ground) -> Result<Vec<Hosting>, RoleError> {
    let made = |reason: String| RoleError::Made { role: Role::Limits, reason };
    let sources = source_partitions(&ground.config, &*ground.spine).await.map_err(|e| made(e.to_string()))?;
    let layout = Layout { prefix: ground.config.prefix.clone(), sources };
    let config = LimitsConfig::new(&layout, &ground.config.limits.escrow).map_err(|e| made(e.to_string()))?;
    let (group, facts) = (group(&ground.config.prefix, Role::Limits, None), config.facts().clone());
    let lenders = Arc::new(Lenders { ground: ground.clone(), config });
    Ok(vec![hold(ground.clone(), group, facts, lenders).await?])
}
