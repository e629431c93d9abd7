//! The role scheduler: one group per pool.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::channel::mpsc;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{PoolName, SourceName};
use tidegate_protocol::topics::Topic;
use tidegate_scheduler::{Layout, Lending, Pool, Scheduler};
use tidegate_stage::Stage;
use tokio::time::Instant;

use super::every::{SHOWN, ShardVisitor};
use super::figures::{Counted, Figures, Left};
use super::lag::{Behind, unsettled};
use super::shards::{Begun, Hosting, RoleError, Shards, StandsStill, hold};
use super::{Ground, Role, group};
use crate::config::{Config, Keys, PoolConfig};
use crate::metrics::{self, PoolFigures};
use crate::process::StartError;
use crate::topics::source_partitions;

struct Schedulers {
    ground: Ground,
    /// As it is scheduled from its next owner on.
    pool: RwLock<Arc<Pool>>,
    /// What its shards here have.
    figures: Arc<Figures>,
    name: PoolName,
    /// Where its jobs wait: `approved` and `overflow`.
    logs: [TopicName; 2],
}

impl Schedulers {
    fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shards for Schedulers {
    type Stage = Counted;
    const ROLE: Role = Role::Scheduler;

    fn begin(self: &Arc<Self>, shard: u32) -> Result<Begun<Counted>, String> {
        let pool = self.pool();
        let spec =
            pool.shard_spec(shard, &self.ground.process, self.ground.config.pace.clone()).map_err(|e| e.to_string())?;
        let figures = Arc::clone(&self.figures);
        figures.expect(shard);
        let make = move || Counted::new(Scheduler::new(Arc::clone(&pool), shard), shard, Arc::clone(&figures));
        Ok(Begun { spec, make: Box::new(make) })
    }

    fn signals(&self, _shard: u32) -> mpsc::UnboundedReceiver<<Counted as Stage>::Signal> {
        // Nothing comes from outside the spine.
        mpsc::unbounded().1
    }

    fn released(&self, shard: u32) {
        self.figures.forget(shard);
    }

    fn looked(&self, found: &[Behind]) {
        // A shard that is being taken over says nothing: the last figures stand.
        let Some(has) = self.figures.together() else { return };
        let logs = || found.iter().filter(|behind| self.logs.contains(&behind.input.topic));
        let waiting: u64 = logs().map(|behind| behind.unsettled).sum();
        let backlog = waiting + has.requeued as u64;
        let oldest = logs().filter_map(|behind| behind.oldest).max().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
        let asked_for = (backlog + has.leased as u64) as f64;
        let wanted = asked_for / f64::from(self.pool().worker_slots());
        metrics::pool(self.name.as_str(), PoolFigures { backlog, oldest, free: has.free, wanted });
    }
}

/// How long a pool that is to go is looked at: its shards tell what they have once a second, and every 5 s when nothing happens.
const LOOK: Duration = Duration::from_secs(7);
/// How often.
const AGAIN: Duration = Duration::from_millis(50);

/// The schedulers of a pool, held.
pub(crate) struct PoolHosting {
    schedulers: Arc<Schedulers>,
    hosting: Hosting,
}

fn made(reason: impl ToString) -> RoleError {
    RoleError::Made { role: Role::Scheduler, reason: reason.to_string() }
}

/// How limits are borrowed of a limits stage with these terms.
const fn lending(escrow: &tidegate_limits::Tuning) -> Lending {
    // Whoever was refused asks again after `retry_ms`, and waits for `recall_ms` then.
    let owed_ms = 2 * (escrow.retry_ms + escrow.recall_ms);
    Lending {
        partitions: escrow.shards,
        skew: Duration::from_millis(escrow.skew_ms),
        owed_for: Duration::from_millis(owed_ms),
    }
}

fn pool_of(
    config: &Config,
    keys: &Keys,
    pool: &PoolConfig,
    sources: &BTreeMap<SourceName, u32>,
) -> Result<Arc<Pool>, RoleError> {
    let layout = Layout {
        prefix: config.prefix.clone(),
        pool: pool.name().clone(),
        shards: pool.shards,
        buckets: pool.route.buckets,
        lanes: pool.lanes,
        finished_partitions: config.topics.shared_partitions,
        dead_partitions: config.topics.shared_partitions,
        sources: sources.clone(),
        lending: lending(&config.limits.escrow),
    };
    let pool = Pool::new(layout, &pool.tuning).map_err(made)?;
    let pool = pool.operated_by(keys.trust(), keys.people());
    Ok(Arc::new(pool.telling_cloudevents(config.topics.cloudevents)))
}

/// Shows the shards of every pool.
pub(super) fn shards(
    config: &Config,
    keys: &Keys,
    sources: &BTreeMap<SourceName, u32>,
    visitor: &mut impl ShardVisitor,
) -> Result<(), RoleError> {
    for of in &config.pools {
        let pool = pool_of(config, keys, of, sources)?;
        for shard in 0..of.shards {
            let spec = pool.shard_spec(shard, SHOWN, config.pace.clone()).map_err(made)?;
            visitor.shard(spec, &|| Scheduler::new(Arc::clone(&pool), shard));
        }
    }
    Ok(())
}

impl PoolHosting {
    /// Begins the schedulers of a pool.
    pub(crate) async fn begin(
        ground: &Ground,
        pool: &PoolConfig,
        sources: &BTreeMap<SourceName, u32>,
    ) -> Result<Self, RoleError> {
        let prefix = &ground.config.prefix;
        let name = pool.name().clone();
        let named = |topic: Topic| topic.name(prefix).map_err(made);
        let leases = named(Topic::Leases(name.clone()))?;
        let logs = [named(Topic::Approved(name.clone()))?, named(Topic::Overflow(name.clone()))?];
        let group = group(prefix, Role::Scheduler, Some(pool.name().as_str()));
        let pool = RwLock::new(pool_of(&ground.config, &ground.keys, pool, sources)?);
        let schedulers = Arc::new(Schedulers { ground: ground.clone(), pool, figures: Arc::default(), name, logs });
        let hosting = hold(ground.clone(), group, leases, Arc::clone(&schedulers)).await?;
        Ok(Self { schedulers, hosting })
    }

