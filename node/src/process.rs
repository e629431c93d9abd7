//! A process: some roles on one spine, and the HTTP that goes with them.
//!
//! Start: open the spine, compare topics, load the policy, join the groups, listen. Stop: let HTTP finish, then stop
//! every shard in order, then leave. Nothing is left running when [`Node::stop`] returns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_gateway::http::{self, Health};
use tidegate_gateway::key::{Key, KeyError};
use tidegate_gateway::view::View;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::PoolName;
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
    GatewayHosting, Ground, LimitsHosting, PoolHosting, Role, RoleError, Roles, SourceHosting, kernels, limits,
    schedulers,
};
pub use crate::roles::{commands, fleet, follow_view, progress, submitters, view_of};
use crate::topics::rights::{self, Lack};
use crate::topics::{Named, Plan, Wanted, WantedError, plan, wanted};

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
    /// What the roles must do with the topics is not allowed.
    #[error(
        "what the roles of this process must do is not allowed to it; `tidegate topics export --format acls` prints every right:\n{lack}"
    )]
    Rights {
        /// What is lacking.
        lack: Box<Lack>,
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
    gateway: Option<GatewayHosting>,
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
    preflight(&config, &*spine, &roles).await?;
    start(config, spine, keys, roles).await
}

/// The keys a process of these roles needs.
///
/// # Errors
/// [`StartError::Keys`] when they cannot be read, or a stage would have nothing to sign with.
pub fn keys_for(config: &Config, roles: &Roles) -> Result<Keys, StartError> {
    let keys = config.keys.read()?;
    if roles.iter().any(|role| role.signs()) {
        keys.signer()?;
    }
    Ok(keys)
}

/// Compares the topics that the roles read or write, and what they may do with them, with the configuration.
///
/// # Errors
/// [`StartError::Topics`] with every difference, [`StartError::Rights`] with every right that is lacking.
pub async fn preflight(config: &Config, spine: &dyn Spine, roles: &Roles) -> Result<(), StartError> {
    let wanted = rights::of_roles(wanted(config, spine).await?, roles);
    let plan = plan(wanted, spine).await.map_err(StartError::Look)?;
    if !plan.is_clean() {
        return Err(StartError::Topics { plan: Box::new(plan) });
    }
    allowed(config, &plan.wanted, spine, roles).await
}

/// Compares what the roles must do with these topics with what they may.
///
/// # Errors
/// [`StartError::Rights`] with every right that is lacking.
pub(crate) async fn allowed(
    config: &Config,
    wanted: &[Wanted],
    spine: &dyn Spine,
    roles: &Roles,
) -> Result<(), StartError> {
    let lack = rights::compare(&config.prefix, wanted, roles, config.spine.settings.user(), spine).await;
    if let Some((topics, why)) = &lack.untold {
        tracing::warn!(
            topics,
            why,
            "the spine does not say what this process may do with its topics: what is not allowed shows when it is tried"
        );
    }
    if let Some((groups, why)) = &lack.untold_groups {
        tracing::warn!(
            groups,
            why,
            "the spine does not say whether this process may join its groups: if it may not, that shows when it joins"
        );
    }
    if lack.lacking.is_empty() { Ok(()) } else { Err(StartError::Rights { lack: Box::new(lack) }) }
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
    tasks.push(tokio::spawn(feel_pulse(Arc::clone(&spine), pulse(&config, &roles)?, Arc::clone(&board))));
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
    let (mut gateway, mut api) = (None, None);
    if roles.contains(&Role::Gateway) {
        let (hosting, made) = GatewayHosting::begin(&ground, &roles, &key, address).await?;
        (gateway, api) = (Some(hosting), Some(made));
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
        gateway,
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
    pub fn view(&self) -> Option<&Arc<View>> {
        self.gateway.as_ref().map(GatewayHosting::view)
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
        let shown = self.gateway.as_ref().map(|gateway| gateway.pools_of(new)).transpose()?;
        let (ground, roles, kernels) = (&self.ground, &self.roles, &*self.kernels);
        let hosted = Hosted { ground, roles, kernels, limits: self.limits.as_ref(), pools: &mut self.pools };
        let change = hosted.reload(&self.config, new).await?;
        // The view is read on from a new reader: not for nothing.
        if !change.is_nothing()
            && let (Some(gateway), Some(shown)) = (&self.gateway, shown)
        {
            gateway.goes_on_with(shown);
        }
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
        if let Some(gateway) = &self.gateway {
            gateway.close();
        }
        if let Some((stop, mut serving)) = self.http.take() {
            let _ = stop.send(());
            if tokio::time::timeout(HTTP_PATIENCE, &mut serving).await.is_err() {
                serving.abort();
            }
        }
        if let Some(gateway) = self.gateway.take() {
            // While the scheduler still takes jobs back.
            gateway.stop().await;
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

/// A topic that every process of these roles may look at: all stages read `shards`, a gateway reads `finished`.
fn pulse(config: &Config, roles: &Roles) -> Result<TopicName, WantedError> {
    let named = Named::of(config)?;
    Ok(if roles.iter().any(|role| role.signs()) { named.shards } else { named.finished })
}

/// Readiness follows the spine: asked now and then whether it answers.
async fn feel_pulse(spine: Arc<dyn Spine>, topic: TopicName, board: Arc<Board>) {
    let asked = [topic];
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

pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn process_name() -> String {
    format!("{}:{}", host_name(), std::process::id())
}
