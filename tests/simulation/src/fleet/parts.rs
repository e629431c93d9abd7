//! Kernel and scheduler as they are configured here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_kernel::sources::{FormatWritten, ParentTickets, SourceLimitsWritten, TenantsWritten};
use tidegate_kernel::{
    DEFAULT_RECORD_BYTES, KeptBounds, Kernel, KernelConfig, KernelTopics, PartitionCounts, Pool as Routed, Routes,
    SourceWritten, WindowBounds,
};
use tidegate_limits::{Layout as LimitsLayout, Limits, LimitsConfig, Tuning as LimitsTuning};
use tidegate_policy::Snapshot;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{Capability, PoolName, SourceName, TenantId};
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{CapabilityLimit, Layout, Lending, Pool, Scheduler, TenantShare, Tuning};
use tidegate_stage::{ShardSpec, Signal, Stage};

use crate::chance::Chance;
use crate::keys;
use crate::plants::Plant;
use crate::relay::scenario::pace;

/// The prefix of all topics.
pub const PREFIX: &str = "t.";
/// Kernel shards.
pub const KERNELS: u32 = 2;
/// Lanes of the pool.
pub const LANES: u32 = 2;
/// Buckets of the pool.
pub const BUCKETS: u32 = 2;
/// A lease, milliseconds.
pub const LEASE_MS: u64 = 2_400;
/// Longest first pause of a job that is tried again, milliseconds.
pub const BACKOFF_MS: u64 = 300;
/// Longest pause of one, milliseconds.
pub const MAX_BACKOFF_MS: u64 = 2_000;
/// The tenant whose leases may be limited.
pub const LIMITED: &str = TENANTS[0];
/// The capability that may be limited.
pub const SCARCE: &str = "sum";
/// With a rate, the most at a time.
pub const BURST: u32 = 2;
/// The clocks' allowance: twice what a runner tolerates, and a margin for drift.
pub const SKEW: Duration = Duration::from_millis(1_000);
/// Tenants that the source may speak for.
pub const TENANTS: [&str; 2] = ["acme", "globex"];

/// The pool's name.
#[must_use]
pub fn pool_name() -> PoolName {
    PoolName::new("p").unwrap()
}

/// A topic's full name.
#[must_use]
pub fn named(name: &str) -> TopicName {
    TopicName::new(format!("{PREFIX}{name}")).unwrap()
}

/// The kernel of one partition, for a pool of so many shards and with tickets that live so long.
#[must_use]
pub fn kernel_config(shard: u32, shards: u32, ticket_ttl: Duration) -> KernelConfig {
    let source = SourceWritten {
        name: "jobs.raw".into(),
        topic: None,
        format: FormatWritten::TidegateJson,
        mapping: None,
        tenants: TenantsWritten::Allowed(TENANTS.map(str::to_owned).to_vec()),
        observe: false,
        parent_ticket: ParentTickets::Accepted,
        ticket_ttl_ms: None,
        limits: SourceLimitsWritten::default(),
    };
    let source = source.checked().unwrap();
    let pool = Routed {
        name: pool_name(),
        capabilities: BTreeSet::from([Capability::new("echo").unwrap(), Capability::new("sum").unwrap()]),
        topics: Vec::new(),
        buckets: BUCKETS,
        tenant_buckets: BUCKETS,
        draining: false,
        shards,
    };
    let partitions = PartitionCounts { denied: 1, held: 1, finished: 1, dead: 1, limits: 1 };
    KernelConfig {
        shard,
        routes: Arc::new(Routes::new(vec![pool], PREFIX).unwrap()),
        topics: Arc::new(KernelTopics::new(PREFIX, &source, partitions).unwrap()),
        source: Arc::new(source),
        max_record_bytes: DEFAULT_RECORD_BYTES,
        window: WindowBounds { age: Duration::from_mins(10), ids: 1_000 },
        kept: KeptBounds { jobs: 100, bytes: 1 << 20 },
        wallet: tidegate_kernel::wallet::WalletBounds::default(),
        trust: keys::stages(),
        people: keys::stages(),
        ticket_ttl,
        ticket_ttl_elsewhere: Duration::ZERO,
        delegation: tidegate_kernel::DelegationBounds::default(),
    }
}

/// A kernel with its policy.
#[must_use]
pub fn kernel(config: &KernelConfig, policy: Arc<Snapshot>) -> Kernel {
    let mut kernel = Kernel::new(config.clone()).unwrap();
    kernel.observe(Signal::Outside(policy), Timestamp::default());
    kernel
}

/// A kernel shard's spec.
#[must_use]
pub fn kernel_spec(seed: u64, config: &KernelConfig) -> ShardSpec {
    let pace = pace(seed, &format!("kernel {}", config.shard));
    let mut spec = tidegate_kernel::shard_spec(config, "", pace.clone()).unwrap();
    spec.pace = pace;
    spec
}

fn limits_config(shards: u32) -> LimitsConfig {
    let sources = BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), KERNELS)]);
    let pools = BTreeMap::from([(pool_name(), shards)]);
    let skew_ms = u64::try_from(SKEW.as_millis()).unwrap();
    let tuning =
        LimitsTuning { shards: 1, holding_ms: 1_500, skew_ms, recall_ms: 60, retry_ms: 30, ..LimitsTuning::default() };
    LimitsConfig::new(&LimitsLayout { prefix: PREFIX.into(), sources, pools }, &tuning).unwrap()
}

/// The shard that lends a pool of so many shards its limits.
#[must_use]
pub fn limits(shards: u32) -> Limits {
    Limits::new(limits_config(shards))
}

