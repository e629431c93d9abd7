//! A worker's settings, checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_blobs::Store;
use tidegate_protocol::ids::{BadName, Capability, PoolName, TenantId, WorkerId};
use tidegate_protocol::selector::{MOST_LABELS, is_label};
use tidegate_protocol::signature::Trust;
use tidegate_spine::Spine;

use crate::children::Children;
use crate::constraints::Enforces;
use crate::demand::Demand;
use crate::handler::{AnyHandler, Handler, Typed, TypedHandler};
use crate::run::{Drained, RunError};
use crate::session::{JobKey, WhenUnproven};

/// Numbers of a worker, with defaults that suit most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Jobs run at once, 1 to 100,000. Default 8.
    pub concurrency: u32,
    /// After shutdown begins, running jobs may finish for this long before they are told to stop. Default 30 s.
    pub drain_limit: Duration,
    /// A job that was told to stop and is not back after this is dropped. Default 15 s.
    pub cancel_grace: Duration,
    /// At the end of a drain, how long to wait for the scheduler to settle the last results. Default 5 s.
    pub settle_limit: Duration,
    /// Largest output of a job, bytes; larger ones are failures. What the topic takes is a limit as well. Default 512 KiB.
    pub max_output_bytes: usize,
    /// What becomes of running jobs when no report landed for a full lease. Default: they run on.
    pub when_unproven: WhenUnproven,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 8,
            drain_limit: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(15),
            settle_limit: Duration::from_secs(5),
            max_output_bytes: 512 << 10,
            when_unproven: WhenUnproven::Keep,
        }
    }
}

/// A worker that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A name breaks its rule.
    #[error("worker settings: {source}")]
    Name {
        /// Which and why.
        source: BadName,
    },
    /// Nothing it could run.
    #[error("worker `{worker}` has no capability; add at least one")]
    NoCapability {
        /// The worker.
        worker: WorkerId,
    },
    /// The same capability twice.
    #[error("worker `{worker}` has capability `{capability}` twice; each has one handler")]
    Twice {
        /// The worker.
        worker: WorkerId,
        /// The capability.
        capability: Capability,
    },
    /// A label's name or value is empty, longer than 128 bytes, or has control characters.
    #[error("worker `{worker}`: name and value of label `{label}` must be 1 to 128 bytes without control characters")]
    Label {
        /// The worker.
        worker: WorkerId,
        /// The label.
        label: String,
    },
    /// Too many labels.
    #[error("worker `{worker}` has more than {MOST_LABELS} labels")]
    Labels {
        /// The worker.
        worker: WorkerId,
    },
    /// Concurrency outside its bounds.
    #[error("worker `{worker}`: concurrency {concurrency} is not 1 to 100000")]
    Concurrency {
        /// The worker.
        worker: WorkerId,
        /// As set.
        concurrency: u32,
    },
}

/// Told how a result was settled: the job, whether it counts, and why not.
pub type OnSettled = dyn Fn(&JobKey, bool, &str) + Send + Sync;

/// Says how busy what the worker runs on is, 0 to 1.
pub type Load = dyn Fn() -> f64 + Send + Sync;

/// A wall clock.
pub(crate) type Wall = dyn Fn() -> SystemTime + Send + Sync;

/// A worker of one pool, ready to run.
pub struct Worker {
    pub(crate) pool: PoolName,
    pub(crate) id: WorkerId,
    pub(crate) settings: Settings,
    pub(crate) handlers: BTreeMap<Capability, Arc<dyn AnyHandler>>,
    pub(crate) trust: Arc<dyn Trust>,
    pub(crate) enforces: BTreeSet<Enforces>,
    pub(crate) tenants: Option<Vec<TenantId>>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it leaves when an operator says so.
    pub(crate) leaves: bool,
    pub(crate) load: Option<Box<Load>>,
    pub(crate) demand: Option<Demand>,
    pub(crate) settled: Option<Box<OnSettled>>,
    pub(crate) children: Option<Children>,
    pub(crate) payloads: Option<Arc<dyn Store>>,
    pub(crate) wall: Box<Wall>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("pool", &self.pool)
            .field("id", &self.id)
            .field("settings", &self.settings)
            .field("capabilities", &self.handlers.keys())
            .finish()
    }
}

impl Worker {
    /// Begins a worker. `id` must be its own among the workers of the pool and should stay the same over restarts: the
    /// scheduler then takes the old life's leases back at once, without waiting for them to expire. `trust` says whose
    /// orders and tickets count: nothing else is run.
    #[must_use]
    pub fn builder(pool: PoolName, id: WorkerId, trust: Arc<dyn Trust>) -> Builder {
        Builder {
            pool,
            id,
            settings: Settings::default(),
            handlers: Vec::new(),
            trust,
            enforces: BTreeSet::new(),
            tenants: None,
            labels: BTreeMap::new(),
            leaves: true,
            load: None,
            demand: None,
            settled: None,
            children: None,
            payloads: None,
            wall: Box::new(SystemTime::now),
        }
    }

