//! Kernels, limits shards and a scheduler as they are configured here.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_kernel::wallet::{WalletBounds, WalletBugs};
use tidegate_kernel::{Kernel, KernelConfig};
use tidegate_limits::{Layout as LimitsLayout, Limits, LimitsConfig, Planted, Tuning as LimitsTuning};
use tidegate_policy::Snapshot;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{Layout, Pool, Tuning};
use tidegate_stage::{ShardSpec, Signal, Stage};

use crate::fleet::parts as fleet;
use crate::plants::LimitsPlant;
use crate::relay::scenario::pace;

/// Kernel shards.
pub const KERNELS: u32 = 3;
/// Limits shards.
pub const LENDERS: u32 = 2;
/// The clocks' allowance: twice what a runner tolerates, and a margin for drift.
pub const SKEW: Duration = Duration::from_millis(1_000);

const POLICY: &str = "
id: lending
revision: 1
rules:
  - { id: fine, match: { topics: [job.>] }, decision: allow }
  - { id: few, match: { topics: [job.few] }, state: [{ count_within: jobs, key: [tenant], window: 900ms, gt: 2 }], decision: deny }
  - { id: sum, match: { topics: [job.sum] }, state: [{ sum_within: job.n, key: [tenant], window: 700ms, gt: 12 }], decision: deny }
  - { id: values, match: { topics: [job.sum] }, state: [{ count_distinct_within: job.n, key: [tenant], window: 2s, gt: 4 }], decision: deny }
  - { id: places, match: { topics: [job.place] }, state: [{ concurrency: jobs, key: [tenant], gt: 2, window: 5s }], decision: deny }
  - { id: tokens, match: { topics: [job.tokens] }, state: [{ budget: tokens, reserve: job.n, key: [tenant], window: 3s, gt: 15 }], decision: deny }
  - { id: slow, match: { topics: [job.slow] }, state: [{ rate: jobs, key: [tenant], per: 1s, gt: 4, burst: 2 }], decision: throttle,
      throttle: { retry_after: 200ms, give_up_after: 2s } }
";

/// Topics of jobs.
pub const TOPICS: [&str; 6] = ["job.few", "job.sum", "job.place", "job.tokens", "job.slow", "job.free"];

fn policy() -> Arc<Snapshot> {
    static SNAPSHOT: OnceLock<Arc<Snapshot>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| Arc::new(tidegate_policy::load([("lending.yaml", POLICY)], None).unwrap())).clone()
}

/// The kernel of one partition.
#[must_use]
pub fn kernel_config(shard: u32) -> KernelConfig {
    let config = fleet::kernel_config(shard, 1, tidegate_kernel::DEFAULT_TICKET_TTL);
    let mut topics = (*config.topics).clone();
    topics.partitions.limits = LENDERS;
    let wallet = WalletBounds { skew: SKEW, ..WalletBounds::default() };
    KernelConfig { topics: Arc::new(topics), wallet, ..config }
}

/// A kernel with its policy, and with what is planted.
#[must_use]
pub fn kernel(config: &KernelConfig, plant: LimitsPlant) -> Kernel {
    let bugs = WalletBugs {
        window_short: plant == LimitsPlant::WindowBoundary,
        settle_twice: plant == LimitsPlant::SettleTwice,
        redrive_open: plant == LimitsPlant::RedriveUnsettled,
    };
    let mut kernel = Kernel::new(config.clone()).unwrap().with_wallet_bugs(bugs);
    kernel.observe(Signal::Outside(policy()), Timestamp::default());
    kernel
}

/// How limits are lent here.
#[must_use]
pub fn limits_config() -> LimitsConfig {
    let sources = BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), KERNELS)]);
    let skew_ms = u64::try_from(SKEW.as_millis()).unwrap();
    let tuning = LimitsTuning {
        shards: LENDERS,
        holding_ms: 1_500,
        skew_ms,
        recall_ms: 60,
        retry_ms: 30,
        ..LimitsTuning::default()
    };
    LimitsConfig::new(&LimitsLayout { prefix: fleet::PREFIX.into(), sources, pools: BTreeMap::new() }, &tuning).unwrap()
}

/// A limits shard, with what is planted.
#[must_use]
pub fn limits(config: &LimitsConfig, plant: LimitsPlant) -> Limits {
    Limits::new(config.clone()).with_bugs(Planted { grant_twice: plant == LimitsPlant::GrantTwice })
}

/// A limits shard's spec.
#[must_use]
pub fn limits_spec(seed: u64, config: &LimitsConfig, shard: u32) -> ShardSpec {
    config.shard_spec(shard, "", pace(seed, &format!("limits {shard}"))).unwrap()
}

/// The pool: it tells the kernels how jobs end.
#[must_use]
pub fn pool() -> Arc<Pool> {
    let layout = Layout {
        prefix: fleet::PREFIX.into(),
        pool: fleet::pool_name(),
        shards: 1,
        buckets: fleet::BUCKETS,
        lanes: fleet::LANES,
        finished_partitions: 1,
        dead_partitions: 1,
        sources: BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), KERNELS)]),
        lending: tidegate_scheduler::Lending::default(),
    };
    Arc::new(Pool::new(layout, &Tuning { window_jobs: 1_000, ..Tuning::default() }).unwrap())
}
