//! The HTTP API's side of a process: the view of jobs, what workers say, leases over HTTP.
//!
//! It follows the pools of the configuration: [`GatewayHosting::goes_on_with`] has it know others while it runs. The view reads the
//! facts of a pool that comes from their start, so nothing of it is missed whenever that is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_gateway::claim_check::ClaimCheck;
use tidegate_gateway::commands::{CommandTopic, Commands};
use tidegate_gateway::fleet::{Fleet, FleetPool};
use tidegate_gateway::http::Api;
use tidegate_gateway::key::Key;
use tidegate_gateway::leasing::{Leasing, Place, Terms};
use tidegate_gateway::progress::Progress;
use tidegate_gateway::submit::{SubmitSource, Submitter};
use tidegate_gateway::view::tail::ViewTopics;
use tidegate_gateway::view::{Bounds, View, tail};
use tidegate_kernel::{Format, ParentTickets};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Spine, SpineError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Ground, Roles};
use crate::config::{Config, Keys};
use crate::doctor::Running;
use crate::process::{StartError, host_name};
use crate::topics::{Named, WantedError};

/// The HTTP API's side of a process.
pub(crate) struct GatewayHosting {
    view: Arc<View>,
    fleet: Arc<Fleet>,
    leasing: Arc<Leasing>,
    progress: Arc<Progress>,
    topics: watch::Sender<ViewTopics>,
    config: watch::Sender<Arc<Config>>,
    keys: Keys,
    tasks: Vec<JoinHandle<()>>,
}

/// The pools of a configuration, as the HTTP API knows them.
pub(crate) struct Pools {
    config: Config,
    topics: ViewTopics,
    fleet: Vec<FleetPool>,
    reports: BTreeMap<PoolName, TopicName>,
    terms: BTreeMap<PoolName, Terms>,
}

impl GatewayHosting {
    /// Begins to read; what HTTP answers from.
    pub(crate) async fn begin(
        ground: &Ground,
        roles: &Roles,
        key: &Key,
        address: SocketAddr,
    ) -> Result<(Self, Api), StartError> {
        let (config, spine, keys) = (&*ground.config, &ground.spine, &ground.keys);
        let view = view_of(config);
        let topics = watch::Sender::new(view_topics(config, keys)?);
        let reading = tokio::spawn(tail::run(Arc::clone(spine), topics.subscribe(), Arc::clone(&view)));
        let read = Arc::clone(&view);
        ground.board.ask(move || {
            if read.is_caught_up() { Vec::new() } else { vec!["the view of jobs is being read".to_owned()] }
        });
        let leasing = leasing(config, (spine, &view), keys, address)?;
        let (fleet, progress) = (fleet(config, spine, &view)?, progress(config, spine)?);
        let current = watch::Sender::new(Arc::clone(&ground.config));
        let running = Arc::new(Running {
            config: current.subscribe(),
            roles: roles.clone(),
            spine: Arc::clone(spine),
            view: Arc::clone(&view),
            fleet: Arc::clone(&fleet),
        });
        let api = Api {
            key: key.clone(),
            submitters: submitters(config, spine).await?,
            commands: commands(config, spine)?,
            view: Arc::clone(&view),
            fleet: Arc::clone(&fleet),
            progress: Arc::clone(&progress),
            spine: Arc::clone(spine),
            dead: Named::of(config).map_err(WantedError::Name)?.dead,
            leasing: Arc::clone(&leasing),
            examine: Box::new(move |write, patience| {
                let running = Arc::clone(&running);
                Box::pin(async move { json!(running.examine(write, patience).await) })
            }),
            body_bytes: config.limits.body_bytes,
            longest_wait: config.limits.wait,
        };
        let sweeping = tokio::spawn(crate::payloads::sweep(Arc::clone(&ground.config)));
        let tasks = vec![reading, sweeping];
        Ok((Self { view, fleet, leasing, progress, topics, config: current, keys: keys.clone(), tasks }, api))
    }

    /// The jobs.
    pub(crate) const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The pools of `config`, for [`Self::goes_on_with`].
    pub(crate) fn pools_of(&self, config: &Config) -> Result<Pools, StartError> {
        Ok(Pools {
            config: config.clone(),
            topics: view_topics(config, &self.keys)?,
            fleet: fleet_pools(config)?,
            reports: reports(config)?,
            terms: terms(config),
        })
    }

