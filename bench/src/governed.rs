//! The Tidegate side: kernels, a scheduler and a no-op worker, as the roles run them, in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::{mpsc, oneshot};
use tidegate_kernel::{
    KeptBounds, Kernel, KernelConfig, KernelTopics, PartitionCounts, Pool, Routes, SourceWritten, WindowBounds,
};
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_limits::{Limits, LimitsConfig};
use tidegate_node::clock::TokioClock;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::command::Nobody;
use tidegate_protocol::ids::{Capability, KeyId, PoolName, SenderId, SourceName, TenantId, WorkerId};
use tidegate_protocol::signature::{Role, Sign, Trust};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::Topic;
use tidegate_scheduler::{Layout, Lending, Scheduler, TenantShare, Tuning};
use tidegate_spine::{Cleanup, Spine, TopicSpec};
use tidegate_stage::{Clock, Pace, Rules, Run, ShardEvent, Signal, Stage, Watch};
use tidegate_worker::{Context, Ending, Worker};
use tokio::task::JoinHandle;

use crate::board::Board;
use crate::policy::{Weight, policy};

/// Partitions of the topics all share.
pub(crate) const SHARED: u32 = 4;
/// Buckets of the pool.
pub(crate) const BUCKETS: u32 = 4;
/// The tenant of every job.
pub(crate) const TENANT: &str = "bench";
/// Lanes of the pool.
const LANES: u32 = 4;

/// As a node has it with the default terms of the limits stage.
const LENDING: Lending =
    Lending { partitions: SHARED, skew: Duration::from_secs(5), owed_for: Duration::from_millis(1_500) };

struct Log;

impl Watch for Log {
    fn event(&self, shard: &SenderId, event: &ShardEvent) {
        match event {
            ShardEvent::Positions(_) | ShardEvent::TrimWanted { .. } | ShardEvent::Checkpoint { .. } => {}
            ShardEvent::Ended(tidegate_stage::Ended::Stopped) | ShardEvent::Owning { .. } => {
                tracing::debug!(%shard, ?event);
            }
            ShardEvent::Ended(_)
            | ShardEvent::FenceStalls { .. }
            | ShardEvent::InputLost { .. }
            | ShardEvent::LossAccepted { .. } => {
                tracing::error!(%shard, ?event, "a shard of the bench failed");
            }
        }
    }
}

/// Names of one run.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) prefix: String,
    pub(crate) source: SourceName,
    pub(crate) pool: PoolName,
}

impl Names {
    pub(crate) fn new(prefix: String) -> anyhow::Result<Self> {
        Ok(Self { prefix, source: SourceName::new("jobs.raw")?, pool: PoolName::new("bench")? })
    }

    pub(crate) fn topic(&self, topic: &Topic) -> anyhow::Result<TopicName> {
        Ok(topic.name(&self.prefix)?)
    }

    /// Every topic of the run.
    pub(crate) fn specs(&self, partitions: u32, shards: u32) -> anyhow::Result<Vec<TopicSpec>> {
        let (source, pool) = (&self.source, &self.pool);
        let all = [
            (Topic::Raw(source.clone()), partitions),
            (Topic::Decisions(source.clone()), partitions),
            (Topic::Commands(source.clone()), partitions),
            (Topic::Outcomes(source.clone()), partitions),
            (Topic::Grants(source.clone()), partitions),
            (Topic::LimitRequests, SHARED),
            (Topic::LimitFacts, SHARED),
            (Topic::Approved(pool.clone()), BUCKETS),
            (Topic::Overflow(pool.clone()), BUCKETS),
            (Topic::Withdrawals(pool.clone()), shards),
            (Topic::Denied, SHARED),
            (Topic::Held, SHARED),
            (Topic::Work(pool.clone()), LANES),
            (Topic::Reports(pool.clone()), shards),
            (Topic::Leases(pool.clone()), shards),
            (Topic::PoolCommands(pool.clone()), shards),
            (Topic::PoolGrants(pool.clone()), shards),
            (Topic::Finished, SHARED),
            (Topic::Dead, SHARED),
            (Topic::Snapshots, 1),
            (Topic::Shards, 1),
            (Topic::AuditCheckpoints, 1),
        ];
        all.into_iter()
            .map(|(topic, partitions)| {
                let keyed = matches!(topic, Topic::Snapshots | Topic::Shards);
                Ok(TopicSpec {
                    name: self.topic(&topic)?,
                    partitions,
                    cleanup: if keyed { Cleanup::Keyed } else { Cleanup::Log { retention_ms: None } },
                    max_record_bytes: 1 << 20,
                    broker_time: matches!(topic, Topic::Decisions(_) | Topic::Leases(_) | Topic::LimitFacts),
                    replication: None,
                })
            })
            .collect()
    }
}

