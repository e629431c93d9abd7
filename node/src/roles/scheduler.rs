//! The role scheduler: one group per pool.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::channel::mpsc;
use tidegate_protocol::ids::{PoolName, SourceName};
use tidegate_protocol::topics::Topic;
use tidegate_scheduler::{Layout, Pool, Scheduler};
use tidegate_stage::{ShardSpec, Stage};

use super::shards::{Hosting, RoleError, Shards, hold};
use super::{Ground, Role, group};
use crate::config::PoolConfig;
use crate::topics::source_partitions;

struct Schedulers {
    ground: Ground,
    /// As it is scheduled from its next owner on.
    pool: RwLock<Arc<Pool>>,
}

impl Schedulers {
    fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shards for Schedulers {
    type Stage = Scheduler;
    const ROLE: Role = Role::Scheduler;

    fn spec(&self, shard: u32) -> Result<ShardSpec, String> {
        self.pool().shard_spec(shard, &self.ground.process, self.ground.config.pace.clone()).map_err(|e| e.to_string())
    }

    fn make(self: &Arc<Self>, shard: u32) -> Box<dyn Fn() -> Scheduler + Send + Sync> {
        let pool = self.pool();
        Box::new(move || Scheduler::new(Arc::clone(&pool), shard))
    }

    fn signals(&self, _shard: u32) -> mpsc::UnboundedReceiver<<Scheduler as Stage>::Signal> {
        // Nothing comes from outside the spine.
        mpsc::unbounded().1
    }

    fn released(&self, _shard: u32) {}
}

/// The schedulers of a pool, held.
pub(crate) struct PoolHosting {
    schedulers: Arc<Schedulers>,
    hosting: Hosting,
}

fn made(reason: impl ToString) -> RoleError {
    RoleError::Made { role: Role::Scheduler, reason: reason.to_string() }
}

fn pool_of(ground: &Ground, pool: &PoolConfig, sources: &BTreeMap<SourceName, u32>) -> Result<Arc<Pool>, RoleError> {
    let config = &ground.config;
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
    let pool = Pool::new(layout, &pool.tuning).map_err(made)?;
    let pool = pool.operated_by(ground.keys.trust(), ground.keys.people());
    Ok(Arc::new(pool.telling_cloudevents(config.topics.cloudevents)))
}

impl PoolHosting {
    /// Begins the schedulers of a pool.
    pub(crate) async fn begin(
        ground: &Ground,
        pool: &PoolConfig,
        sources: &BTreeMap<SourceName, u32>,
    ) -> Result<Self, RoleError> {
        let prefix = &ground.config.prefix;
        let leases = Topic::Leases(pool.name().clone()).name(prefix).map_err(made)?;
        let group = group(prefix, Role::Scheduler, Some(pool.name().as_str()));
        let pool = RwLock::new(pool_of(ground, pool, sources)?);
        let schedulers = Arc::new(Schedulers { ground: ground.clone(), pool });
        let hosting = hold(ground.clone(), group, leases, Arc::clone(&schedulers)).await?;
        Ok(Self { schedulers, hosting })
    }

    /// The pool as that configuration has it.
    pub(crate) fn tuned(&self, pool: &PoolConfig, sources: &BTreeMap<SourceName, u32>) -> Result<Arc<Pool>, RoleError> {
        pool_of(&self.schedulers.ground, pool, sources)
    }

    /// From now on the pool is scheduled so: every shard is taken over again.
    pub(crate) async fn retune(&self, pool: Arc<Pool>) {
        *self.schedulers.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        self.hosting.renew().await;
    }

    pub(crate) async fn stop(self) {
        self.hosting.stop().await;
    }
}

/// Partitions of every source, whose kernels are told how jobs end.
pub(crate) async fn sources_of(ground: &Ground) -> Result<BTreeMap<SourceName, u32>, RoleError> {
    source_partitions(&ground.config, &*ground.spine).await.map_err(made)
}

/// Begins the schedulers of every pool.
pub(crate) async fn schedulers(ground: &Ground) -> Result<BTreeMap<PoolName, PoolHosting>, RoleError> {
    let sources = sources_of(ground).await?;
    let mut hostings = BTreeMap::new();
    for pool in &ground.config.pools {
        hostings.insert(pool.name().clone(), PoolHosting::begin(ground, pool, &sources).await?);
    }
    Ok(hostings)
}