    /// Knows these pools from now on. What is known of jobs of a pool that is gone stays known.
    pub(crate) fn goes_on_with(&self, pools: Pools) {
        let Pools { config, topics, fleet, reports, terms } = pools;
        self.config.send_replace(Arc::new(config));
        self.topics.send_replace(topics);
        self.progress.follows(reports);
        self.fleet.shows(fleet);
        self.leasing.serves(terms);
    }

    /// Lets waiting requests for jobs go.
    pub(crate) fn close(&self) {
        self.leasing.close();
    }

    /// Ends; jobs that were leased over HTTP go back, for which schedulers have to be there.
    pub(crate) async fn stop(self) {
        self.leasing.stop().await;
        self.fleet.stop().await;
        for task in self.tasks {
            task.abort();
            // Aborted, or ended before.
            let _ = task.await;
        }
    }
}

/// An empty view with the configuration's bounds.
#[must_use]
pub fn view_of(config: &Config) -> Arc<View> {
    let limits = &config.limits;
    let bounds = Bounds { jobs: limits.view_jobs, output_bytes: limits.view_output_bytes, ..Bounds::default() };
    Arc::new(View::new(bounds))
}

/// What the view of the jobs of `config` reads.
fn view_topics(config: &Config, keys: &Keys) -> Result<ViewTopics, StartError> {
    if !keys.knows_stages() {
        tracing::warn!("no key is trusted for `stage`: what is shown of jobs is not verified");
    }
    let named = Named::of(config).map_err(WantedError::Name)?;
    Ok(ViewTopics {
        decisions: named.sources.into_iter().map(|source| (source.name, source.decisions)).collect(),
        leases: named.pools.into_iter().map(|pool| (pool.name, pool.leases)).collect(),
        limits: Some(Topic::LimitFacts.name(&config.prefix).map_err(WantedError::Name)?),
        dead: named.dead,
        trust: keys.knows_stages().then(|| keys.trust()),
    })
}

/// Feeds a view from the spine until the task is aborted. Facts of schedulers and limits that are not there are left out: where
/// kernels run alone, nobody makes them.
///
/// # Errors
/// [`StartError`] when a topic has no name or the spine does not answer.
pub async fn follow_view(
    config: &Config,
    spine: &Arc<dyn Spine>,
    keys: &Keys,
    view: &Arc<View>,
) -> Result<JoinHandle<()>, StartError> {
    let mut topics = view_topics(config, keys)?;
    let others: Vec<TopicName> = topics.leases.iter().map(|(_, topic)| topic).chain(&topics.limits).cloned().collect();
    let states = spine.describe(&others).await.map_err(StartError::Look)?;
    let there: BTreeSet<TopicName> =
        others.into_iter().zip(states).filter_map(|(topic, state)| state.map(|_| topic)).collect();
    topics.leases.retain(|(_, topic)| there.contains(topic));
    topics.limits = topics.limits.filter(|topic| there.contains(topic));
    let topics = watch::channel(topics).1;
    Ok(tokio::spawn(tail::run(Arc::clone(spine), topics, Arc::clone(view))))
}

/// One submitter per source, in the order of the configuration.
///
/// # Errors
/// [`StartError`] when a topic has no name or the spine does not answer.
pub async fn submitters(config: &Config, spine: &Arc<dyn Spine>) -> Result<Vec<Submitter>, StartError> {
    let named = Named::of(config).map_err(WantedError::Name)?;
    let raws: Vec<_> = named.sources.iter().map(|source| source.raw.clone()).collect();
    let states = spine.describe(&raws).await.map_err(StartError::Look)?;
    let above = config.payloads.above_bytes;
    let store = crate::payloads::store(config)?;
    let mut submitters = Vec::new();
    for ((source, topics), state) in config.sources.iter().zip(named.sources).zip(states) {
        let unknown = || StartError::Look(SpineError::UnknownTopic { topic: topics.raw.clone() });
        let partitions = state.ok_or_else(unknown)?.partitions;
        // Of a foreign record nobody here knows where its payload is.
        let reads_ids = matches!(source.format(), Format::TidegateJson);
        let store = store.clone().filter(|_| reads_ids);
        let claim_check = store.map(|store| ClaimCheck::new(store, above, source.max_depth()));
        let max_bytes = source.max_bytes();
        let source = SubmitSource { name: topics.name, topic: topics.raw, partitions, max_bytes, reads_ids };
        submitters.push(Submitter::new(Arc::clone(spine), source).claim_check(claim_check));
    }
    Ok(submitters)
}

