//! A process: some roles on one spine, and the HTTP that goes with them.
//!
//! Start: open the spine, compare topics, load the policy, join the groups, listen. Stop: let HTTP finish, then stop
//! every shard in order, then leave. Nothing is left running when [`Node::stop`] returns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_gateway::claim_check::ClaimCheck;
use tidegate_gateway::commands::{CommandTopic, Commands};
use tidegate_gateway::fleet::{Fleet, FleetPool};
use tidegate_gateway::http::{self, Api, Health};
use tidegate_gateway::key::{Key, KeyError};
use tidegate_gateway::leasing::{Leasing, Place, Terms};
use tidegate_gateway::progress::Progress;
use tidegate_gateway::submit::{SubmitSource, Submitter};
use tidegate_gateway::view::tail::ViewTopics;
use tidegate_gateway::view::{Bounds, View, tail};
use tidegate_kernel::{Format, ParentTickets};
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Spine, SpineError};
use tidegate_telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::checkpoint_file::CheckpointFile;
use crate::clock::TokioClock;
use crate::config::{Config, Keys, KeysError};
use crate::policy_folder;
use crate::policy_signature::Demand;
use crate::pools::{Hosted, ReloadRefused, Reloaded};
use crate::readiness::Board;
use crate::roles::{
    Ground, LimitsHosting, PoolHosting, Role, RoleError, Roles, SourceHosting, kernels, limits, schedulers,
};
use crate::topics::{Named, Plan, WantedError, plan, wanted};

/// How often the spine is asked whether it is there.
const PULSE: Duration = Duration::from_secs(2);
/// Longest wait for open HTTP requests at a stop.
const HTTP_PATIENCE: Duration = Duration::from_secs(3);