/// Its spec.
#[must_use]
pub fn limits_spec(seed: u64, shards: u32) -> ShardSpec {
    limits_config(shards).shard_spec(0, "", pace(seed, "limits")).unwrap()
}

/// What the pool of a seed promises.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Its shards.
    pub shards: u32,
    /// Attempts that may fail.
    pub attempts: u32,
    /// Most leases of [`LIMITED`] at once, over all shards.
    pub most_leased: Option<u32>,
    /// Most leases at once of jobs that need [`SCARCE`], over all tenants and shards.
    pub most_scarce: Option<u32>,
    /// Most of [`LIMITED`]'s jobs that begin in a second; [`BURST`] at a time.
    pub per_second: Option<u32>,
    /// A job that is told to stop has so long, milliseconds.
    pub grace_ms: u64,
    /// A job that makes no progress is stopped after this, milliseconds.
    pub progress_ms: Option<u64>,
    /// A verdict may wait for a worker for so long.
    pub ticket_ttl: Duration,
    /// Both tenants have more jobs than workers can run, nothing limits them, and every worker can run each of them: whose
    /// turn it is can be told ([`super::turns`]).
    pub contended: bool,
}

/// The terms by seed.
#[must_use]
pub fn terms(seed: u64) -> Terms {
    let mut chance = Chance::new(seed, "terms");
    let mut own = Chance::new(seed, "limits of the pool");
    let shards = if chance.percent(40) { BUCKETS } else { 1 };
    let terms = Terms {
        shards,
        attempts: u32::try_from(chance.within(2..6)).unwrap_or(3),
        // One shard counts alone, several are lent their parts.
        most_leased: match shards {
            1 => chance.percent(60).then_some(1),
            _ => own.percent(70).then(|| u32::try_from(own.within(1..4)).unwrap_or(1)),
        },
        most_scarce: own.percent(40).then_some(1),
        per_second: (shards > 1 && own.percent(40)).then_some(5),
        grace_ms: chance.within(200..3_000),
        progress_ms: chance.percent(40).then(|| chance.within(1_000..3_000)),
        // In half of the runs tickets expire while jobs wait.
        ticket_ttl: match chance.percent(50) {
            true => Duration::from_millis(chance.within(600..2_500)),
            false => tidegate_kernel::DEFAULT_TICKET_TTL,
        },
        contended: false,
    };
    match Chance::new(seed, "contended").percent(25) {
        true => Terms {
            most_leased: None,
            most_scarce: None,
            per_second: None,
            ticket_ttl: tidegate_kernel::DEFAULT_TICKET_TTL,
            contended: true,
            ..terms
        },
        false => terms,
    }
}

/// A tenant's weight.
#[must_use]
pub fn weight(tenant: &str) -> u32 {
    if tenant == LIMITED { 3 } else { 1 }
}

/// Whether workers that are silent are forgotten within the run; else what a former life said stands until the end.
#[must_use]
pub fn forgets_soon(seed: u64) -> bool {
    Chance::new(seed, "forgetting").percent(50)
}

/// The pool with bounds by seed, without those that `plant` says are ignored.
#[must_use]
pub fn pool(seed: u64, plant: Plant) -> Arc<Pool> {
    let mut chance = Chance::new(seed, "pool");
    let terms = terms(seed);
    let Terms { most_leased: max_leased, per_second, .. } = terms;
    let limited = plant != Plant::ShareIgnored;
    let share = TenantShare { max_leased, weight: weight(LIMITED), per_second, burst: per_second.and(Some(BURST)) };
    let scarce = CapabilityLimit { max_leased: terms.most_scarce, ..CapabilityLimit::default() };
    let capabilities = limited.then(|| (Capability::new(SCARCE).unwrap(), scarce)).into_iter().collect();
    let mut tenants: BTreeMap<_, _> = limited.then(|| (TenantId::new(LIMITED).unwrap(), share)).into_iter().collect();
    if plant == Plant::OutOfTurn {
        let other = TenantShare { weight: 100, ..TenantShare::default() };
        tenants.insert(TenantId::new(TENANTS[1]).unwrap(), other);
    }
    let layout = Layout {
        prefix: PREFIX.into(),
        pool: pool_name(),
        shards: terms.shards,
        buckets: BUCKETS,
        lanes: LANES,
        finished_partitions: 1,
        dead_partitions: 1,
        sources: BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), KERNELS)]),
        lending: Lending { partitions: 1, skew: SKEW, owed_for: Duration::from_millis(200) },
    };
    let tuning = Tuning {
        lease_ms: LEASE_MS,
        heartbeat_ms: Some(chance.within(200..LEASE_MS / 3)),
        max_attempts: terms.attempts,
        backoff_ms: BACKOFF_MS,
        max_backoff_ms: MAX_BACKOFF_MS,
        cancel_grace_ms: terms.grace_ms,
        progress_timeout_ms: terms.progress_ms.filter(|_| plant != Plant::StallIgnored),
        tenants,
        capabilities,
        window_jobs: usize::try_from(if terms.contended { chance.within(40..80) } else { chance.within(2..20) })
            .unwrap_or(5),
        forget_after_ms: if forgets_soon(seed) { 4_000 } else { 600_000 },
        ..Tuning::default()
    };
    Arc::new(Pool::new(layout, &tuning).unwrap())
}

/// A scheduler of the pool.
#[must_use]
pub fn scheduler(pool: &Arc<Pool>, shard: u32) -> Scheduler {
    Scheduler::new(pool.clone(), shard)
}

/// A scheduler shard's spec.
#[must_use]
pub fn scheduler_spec(seed: u64, pool: &Pool, shard: u32) -> ShardSpec {
    pool.shard_spec(shard, "", pace(seed, &format!("scheduler {shard}"))).unwrap()
}
