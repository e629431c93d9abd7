//! Which pool an allowed job goes to, and which of its buckets.

use std::collections::BTreeSet;

use tidegate_protocol::address::{BadTopicName, TopicName, TopicPartition};
use tidegate_protocol::ids::{Capability, PoolName, TenantId};
use tidegate_protocol::job::Job;
use tidegate_protocol::topic_glob::TopicGlob;
use tidegate_protocol::topics::{Topic, partition_of};

/// The capability of a pool that takes every capability: for consumers of one's own behind `approved.<pool>`.
pub const ANY_CAPABILITY: &str = "*";

/// A pool as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What its workers can do; [`ANY_CAPABILITY`] among them means everything.
    pub capabilities: BTreeSet<Capability>,
    /// Job topics it takes, as dotted globs (`*` one segment, a last `>` one or more); none means all.
    pub topics: Vec<TopicGlob>,
    /// Partitions of `approved.<pool>`.
    pub buckets: u32,
    /// How many of them one tenant has, so that a flood fills its own.
    pub tenant_buckets: u32,
    /// Shards of its scheduler = partitions of `withdrawals.<pool>`; bucket b belongs to shard b mod this.
    pub shards: u32,
    /// It takes no new job; what it has goes on, also when it comes back to be judged again, and withdrawals reach it.
    pub draining: bool,
}

/// Pools in the order in which they are asked; the first that takes a job gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    pools: Vec<Routed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Routed {
    pool: Pool,
    approved: TopicName,
    withdrawals: TopicName,
}

/// Pools that cannot be routed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutesRefused {
    /// Two pools of one name.
    #[error("pool `{pool}` is defined twice; give each pool its own name")]
    Duplicate {
        /// The name.
        pool: PoolName,
    },
    /// Numbers of buckets that make no sense.
    #[error(
        "pool `{pool}` has {buckets} buckets with {tenant_buckets} for a tenant; write at least 1, and no more for a tenant than there are"
    )]
    Buckets {
        /// The pool.
        pool: PoolName,
        /// All.
        buckets: u32,
        /// A tenant's.
        tenant_buckets: u32,
    },
    /// Numbers of shards that make no sense.
    #[error("pool `{pool}` has {shards} shards over {buckets} buckets; write at least 1, and no more than buckets")]
    Shards {
        /// The pool.
        pool: PoolName,
        /// All buckets.
        buckets: u32,
        /// The shards.
        shards: u32,
    },
    /// Prefix and pool make no topic name.
    #[error("pool `{pool}` cannot have a topic; choose a shorter name")]
    Topic {
        /// The pool.
        pool: PoolName,
        /// Why.
        source: BadTopicName,
    },
}

impl Pool {
    /// Whether this pool's workers can do what the job needs, and the job is about topics it takes.
    fn takes(&self, job: &Job) -> bool {
        let able = |capability: &Capability| self.capabilities.contains(capability);
        let everything = self.capabilities.iter().any(|c| c.as_str() == ANY_CAPABILITY);
        (everything || (able(&job.capability) && job.requires.iter().all(able)))
            && (self.topics.is_empty() || self.topics.iter().any(|glob| glob.matches(&job.topic)))
    }
}

impl Routes {
    /// Pools in the order in which they are asked. No pools at all are allowed: then every allowed job is unroutable.
    ///
    /// # Errors
    /// [`RoutesRefused`] for the first pool that cannot be routed to.
    pub fn new(pools: Vec<Pool>, prefix: &str) -> Result<Self, RoutesRefused> {
        let mut names = BTreeSet::new();
        let mut routed = Vec::with_capacity(pools.len());
        for pool in pools {
            if !names.insert(pool.name.clone()) {
                return Err(RoutesRefused::Duplicate { pool: pool.name });
            }
            if pool.tenant_buckets == 0 || pool.buckets < pool.tenant_buckets {
                let Pool { name: pool, buckets, tenant_buckets, .. } = pool;
                return Err(RoutesRefused::Buckets { pool, buckets, tenant_buckets });
            }
            if pool.shards == 0 || pool.buckets < pool.shards {
                let Pool { name: pool, buckets, shards, .. } = pool;
                return Err(RoutesRefused::Shards { pool, buckets, shards });
            }
            let named = |topic: Topic| {
                topic.name(prefix).map_err(|source| RoutesRefused::Topic { pool: pool.name.clone(), source })
            };
            let approved = named(Topic::Approved(pool.name.clone()))?;
            let withdrawals = named(Topic::Withdrawals(pool.name.clone()))?;
            routed.push(Routed { pool, approved, withdrawals });
        }
        Ok(Self { pools: routed })
    }