/// A process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spine cannot be opened.
    #[error(transparent)]
    Open(#[from] crate::spine::OpenError),
    /// It cannot be said which topics are needed.
    #[error(transparent)]
    Wanted(#[from] WantedError),
    /// The topics could not be looked at.
    #[error("the topics could not be compared with the configuration")]
    Look(#[source] SpineError),
    /// Topics are not as they should be.
    #[error(
        "the topics are not as the configuration wants them; run `tidegate topics apply`, or correct the configuration:\n{plan}"
    )]
    Topics {
        /// What differs.
        plan: Box<Plan>,
    },
    /// Topics could not be made (`tidegate dev`).
    #[error(transparent)]
    Apply(#[from] crate::topics::ApplyError),
    /// A role cannot begin.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`; is another process there? choose another with `--listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The HTTP key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys that sign, or are trusted, cannot be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Metrics cannot be collected.
    #[error(transparent)]
    Metrics(#[from] tidegate_telemetry::MetricsError),
    /// The data folder cannot be used.
    #[error("data folder: {reason}")]
    Data {
        /// What and why.
        reason: String,
    },
    /// Payloads beside the log cannot be kept or had.
    #[error("payloads: {reason}")]
    Payloads {
        /// Why.
        reason: String,
    },
    /// A worker inside this process cannot start.
    #[error("a worker cannot start: {reason}")]
    Worker {
        /// Why.
        reason: String,
    },
}

/// A running process.
pub struct Node {
    address: SocketAddr,
    key: Key,
    keys: Keys,
    config: Arc<Config>,
    spine: Arc<dyn Spine>,
    board: Arc<Board>,
    view: Option<Arc<View>>,
    fleet: Option<Arc<Fleet>>,
    leasing: Option<Arc<Leasing>>,
    ground: Ground,
    roles: Roles,
    kernels: Vec<SourceHosting>,
    pools: BTreeMap<PoolName, PoolHosting>,
    limits: Option<LimitsHosting>,
    tasks: Vec<JoinHandle<()>>,
    http: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Begins a process with these roles. Topics are compared with the configuration and never altered.
///
/// # Errors
/// [`StartError`].
pub async fn serve(config: Config, roles: Roles) -> Result<Node, StartError> {
    let keys = keys_for(&config, &roles)?;
    let spine = crate::spine::open(&config.spine).await?;
    preflight(&config, &*spine).await?;
    start(config, spine, keys, roles).await
}

/// The keys a process of these roles needs.
///
/// # Errors
/// [`StartError::Keys`] when they cannot be read, or a stage would have nothing to sign with.
pub fn keys_for(config: &Config, roles: &Roles) -> Result<Keys, StartError> {
    let keys = config.keys.read()?;
    if roles.contains(&Role::Kernel) || roles.contains(&Role::Scheduler) {
        keys.signer()?;
    }
    Ok(keys)
}

/// Compares the topics with the configuration.
///
/// # Errors
/// [`StartError::Topics`] with every difference.
pub async fn preflight(config: &Config, spine: &dyn Spine) -> Result<(), StartError> {
    let plan = plan(wanted(config, spine).await?, spine).await.map_err(StartError::Look)?;
    if plan.is_clean() { Ok(()) } else { Err(StartError::Topics { plan: Box::new(plan) }) }
}

/// Begins the roles on a spine that is open and whose topics are right.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config, spine: Arc<dyn Spine>, keys: Keys, roles: Roles) -> Result<Node, StartError> {
    let metrics = Metrics::install()?;
    crate::metrics::describe();
    let config = Arc::new(config);
    // Before anything joins a group: a port that is taken must not cost others a rebalance.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
    let key = Key::read_or_make(&config.data)?;
    let board = Arc::new(Board::new());
    let mut tasks = Vec::new();
    let (policy, following) = if roles.contains(&Role::Kernel) {
        let demand = Demand { trust: keys.trust(), required: config.require_signed_policy };
        policy_folder::follow(config.policy.clone(), demand)
    } else {
        (tokio::sync::watch::channel(None).1, tokio::spawn(async {}))
    };
    tasks.push(following);
    if roles.contains(&Role::Kernel) {
        let policy = policy.clone();
        board.ask(move || {
            let missing = policy.borrow().is_none();
            if missing { vec!["no policy is loaded".to_owned()] } else { Vec::new() }
        });
    }
    tasks.push(tokio::spawn(feel_pulse(Arc::clone(&spine), Arc::clone(&config), Arc::clone(&board))));
    let checkpoints = match &config.checkpoint_file {
        Some(file) if roles.contains(&Role::Kernel) => {
            let failed = |error| format!("`audit.checkpoint_file` `{}` cannot be appended to: {error}", file.display());
            Some(CheckpointFile::open(file).map_err(|error| StartError::Data { reason: failed(error) })?)
        }
        Some(_) | None => None,
    };
    let ground = Ground {
        config: Arc::clone(&config),
        spine: Arc::clone(&spine),
        clock: TokioClock::start(),
        policy,
        board: Arc::clone(&board),
        process: process_name(),
        keys: keys.clone(),
        checkpoints,
    };
    let (mut source_hostings, mut pools, mut lenders) = (Vec::new(), BTreeMap::new(), None);
    if roles.contains(&Role::Kernel) {
        source_hostings = kernels(&ground).await?;
    }
    if roles.contains(&Role::Limits) {
        lenders = Some(limits(&ground).await?);
    }
    if roles.contains(&Role::Scheduler) {
        pools = schedulers(&ground).await?;
    }
    let mut view = None;
    let mut asked = None;
    let mut leasing = None;
    let mut api = None;
    if roles.contains(&Role::Gateway) {
        let made = view_of(&config);
        tasks.push(follow_view(&config, &spine, &keys, &made)?);
        let reading = Arc::clone(&made);
        board.ask(
            move || {
                if reading.is_caught_up() { Vec::new() } else { vec!["the view of jobs is being read".to_owned()] }
            },
        );
        let leases = leasing_of(&config, &spine, &keys, address)?;
        let fleet = fleet(&config, &spine, &made)?;
        api = Some(api_of(&config, &spine, (&made, &fleet), &key, &leases).await?);
        asked = Some(fleet);
        leasing = Some(leases);
        tasks.push(tokio::spawn(crate::payloads::sweep(Arc::clone(&config))));
        view = Some(made);
    }
    let looked_at = Arc::clone(&board);
    let health = Health { readiness: Box::new(move || looked_at.look()), metrics: Box::new(move || metrics.render()) };
    let (stop, stopped) = oneshot::channel();
    let router = http::router(health, api);
    let serving = tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        if let Err(error) = http::serve(listener, router, until).await {
            tracing::error!(error = %error, "HTTP stopped");
        }
    });
    tracing::info!(%address, spine = spine.url(), roles = ?roles, "started");
    Ok(Node {
        address,
        key,
        keys,
        config,
        spine,
        board,
        view,
        fleet: asked,
        leasing,
        ground,
        roles,
        kernels: source_hostings,
        pools,
        limits: lenders,
        tasks,
        http: Some((stop, serving)),
    })
}

