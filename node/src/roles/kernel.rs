//! The role kernel: one group per source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::channel::mpsc;
use tidegate_kernel::{Kernel, KernelConfig, KernelTopics, PartitionCounts, Routes, Source, StandingView, shard_spec};
use tidegate_policy::Snapshot;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Pace, ShardSpec, Signal, Stage};

use super::every::{SHOWN, ShardVisitor};
use super::shards::{Begun, Hosting, Relay, RoleError, Shards, StandsStill, hold};
use super::{Ground, Role, group};
use crate::config::{Config, Keys};

struct Kernels {
    ground: Ground,
    source: Arc<Source>,
    routes: RwLock<Arc<Routes>>,
    topics: Arc<KernelTopics>,
    policies: Relay<Arc<Snapshot>>,
    /// The standing of each shard's present kernel, for readiness.
    standings: Mutex<BTreeMap<u32, StandingView>>,
}

impl Kernels {
    fn config(&self, shard: u32) -> KernelConfig {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        config_of(&self.ground.config, &self.ground.keys, (&self.source, shard), (&routes, &self.topics))
    }

    fn standings(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, StandingView>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel of a shard is made from.
fn config_of(
    config: &Config,
    keys: &Keys,
    (source, shard): (&Arc<Source>, u32),
    (routes, topics): (&Arc<Routes>, &Arc<KernelTopics>),
) -> KernelConfig {
    KernelConfig {
        source: Arc::clone(source),
        shard,
        routes: Arc::clone(routes),
        topics: Arc::clone(topics),
        max_record_bytes: config.limits.record_bytes,
        window: config.limits.seen,
        kept: config.limits.kept,
        wallet: config.limits.wallet,
        ticket_ttl: config.tickets.of(source),
        ticket_ttl_elsewhere: config.sources.iter().map(|of| config.tickets.of(of)).max().unwrap_or_default(),
        delegation: config.tickets.delegation,
        trust: keys.trust(),
        people: keys.people(),
    }
}

fn topics_of(config: &Config, source: &Source) -> Result<KernelTopics, RoleError> {
    let shared = config.topics.shared_partitions;
    let partitions = PartitionCounts {
        denied: shared,
        held: shared,
        finished: shared,
        dead: shared,
        limits: config.limits.escrow.shards,
    };
    let mut topics = KernelTopics::new(&config.prefix, source, partitions).map_err(made)?;
    topics.cloudevents = config.topics.cloudevents;
    Ok(topics)
}

/// A kernel's shard, and what makes its stages: whatever would keep one from being made is found here.
#[expect(clippy::panic, reason = "the same kernel was made just before")]
fn shard_of(of: KernelConfig, process: &str, pace: Pace) -> Result<(ShardSpec, impl Fn() -> Kernel + use<>), String> {
    let spec = shard_spec(&of, process, pace).map_err(|e| e.to_string())?;
    Kernel::new(of.clone()).map_err(|e| e.to_string())?;
    let make = move || match Kernel::new(of.clone()) {
        Ok(kernel) => kernel,
        Err(refused) => panic!("{refused}"),
    };
    Ok((spec, make))
}

fn made(reason: impl ToString) -> RoleError {
    RoleError::Made { role: Role::Kernel, reason: reason.to_string() }
}

/// Shows the shards of every source; their kernels have no policy.
pub(super) fn shards(
    config: &Config,
    keys: &Keys,
    sources: &BTreeMap<SourceName, u32>,
    visitor: &mut impl ShardVisitor,
) -> Result<(), RoleError> {
    let routes = Arc::new(config.routes().map_err(made)?);
    for source in &config.sources {
        let topics = Arc::new(topics_of(config, source)?);
        for shard in 0..sources.get(source.name()).copied().unwrap_or(0) {
            let of = config_of(config, keys, (source, shard), (&routes, &topics));
            let (spec, make) = shard_of(of, SHOWN, config.pace.clone()).map_err(made)?;
            visitor.shard(spec, &make);
        }
    }
    Ok(())
}

impl Shards for Kernels {
    type Stage = Kernel;
    const ROLE: Role = Role::Kernel;

    fn begin(self: &Arc<Self>, shard: u32) -> Result<Begun<Kernel>, String> {
        let (config, pace) = (self.config(shard), self.ground.config.pace.clone());
        let (spec, made) = shard_of(config, &self.ground.process, pace)?;
        let kernels = Arc::clone(self);
        let make = Box::new(move || {
            let mut kernel = made();
            if let Some(policy) = kernels.ground.policy.borrow().clone() {
                kernel.observe(Signal::Outside(policy), Timestamp(0));
            }
            kernels.standings().insert(shard, kernel.standing());
            kernel
        });
        Ok(Begun { spec, make })
    }

    fn signals(&self, _shard: u32) -> mpsc::UnboundedReceiver<Arc<Snapshot>> {
        self.policies.subscribe()
    }

    fn released(&self, shard: u32) {
        self.standings().remove(&shard);
    }
}

/// The kernels of a source, held.
pub(crate) struct SourceHosting {
    kernels: Arc<Kernels>,
    hosting: Hosting,
}

impl SourceHosting {
    /// From now on jobs go there: every shard is taken over again, so that its claim names the pools that it may write to.
    pub(crate) async fn reroute(&self, routes: &Arc<Routes>) -> Vec<StandsStill> {
        *self.kernels.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(routes);
        self.hosting.renew().await
    }

    pub(crate) async fn stop(self) {
        self.hosting.stop().await;
    }
}

/// Begins the kernels of every source.
pub(crate) async fn kernels(ground: &Ground) -> Result<Vec<SourceHosting>, RoleError> {
    let routes = Arc::new(ground.config.routes().map_err(made)?);
    let mut hostings = Vec::new();
    for source in &ground.config.sources {
        let topics = topics_of(&ground.config, source)?;
        let decisions = topics.decisions.clone();
        let kernels = Arc::new(Kernels {
            ground: ground.clone(),
            source: Arc::clone(source),
            routes: RwLock::new(Arc::clone(&routes)),
            topics: Arc::new(topics),
            policies: Relay::new(),
            standings: Mutex::new(BTreeMap::new()),
        });
        let weak = Arc::downgrade(&kernels);
        ground.board.ask(move || {
            let Some(kernels) = weak.upgrade() else { return Vec::new() };
            let unready = |(shard, view): (&u32, &StandingView)| {
                let standing = view.get();
                (!standing.is_ready()).then(|| format!("kernel.{}/{shard}: {standing}", kernels.source.name()))
            };
            kernels.standings().iter().filter_map(unready).collect()
        });
        tokio::spawn(tell_policies(Arc::downgrade(&kernels), ground.policy.clone()));
        let group = group(&ground.config.prefix, Role::Kernel, Some(source.name().as_str()));
        let hosting = hold(ground.clone(), group, decisions, Arc::clone(&kernels)).await?;
        hostings.push(SourceHosting { kernels, hosting });
    }
    Ok(hostings)
}

/// Hands every new policy to the shards of the moment, for as long as there are kernels.
async fn tell_policies(kernels: std::sync::Weak<Kernels>, mut policy: crate::policy_folder::Current) {
    while policy.changed().await.is_ok() {
        let Some(kernels) = kernels.upgrade() else { return };
        let new = policy.borrow_and_update().clone();
        if let Some(new) = new {
            kernels.policies.send(&new);
        }
    }
}
