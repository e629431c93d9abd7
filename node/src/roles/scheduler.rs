//! The role scheduler: one group per pool.

use std::sync::Arc;

use futures::channel::mpsc;
use tidegate_protocol::topics::Topic;
use tidegate_scheduler::{Layout, Pool, Scheduler};
use tidegate_stage::{ShardSpec, Stage};

use super::shards::{Hosting, RoleError, Shards, hold};
use super::{Ground, Role, group};
use crate::topics::source_partitions;

struct Schedulers {
    ground: Ground,
    pool: Arc<Pool>,
}

impl Shards for Schedulers {
    type Stage = Scheduler;
    const ROLE: Role = Role::Scheduler;

    fn spec(&self, shard: u32) -> Result<ShardSpec, String> {
        self.pool.shard_spec(shard, &self.ground.process, self.ground.config.pace.clone()).map_err(|e| e.to_string())
    }

    fn make(self: &Arc<Self>, shard: u32) -> Box<dyn Fn() -> Scheduler + Send + Sync> {
        let pool = Arc::clone(&self.pool);
        Box::new(move || Scheduler::new(Arc::clone(&pool), shard))
    }

    fn signals(&self, _shard: u32) -> mpsc::UnboundedReceiver<<Scheduler as Stage>::Signal> {
        // Nothing comes from outside the spine.
        mpsc::unbounded().1
    }

    fn released(&self, _shard: u32) {}
}

/// Begins the schedulers of every pool.
pub(crate) async fn schedulers(ground: &Ground) -> Result<Vec<Hosting>, RoleError> {
    let made = |reason: String| RoleError::Made { role: Role::Scheduler, reason };
    let config = &ground.config;
    let sources = source_partitions(config, &*ground.spine).await.map_err(|e| made(e.to_string()))?;
    let mut hostings = Vec::new();
    for pool in &config.pools {
        let layout = Layout {
            prefix: config.prefix.clone(),
            pool: pool.name().clone(),
            shards: pool.shards,
            buckets: pool.route.buckets,
            lanes: pool.lanes,
            finished_partitions: config.topics.shared_partitions,
            dead_partitions: config.topics.shared_partitions,
            sources: sources.clone(),
        };
        let leases = Topic::Leases(pool.name().clone()).name(&config.prefix).map_err(|e| made(e.to_string()))?;
        let group = group(&config.prefix, Role::Scheduler, Some(pool.name().as_str()));
        let pool = Pool::new(layout, &pool.tuning).map_err(|e| made(e.to_string()))?;
        let pool = pool.operated_by(ground.keys.trust(), ground.keys.people());
        let pool = Arc::new(pool.telling_cloudevents(config.topics.cloudevents));
        hostings
            .push(hold(ground.clone(), group, leases, Arc::new(Schedulers { ground: ground.clone(), pool })).await?);
    }
    Ok(hostings)
}