    /// The pool as that configuration has it.
    pub(crate) fn tuned(&self, pool: &PoolConfig, sources: &BTreeMap<SourceName, u32>) -> Result<Arc<Pool>, RoleError> {
        let ground = &self.schedulers.ground;
        pool_of(&ground.config, &ground.keys, pool, sources)
    }

    /// From now on the pool is scheduled so: every shard is taken over again.
    pub(crate) async fn retune(&self, pool: Arc<Pool>) -> Vec<StandsStill> {
        *self.schedulers.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        self.hosting.renew().await
    }

    /// Looks at the shards of it that this process has until they say that they have a job, or are empty, for [`LOOK`] at most.
    pub(crate) async fn left(&self, pool: &PoolConfig) -> Result<Left, StartError> {
        let (spine, [approved, overflow]) = (&self.schedulers.ground.spine, &self.schedulers.logs);
        let deadline = Instant::now() + LOOK;
        loop {
            let since = Instant::now();
            let said = loop {
                let said = self.schedulers.figures.since(since);
                if said.is_some() || Instant::now() >= deadline {
                    break said;
                }
                tokio::time::sleep(AGAIN).await;
            };
            let shards = self.schedulers.figures.shards();
            let buckets = (0..pool.route.buckets).filter(|bucket| shards.contains(&(bucket % pool.shards.max(1))));
            let logs: Vec<_> =
                buckets.flat_map(|bucket| [approved.partition(bucket), overflow.partition(bucket)]).collect();
            let records = unsettled(&**spine, self.hosting.latest(), &logs).await.map_err(StartError::Look)?;
            let left = Left { shards: (shards.len(), pool.shards), jobs: said, records };
            // Records may have been settled since the positions were told.
            if left.is_nothing() || left.jobs.is_some_and(|jobs| jobs > 0) || Instant::now() >= deadline {
                return Ok(left);
            }
        }
    }

    pub(crate) async fn stop(self) {
        self.hosting.stop().await;
        metrics::pool(self.schedulers.name.as_str(), PoolFigures::default());
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