    /// The first pool that takes the job as a new one.
    pub(crate) fn route(&self, job: &Job) -> Option<&PoolName> {
        let mut open = self.pools.iter().filter(|routed| !routed.pool.draining);
        open.find(|routed| routed.pool.takes(job)).map(|routed| &routed.pool.name)
    }

    /// The first draining one that takes it: for what such a pool had already, and to say where it would have gone.
    pub(crate) fn draining(&self, job: &Job) -> Option<&PoolName> {
        let mut draining = self.pools.iter().filter(|routed| routed.pool.draining);
        draining.find(|routed| routed.pool.takes(job)).map(|routed| &routed.pool.name)
    }

    /// The draining pool whose jobs come by `approved`, if it takes this job: for what a running job of its spawned.
    pub(crate) fn draining_at(&self, approved: &TopicName, job: &Job) -> Option<&PoolName> {
        let mut draining = self.pools.iter().filter(|routed| routed.pool.draining && routed.approved == *approved);
        draining.find(|routed| routed.pool.takes(job)).map(|routed| &routed.pool.name)
    }

    /// The bucket of a job in a pool: the tenant has `tenant_buckets` neighbouring ones from the hash of its name on,
    /// and the job's ordering key, else its id, chooses among them, so that one scheduler shard sees all jobs of a key. `None` when there is no such pool any more.
    pub(crate) fn bucket(&self, pool: &PoolName, job: &Job) -> Option<TopicPartition> {
        let routed = self.pools.iter().find(|routed| routed.pool.name == *pool)?;
        let Pool { buckets, tenant_buckets, .. } = routed.pool;
        let first = partition_of(job.tenant.as_str().as_bytes(), buckets);
        let chooses = job.ordering_key.as_deref().unwrap_or(job.id.as_str());
        let chosen = partition_of(chooses.as_bytes(), tenant_buckets);
        Some(routed.approved.partition((first + chosen) % buckets))
    }

    /// Whether jobs may be sent there.
    pub(crate) fn has(&self, to: &TopicPartition) -> bool {
        self.pools.iter().any(|routed| routed.approved == to.topic && to.partition < routed.pool.buckets)
    }

    /// The buckets of a tenant in a pool: every job of its stands in one of them. None when there is no such pool.
    pub(crate) fn tenant_buckets(&self, pool: &PoolName, tenant: &TenantId) -> impl Iterator<Item = TopicPartition> {
        let routed = self.pools.iter().find(|routed| routed.pool.name == *pool);
        routed.into_iter().flat_map(|routed| {
            let Pool { buckets, tenant_buckets, .. } = routed.pool;
            let first = partition_of(tenant.as_str().as_bytes(), buckets);
            (0..tenant_buckets).map(move |chosen| routed.approved.partition((first + chosen) % buckets))
        })
    }

    /// Where the shards that own a tenant's buckets hear of withdrawals. None when there is no such pool.
    pub(crate) fn tenant_withdrawals(
        &self,
        pool: &PoolName,
        tenant: &TenantId,
    ) -> impl Iterator<Item = TopicPartition> {
        let routed = self.pools.iter().find(|routed| routed.pool.name == *pool);
        routed.into_iter().flat_map(|routed| {
            let shard = |bucket: TopicPartition| bucket.partition % routed.pool.shards.max(1);
            let shards: BTreeSet<u32> = self.tenant_buckets(pool, tenant).map(shard).collect();
            shards.into_iter().map(|shard| routed.withdrawals.partition(shard))
        })
    }

    /// Where every shard of every pool hears of withdrawals.
    pub(crate) fn withdrawals(&self) -> impl Iterator<Item = TopicPartition> {
        self.pools.iter().flat_map(|routed| (0..routed.pool.shards).map(|shard| routed.withdrawals.partition(shard)))
    }

    /// Every bucket of every pool.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = TopicPartition> {
        self.pools.iter().flat_map(|routed| (0..routed.pool.buckets).map(|bucket| routed.approved.partition(bucket)))
    }

    /// The pools in order.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(|routed| &routed.pool)
    }
}