    /// Runs until `shutdown` resolves and the drain is over (at most drain limit + cancel grace + settle limit later).
    /// Must be called inside a tokio runtime with time. Dropping the future stops everything at once, child processes
    /// of the agent included. `prefix` is that of the topics, e.g. `tidegate.`.
    ///
    /// # Errors
    /// [`RunError`] when the topics or rights are missing at the start, or another process has taken over the worker's
    /// name. A spine that is away is waited for.
    pub async fn run(
        self,
        spine: Arc<dyn Spine>,
        prefix: &str,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Drained, RunError> {
        crate::run::run(self, spine, prefix, shutdown).await
    }
}

/// Collects handlers and settings.
pub struct Builder {
    pool: PoolName,
    id: WorkerId,
    settings: Settings,
    handlers: Vec<(String, Arc<dyn AnyHandler>)>,
    trust: Arc<dyn Trust>,
    enforces: BTreeSet<Enforces>,
    tenants: Option<Vec<TenantId>>,
    labels: BTreeMap<String, String>,
    leaves: bool,
    load: Option<Box<Load>>,
    demand: Option<Demand>,
    settled: Option<Box<OnSettled>>,
    children: Option<Children>,
    payloads: Option<Arc<dyn Store>>,
    wall: Box<Wall>,
}

impl Builder {
    /// Offers a capability.
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>, handler: impl Handler) -> Self {
        self.handlers.push((name.into(), Arc::new(handler)));
        self
    }

    /// Offers a capability whose payload and output serde knows.
    #[must_use]
    pub fn typed(self, name: impl Into<String>, handler: impl TypedHandler) -> Self {
        self.capability(name, Typed(handler))
    }

    /// Sets how many jobs run at once.
    #[must_use]
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.settings.concurrency = jobs;
        self
    }

    /// Says what becomes of running jobs while the worker cannot prove that it lives: nothing of its reports landed for a full lease
    /// (docs/workers.md).
    #[must_use]
    pub fn when_unproven(mut self, what: WhenUnproven) -> Self {
        self.settings.when_unproven = what;
        self
    }

    /// Says what surrounds this worker enforces; a job that is constrained in another such way is refused unrun.
    #[must_use]
    pub fn enforces(mut self, kinds: impl IntoIterator<Item = Enforces>) -> Self {
        self.enforces.extend(kinds);
        self
    }

    /// Takes jobs of these tenants alone, at most 1,024.
    #[must_use]
    pub fn tenants(mut self, tenants: Option<Vec<TenantId>>) -> Self {
        self.tenants = tenants;
        self
    }

    /// Has this label, which jobs may ask for (`select`, `prefer`); at most 64 of them.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Stays when an operator says that it is to leave: it stands for workers elsewhere, who leave in its place.
    #[must_use]
    pub const fn stays(mut self) -> Self {
        self.leaves = false;
        self
    }

    /// Says with its heartbeats how busy what it runs on is, 0 to 1: it gets less of what other workers could take too. Asked often,
    /// from the worker's loop: it must be quick and must not block.
    #[must_use]
    pub fn load(mut self, load: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.load = Some(Box::new(load));
        self
    }

    /// Asks for no more jobs than `demand` says, however many slots are free.
    #[must_use]
    pub fn demand(mut self, demand: Demand) -> Self {
        self.demand = Some(demand);
        self
    }

    /// Is told of every result that was settled, from the worker's loop: it must not block.
    #[must_use]
    pub fn on_settled(mut self, told: impl Fn(&JobKey, bool, &str) + Send + Sync + 'static) -> Self {
        self.settled = Some(Box::new(told));
        self
    }

    /// Says where jobs go that its jobs spawn ([`Context::spawn`](crate::Context::spawn)).
    #[must_use]
    pub fn children(mut self, children: Children) -> Self {
        self.children = Some(children);
        self
    }

    /// Says where payloads are that are kept beside the log. A job with such a payload is not run without.
    #[must_use]
    pub fn payloads(mut self, store: Option<Arc<dyn Store>>) -> Self {
        self.payloads = store;
        self
    }

    /// Takes the time of day from here in place of the system's clock. It is looked at once, when the worker starts to run.
    #[must_use]
    pub fn wall_clock(mut self, wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.wall = Box::new(wall);
        self
    }

    /// Replaces all settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`SettingsError`]: the first thing that is wrong.
    pub fn build(self) -> Result<Worker, SettingsError> {
        let Self {
            pool,
            id,
            settings,
            handlers: offered,
            trust,
            enforces,
            tenants,
            labels,
            leaves,
            load,
            demand,
            settled,
            children,
            payloads,
            wall,
        } = self;
        if !(1..=100_000).contains(&settings.concurrency) {
            return Err(SettingsError::Concurrency { worker: id, concurrency: settings.concurrency });
        }
        let mut handlers = BTreeMap::new();
        for (name, handler) in offered {
            let capability = Capability::new(&name).map_err(|source| SettingsError::Name { source })?;
            if handlers.insert(capability.clone(), handler).is_some() {
                return Err(SettingsError::Twice { worker: id, capability });
            }
        }
        if handlers.is_empty() {
            return Err(SettingsError::NoCapability { worker: id });
        }
        if let Some((name, _)) = labels.iter().find(|(name, value)| !is_label(name) || !is_label(value)) {
            return Err(SettingsError::Label { worker: id, label: name.clone() });
        }
        if labels.len() > MOST_LABELS {
            return Err(SettingsError::Labels { worker: id });
        }
        Ok(Worker {
            pool,
            id,
            settings,
            handlers,
            trust,
            enforces,
            tenants,
            labels,
            leaves,
            load,
            demand,
            settled,
            children,
            payloads,
            wall,
        })
    }
}