/// A worker of `slots` whose handlers say that they were called, and take their time.
pub(crate) struct Workers {
    pub(crate) slots: u32,
    /// How long in the mean; zero: they do nothing.
    pub(crate) work: Duration,
    pub(crate) board: Board,
    pub(crate) pool: PoolTerms,
}

/// What the pool is.
#[derive(Clone, Copy)]
pub(crate) struct PoolTerms {
    pub(crate) shards: u32,
    /// Leases at once over all shards, of the one tenant that the load speaks for.
    pub(crate) max_leased: Option<u32>,
}

impl PoolTerms {
    /// Whether its shards borrow of the limits stage.
    const fn borrows(self) -> bool {
        self.shards > 1 && self.max_leased.is_some()
    }

    fn tuning(self) -> anyhow::Result<Tuning> {
        let share = TenantShare { max_leased: self.max_leased, ..TenantShare::default() };
        Ok(Tuning { tenants: BTreeMap::from([(TenantId::new(TENANT)?, share)]), ..Tuning::default() })
    }
}

/// How long the job at `offset` takes: from half the mean to one and a half times it, evenly. Jobs that all took as long would end and
/// begin in step, and who comes between would wait for all of them.
fn takes(mean: Duration, offset: u64) -> Duration {
    // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): neighbours lie far apart.
    let spread = offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    mean / 2 + mean * u32::try_from(spread).unwrap_or(0) / (1 << 16)
}