impl Node {
    /// Where HTTP listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bearer key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The keys that sign and are trusted.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The spine.
    #[must_use]
    pub fn spine(&self) -> &Arc<dyn Spine> {
        &self.spine
    }

    /// The jobs, where the role gateway is.
    #[must_use]
    pub const fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// What `/readyz` says.
    #[must_use]
    pub fn readiness(&self) -> http::Readiness {
        self.board.look()
    }

    /// Goes on with the pools of `new`, which must be like its own configuration in everything else.
    ///
    /// # Errors
    /// [`ReloadRefused`]; then it goes on as it was.
    pub async fn reload(&mut self, new: &Config) -> Result<Reloaded, ReloadRefused> {
        let (ground, roles, kernels) = (&self.ground, &self.roles, &*self.kernels);
        let hosted = Hosted { ground, roles, kernels, limits: self.limits.as_ref(), pools: &mut self.pools };
        let change = hosted.reload(&self.config, new).await?;
        let (pools, written) = (new.pools.clone(), Arc::clone(&new.written));
        self.config = Arc::new(Config { pools, written, ..(*self.config).clone() });
        Ok(change)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        self.board.ready().await;
    }

    /// Stops everything in order; at most some 20 seconds.
    pub async fn stop(mut self) {
        if let Some(leasing) = &self.leasing {
            leasing.close();
        }
        if let Some((stop, mut serving)) = self.http.take() {
            let _ = stop.send(());
            if tokio::time::timeout(HTTP_PATIENCE, &mut serving).await.is_err() {
                serving.abort();
            }
        }
        if let Some(leasing) = &self.leasing {
            // While the scheduler still takes jobs back.
            leasing.stop().await;
        }
        if let Some(fleet) = &self.fleet {
            fleet.stop().await;
        }
        let kernels = futures::future::join_all(self.kernels.drain(..).map(SourceHosting::stop));
        let pools = futures::future::join_all(std::mem::take(&mut self.pools).into_values().map(PoolHosting::stop));
        let limits = futures::future::join_all(self.limits.take().map(LimitsHosting::stop));
        futures::join!(kernels, pools, limits);
        for task in self.tasks.drain(..) {
            task.abort();
            // Aborted, or ended before.
            let _ = task.await;
        }
        tracing::info!("stopped");
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address).field("spine", &self.spine.url()).finish_non_exhaustive()
    }
}

/// An empty view with the configuration's bounds.
#[must_use]
pub fn view_of(config: &Config) -> Arc<View> {
    let limits = &config.limits;
    let bounds = Bounds { jobs: limits.view_jobs, output_bytes: limits.view_output_bytes, ..Bounds::default() };
    Arc::new(View::new(bounds))
}