/// What passes commands on to the kernels of every source of `config`.
///
/// # Errors
/// [`StartError`] when a topic has no name.
pub fn commands(config: &Config, spine: &Arc<dyn Spine>) -> Result<Commands, StartError> {
    let named = Named::of(config).map_err(WantedError::Name)?;
    let topics = config.sources.iter().zip(named.sources).map(|(source, topics)| CommandTopic {
        source: topics.name,
        topic: topics.commands,
        delegates: source.parent_tickets() != ParentTickets::Refused,
    });
    let topics = topics.collect();
    Ok(Commands::new(Arc::clone(spine), topics))
}

/// What answers questions about the pools of `config`, from `view` and from what workers say.
///
/// # Errors
/// [`StartError`] when a topic has no name.
pub fn fleet(config: &Config, spine: &Arc<dyn Spine>, view: &Arc<View>) -> Result<Arc<Fleet>, StartError> {
    Ok(Fleet::new(Arc::clone(spine), Arc::clone(view), fleet_pools(config)?, config.keys.workers.clone()))
}

fn fleet_pools(config: &Config) -> Result<Vec<FleetPool>, StartError> {
    let named = Named::of(config).map_err(WantedError::Name)?;
    let pools = config.pools.iter().zip(named.pools).map(|(pool, topics)| FleetPool {
        pool: topics.name,
        shards: pool.shards,
        lanes: pool.lanes,
        worker_slots: pool.tuning.worker_slots,
        reports: topics.reports,
        commands: topics.commands,
        backlog: vec![topics.approved, topics.overflow],
        lease: Duration::from_millis(pool.tuning.lease_ms),
        heartbeat: Duration::from_millis(pool.tuning.heartbeat_ms.unwrap_or(pool.tuning.lease_ms / 4)),
    });
    Ok(pools.collect())
}

/// What running jobs of every pool of `config` say of themselves.
///
/// # Errors
/// [`StartError`] when a topic has no name.
pub fn progress(config: &Config, spine: &Arc<dyn Spine>) -> Result<Arc<Progress>, StartError> {
    Ok(Progress::new(Arc::clone(spine), reports(config)?))
}

fn reports(config: &Config) -> Result<BTreeMap<PoolName, TopicName>, StartError> {
    let named = Named::of(config).map_err(WantedError::Name)?;
    Ok(named.pools.into_iter().map(|pool| (pool.name, pool.reports)).collect())
}

/// Workers that pull over HTTP, where keys are made for some.
fn leasing(
    config: &Config,
    (spine, view): (&Arc<dyn Spine>, &Arc<View>),
    keys: &Keys,
    address: SocketAddr,
) -> Result<Arc<Leasing>, StartError> {
    let workers = config.keys.workers.clone();
    let trust = if workers.is_empty() { keys.trust() } else { keys.trust_in_stages()? };
    let place = Place {
        spine: Arc::clone(spine),
        prefix: config.prefix.clone(),
        trust,
        name: config.membership.instance.clone().unwrap_or_else(|| format!("{}:{}", host_name(), address.port())),
        view: Arc::clone(view),
        payloads: crate::payloads::store(config)?,
    };
    Ok(Leasing::new(place, terms(config), workers))
}

fn terms(config: &Config) -> BTreeMap<PoolName, Terms> {
    let terms = |pool: &crate::config::PoolConfig| {
        let lease = pool.tuning.lease_ms;
        let heartbeat = pool.tuning.heartbeat_ms.unwrap_or(lease / 4);
        let [lease, heartbeat] = [lease, heartbeat].map(Duration::from_millis);
        (pool.name().clone(), Terms { lease, heartbeat, shards: pool.shards })
    };
    config.pools.iter().map(terms).collect()
}