/// The roles at work.
pub(crate) struct Governed {
    keys: (Arc<dyn Sign>, Arc<dyn Trust>),
    stops: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
    worker: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// A key of the run's stages, made for it.
fn keys() -> anyhow::Result<(Arc<dyn Sign>, Arc<dyn Trust>)> {
    let secret = SecretKey::generate(KeyId::new("bench")?)?;
    let (id, public) = (secret.key().clone(), secret.public());
    let trusted = Trusted { id, public, person: None, roles: vec![Role::AnyStage], tenants: None, until_ms: None };
    Ok((Arc::new(secret), Arc::new(Keyring::new([trusted])?)))
}

impl Governed {
    /// Starts a kernel a partition, with limits their stage, with `workers` a scheduler and a worker
    /// too; without `signed` nothing is signed or checked. Topics exist.
    pub(crate) fn start(
        spine: &Arc<dyn Spine>,
        names: &Names,
        partitions: u32,
        weight: Weight,
        workers: Option<Workers>,
        pace: &Pace,
        signed: bool,
    ) -> anyhow::Result<Self> {
        let written: SourceWritten =
            serde_json::from_value(serde_json::json!({ "name": "jobs.raw", "tenants": "any" }))?;
        let source = Arc::new(written.checked()?);
        let terms = workers.as_ref().map_or(PoolTerms { shards: 1, max_leased: None }, |workers| workers.pool);
        let pool = Pool {
            name: names.pool.clone(),
            capabilities: BTreeSet::from([Capability::new("noop")?]),
            topics: Vec::new(),
            buckets: BUCKETS,
            tenant_buckets: BUCKETS,
            draining: false,
            shards: terms.shards,
        };
        let routes = Arc::new(Routes::new(vec![pool], &names.prefix)?);
        let shared = PartitionCounts { denied: SHARED, held: SHARED, finished: SHARED, dead: SHARED, limits: SHARED };
        let topics = Arc::new(KernelTopics::new(&names.prefix, &source, shared)?);
        let snapshot = Arc::new(policy(weight)?);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let mut governed = Self {
            keys: if signed { keys()? } else { crate::unsigned::keys()? },
            stops: Vec::new(),
            tasks: Vec::new(),
            worker: None,
        };
        for shard in 0..partitions {
            let config = KernelConfig {
                source: source.clone(),
                shard,
                routes: routes.clone(),
                topics: topics.clone(),
                max_record_bytes: 1_000_000,
                window: WindowBounds::default(),
                kept: KeptBounds::default(),
                wallet: tidegate_kernel::wallet::WalletBounds::default(),
                ticket_ttl: tidegate_kernel::DEFAULT_TICKET_TTL,
                ticket_ttl_elsewhere: std::time::Duration::ZERO,
                delegation: tidegate_kernel::DelegationBounds::default(),
                trust: Arc::new(Nobody),
                people: Arc::new(Nobody),
            };
            Kernel::new(config.clone())?;
            let spec = tidegate_kernel::shard_spec(&config, "bench", pace.clone())?;
            let snapshot = snapshot.clone();
            let make = move || {
                let mut kernel = match Kernel::new(config.clone()) {
                    Ok(kernel) => kernel,
                    Err(error) => unreachable!("checked before: {error}"),
                };
                kernel.observe(Signal::Outside(snapshot.clone()), Timestamp::default());
                kernel
            };
            governed.run(spine, &clock, spec, make);
        }
        if weight.limits > 0 || terms.borrows() {
            let sources = BTreeMap::from([(names.source.clone(), partitions)]);
            let pools = terms.borrows().then(|| (names.pool.clone(), terms.shards)).into_iter().collect();
            let layout = tidegate_limits::Layout { prefix: names.prefix.clone(), sources, pools };
            let tuning = tidegate_limits::Tuning { shards: SHARED, ..tidegate_limits::Tuning::default() };
            let limits = LimitsConfig::new(&layout, &tuning)?;
            for shard in 0..SHARED {
                let (spec, limits) = (limits.shard_spec(shard, "bench", pace.clone())?, limits.clone());
                governed.run(spine, &clock, spec, move || Limits::new(limits.clone()));
            }
        }
        let Some(Workers { slots, work, board, .. }) = workers else { return Ok(governed) };
        let layout = Layout {
            prefix: names.prefix.clone(),
            pool: names.pool.clone(),
            shards: terms.shards,
            buckets: BUCKETS,
            lanes: LANES,
            finished_partitions: SHARED,
            dead_partitions: SHARED,
            sources: BTreeMap::from([(names.source.clone(), partitions)]),
            lending: LENDING,
        };
        let pool = Arc::new(tidegate_scheduler::Pool::new(layout, &terms.tuning()?)?);
        for shard in 0..terms.shards {
            let (spec, pool) = (pool.shard_spec(shard, "bench", pace.clone())?, pool.clone());
            governed.run(spine, &clock, spec, move || Scheduler::new(pool.clone(), shard));
        }
        let trust = governed.keys.1.clone();
        let worker = Worker::builder(names.pool.clone(), WorkerId::new("bench-worker")?, trust)
            .capability("noop", move |context: Context| {
                let source = &context.job().source;
                board.started((source.partition, source.offset));
                let takes = takes(work, source.offset);
                async move {
                    if !takes.is_zero() {
                        tokio::time::sleep(takes).await;
                    }
                    Ending::Succeeded(None)
                }
            })
            .concurrency(slots)
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (spine, prefix) = (spine.clone(), names.prefix.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = worker.run(spine, &prefix, stopped.map(|_| ())).await {
                tracing::error!(%error, "the worker of the bench failed");
            }
        });
        governed.worker = Some((stop, task));
        Ok(governed)
    }

    fn run<S: Stage + Send + 'static>(
        &mut self,
        spine: &Arc<dyn Spine>,
        clock: &Arc<dyn Clock>,
        spec: tidegate_stage::ShardSpec,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) {
        let (stop, stopped) = oneshot::channel();
        let run = Run {
            spec,
            spine: spine.clone(),
            clock: clock.clone(),
            make: Box::new(make),
            signals: mpsc::unbounded().1,
            stop: stopped,
            signer: self.keys.0.clone(),
            trust: self.keys.1.clone(),
            watch: Arc::new(Log),
            rules: Rules::default(),
        };
        self.stops.push(stop);
        self.tasks.push(tokio::spawn(run.run()));
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) {
        if let Some((stop, task)) = self.worker {
            drop(stop);
            drop(task.await);
        }
        drop(self.stops);
        for task in self.tasks {
            drop(task.await);
        }
    }
}