/// Feeds a view from the spine until the task is aborted.
///
/// # Errors
/// [`StartError::Wanted`] when a topic has no name.
pub fn follow_view(
    config: &Config,
    spine: &Arc<dyn Spine>,
    keys: &Keys,
    view: &Arc<View>,
) -> Result<JoinHandle<()>, StartError> {
    if !keys.knows_stages() {
        tracing::warn!("no key is trusted for `stage`: what is shown of jobs is not verified");
    }
    let named = Named::of(config).map_err(WantedError::Name)?;
    let topics = ViewTopics {
        decisions: named.sources.into_iter().map(|source| (source.name, source.decisions)).collect(),
        leases: named.pools.into_iter().map(|pool| (pool.name, pool.leases)).collect(),
        limits: Some(Topic::LimitFacts.name(&config.prefix).map_err(WantedError::Name)?),
        dead: named.dead,
        trust: keys.knows_stages().then(|| keys.trust()),
    };
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
        let store = store.clone().filter(|_| matches!(source.format(), Format::TidegateJson));
        let claim_check = store.map(|store| ClaimCheck::new(store, above, source.max_depth()));
        let source = SubmitSource { name: topics.name, topic: topics.raw, partitions, max_bytes: source.max_bytes() };
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
    let named = Named::of(config).map_err(WantedError::Name)?;
    let pools = config.pools.iter().zip(named.pools).map(|(pool, topics)| FleetPool {
        pool: topics.name,
        shards: pool.shards,
        lanes: pool.lanes,
        reports: topics.reports,
        commands: topics.commands,
        backlog: vec![topics.approved, topics.overflow],
        lease: Duration::from_millis(pool.tuning.lease_ms),
        heartbeat: Duration::from_millis(pool.tuning.heartbeat_ms.unwrap_or(pool.tuning.lease_ms / 4)),
    });
    Ok(Fleet::new(Arc::clone(spine), Arc::clone(view), pools.collect(), config.keys.workers.clone()))
}

/// What running jobs of every pool of `config` say of themselves.
///
/// # Errors
/// [`StartError`] when a topic has no name.
pub fn progress(config: &Config, spine: &Arc<dyn Spine>) -> Result<Arc<Progress>, StartError> {
    let named = Named::of(config).map_err(WantedError::Name)?;
    let reports = named.pools.into_iter().map(|pool| (pool.name, pool.reports)).collect();
    Ok(Progress::new(Arc::clone(spine), reports))
}

/// Workers that pull over HTTP, where keys are made for some.
fn leasing_of(
    config: &Config,
    spine: &Arc<dyn Spine>,
    keys: &Keys,
    address: SocketAddr,
) -> Result<Arc<Leasing>, StartError> {
    let workers = config.keys.workers.clone();
    let trust = if workers.is_empty() { keys.trust() } else { keys.trust_in_stages()? };
    let terms = |pool: &crate::config::PoolConfig| {
        let lease = pool.tuning.lease_ms;
        let heartbeat = pool.tuning.heartbeat_ms.unwrap_or(lease / 4);
        let [lease, heartbeat] = [lease, heartbeat].map(Duration::from_millis);
        let terms = Terms { lease, heartbeat, shards: pool.shards };
        (pool.name().clone(), terms)
    };
    let place = Place {
        spine: Arc::clone(spine),
        prefix: config.prefix.clone(),
        trust,
        name: config.membership.instance.clone().unwrap_or_else(|| format!("{}:{}", host_name(), address.port())),
        pools: config.pools.iter().map(terms).collect(),
        payloads: crate::payloads::store(config)?,
    };
    Ok(Leasing::new(place, workers))
}

async fn api_of(
    config: &Config,
    spine: &Arc<dyn Spine>,
    (view, fleet): (&Arc<View>, &Arc<Fleet>),
    key: &Key,
    leasing: &Arc<Leasing>,
) -> Result<Api, StartError> {
    Ok(Api {
        key: key.clone(),
        submitters: submitters(config, spine).await?,
        commands: commands(config, spine)?,
        view: Arc::clone(view),
        fleet: Arc::clone(fleet),
        progress: progress(config, spine)?,
        spine: Arc::clone(spine),
        dead: Named::of(config).map_err(WantedError::Name)?.dead,
        leasing: Arc::clone(leasing),
        body_bytes: config.limits.body_bytes,
        longest_wait: config.limits.wait,
    })
}

/// Readiness follows the spine: asked now and then whether it answers.
async fn feel_pulse(spine: Arc<dyn Spine>, config: Arc<Config>, board: Arc<Board>) {
    let Ok(named) = Named::of(&config) else { return };
    let asked = [named.finished];
    let mut away = false;
    loop {
        let answer = spine.describe(&asked).await;
        if answer.is_err() != away {
            away = answer.is_err();
            board.wait_for("the spine does not answer", away);
            match answer {
                Err(error) => tracing::error!(error = %error, "the spine does not answer"),
                Ok(_) => tracing::info!("the spine answers again"),
            }
        }
        tokio::time::sleep(PULSE).await;
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn process_name() -> String {
    format!("{}:{}", host_name(), std::process::id())
}
