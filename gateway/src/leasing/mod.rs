//! Workers that pull jobs over HTTP.
//!
//! The gateway joins a pool as an ordinary worker of the library (`tidegate-worker`) for every **crew**: the workers of one
//! key that ask one pool for the same capabilities and say the same labels. So leases, fencing tokens, tickets and constraints are those of any
//! worker, and the scheduler gives a crew only jobs that its key covers (I9); what came here all the same goes back unrun.
//! The crew asks the scheduler for as many jobs as its waiting requests want. A job that comes lies on the crew's **shelf**
//! until a request takes it; then it is leased to that worker, by an id nobody can guess, for a **term** from its last
//! heartbeat. A crew that nobody asks any more, and which has no job, leaves its pool after a lease, and at once when an operator
//! wanted its workers to leave.
//!
//! An operator's `drain` of a crew is for its workers: the crew stays while they do, and as long as the pool's facts say that it is to leave, every
//! request for jobs and every heartbeat is answered so, and no request gets a job.
//!
//! | module | what it is |
//! |---|---|
//! | [`key`] | who may pull what |
//! | [`crew`] | one worker towards a pool: what is asked for, what came |
//! | [`lease`] | one job that a worker has over HTTP, as a table of states |
//! | [`desk`] | all leases by id; what is said of them; what became of those that ended |
//! | [`hold`] | watches one job from the shelf to its end |
//!
//! | what fails | what happens |
//! |---|---|
//! | no request takes a job up | it goes back unrun after [`Terms::shelf`] |
//! | a worker's heartbeats stop | its lease ends at once as that of a worker that died; the job runs elsewhere |
//! | this process dies | its leases run out or end with its next life's Hello; the ids mean nothing here any more (`lease_lost`) |
//! | the spine is away | heartbeats answer `held` and jobs run on, however long: the scheduler says afterwards which leases still stand; what is reported meanwhile is `pending` |
//! | a response is lost on its way | the lease runs out; a `complete` sent again has the same answer |
//!
//! Bounds: waiting requests, leases and crews of a key and of the process, ended leases that are remembered.
//!
//! A lease lives in the process that gave it: with several gateways a worker keeps to one of them.

pub mod crew;
pub mod desk;
mod hold;
pub mod key;
pub mod lease;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_blobs::Store;
use tidegate_protocol::ids::{Capability, PoolName, WorkerId};
use tidegate_protocol::signature::Trust;
use tidegate_spine::Spine;
use tokio::time::Instant;

use crate::view::View;

pub use crew::Taken;
use crew::{Crew, CrewName, Over};
pub use desk::{Desk, NotDone, Reported, Sign, Standing};
pub use key::{KeysRefused, WorkerKey, WorkerKeys};

/// How the names of crews begin, as the names of workers.
pub(crate) const CREW: &str = "http:";
/// Most crews of a key, and of the process.
const CREWS: (usize, usize) = (16, 256);
/// Most waiting requests of a key, and of the process.
const WAITING: (usize, usize) = (1_000, 10_000);
/// Whoever asks though it is to leave waits so long for that answer: one that does not heed it asks again and again.
const LEAVING: Duration = Duration::from_secs(1);

/// How long things last in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A lease over HTTP lasts so long from its last heartbeat: as long as any lease of the pool.
    pub lease: Duration,
    /// How often a worker should send one.
    pub heartbeat: Duration,
    /// Shards of the pool.
    pub shards: u32,
}

impl Terms {
    /// How long a job lies on the shelf before it goes back.
    #[must_use]
    pub fn shelf(&self) -> Duration {
        (self.lease / 2).min(Duration::from_secs(5))
    }
}

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks, for logs.
    pub worker: WorkerId,
    /// The pool.
    pub pool: PoolName,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// The labels it has, at most 64, which jobs may ask for.
    pub labels: BTreeMap<String, String>,
    /// Most jobs, at least 1.
    pub most: usize,
    /// How long it waits for the first.
    pub wait: Duration,
}

/// What a worker gets.
#[derive(Debug, Clone)]
pub struct Given {
    /// Jobs; none when the wait was over.
    pub jobs: Vec<Taken>,
    /// It is to leave: to end what it has, and to ask for nothing more.
    pub drain: bool,
}

/// Why nobody gets anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLeased {
    /// The key is not for that.
    #[error("this key does not cover {what}")]
    NotCovered {
        /// Which pool, capability or label.
        what: String,
    },
    /// Too many leases of the key.
    #[error("this key has {most} leases, as many as it may have")]
    TooManyLeases {
        /// The limit.
        most: usize,
    },
    /// Too many requests wait, or too many crews.
    #[error("{what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
    },
    /// The crew cannot work.
    #[error("this gateway cannot work for the pool: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
}

/// What crews are made from.
pub struct Place {
    /// The spine.
    pub spine: Arc<dyn Spine>,
    /// Begins every topic.
    pub prefix: String,
    /// Whose orders and tickets count.
    pub trust: Arc<dyn Trust>,
    /// This process, the same over restarts and its own among gateways: begins the crews' names.
    pub name: String,
    /// What the facts of pools say of crews that are to leave.
    pub view: Arc<View>,
    /// Where payloads are that are kept beside the log: workers get them with their leases.
    pub payloads: Option<Arc<dyn Store>>,
}

/// See the module. Shared as `Arc`.
pub struct Leasing {
    pub(crate) place: Place,
    keys: WorkerKeys,
    pools: Mutex<BTreeMap<PoolName, Terms>>,
    desk: Arc<Desk>,
    crews: Mutex<BTreeMap<CrewName, Arc<Crew>>>,
    closed: tokio::sync::watch::Sender<bool>,
}

impl std::fmt::Debug for Leasing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leasing").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Leasing {
    /// In these pools, for the holders of these keys.
    #[must_use]
    pub fn new(place: Place, pools: BTreeMap<PoolName, Terms>, keys: WorkerKeys) -> Arc<Self> {
        Arc::new(Self {
            place,
            keys,
            pools: Mutex::new(pools),
            desk: Arc::new(Desk::default()),
            crews: Mutex::default(),
            closed: tokio::sync::watch::channel(false).0,
        })
    }

    /// From now on in these pools, on these terms. Leases that there are keep theirs, and so does a crew as long as it works: a shorter
    /// lease of the scheduler's is kept up by the crew itself, which hears of it from the scheduler.
    pub fn serves(&self, pools: BTreeMap<PoolName, Terms>) {
        *self.pools() = pools;
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<PoolName, Terms>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who may pull.
    #[must_use]
    pub const fn keys(&self) -> &WorkerKeys {
        &self.keys
    }

    /// The leases.
    #[must_use]
    pub const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Whether an operator wants the workers of a crew to leave.
    fn is_leaving(&self, pool: &PoolName, crew: &WorkerId) -> bool {
        self.place.view.fleet(pool, |pool| pool.is_to_leave(crew))
    }

    /// A worker says that it is there and has the job.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn beat(&self, key: &WorkerKey, id: &str, token: &str) -> Result<Standing, NotDone> {
        self.desk.beat((&key.id, id, token), |lease| self.is_leaving(&lease.pool, &lease.crew))
    }

    /// Jobs for a worker, as soon as there is one; none when the wait is over, when it is to leave, or when this process ends.
    ///
    /// # Errors
    /// [`NotLeased`].
    pub async fn lease(self: &Arc<Self>, key: &WorkerKey, ask: Ask) -> Result<Given, NotLeased> {
        let terms = key.covers(&ask.pool, &ask.capabilities, &ask.labels).and_then(|()| {
            let unknown = || NotLeased::NotCovered { what: format!("pool `{}`", ask.pool) };
            self.pools().get(&ask.pool).copied().ok_or_else(unknown)
        })?;
        // Looked at again when a job is taken: others of the key may take some meanwhile.
        if self.desk.room_for(1, &key.id, key.max_leases) == 0 {
            return Err(NotLeased::TooManyLeases { most: key.max_leases });
        }
        let deadline = Instant::now() + ask.wait;
        loop {
            let crew = self.crew(key, &ask, terms)?;
            if let Some(given) = self.of_crew(&crew, key, &ask, deadline).await? {
                return Ok(given);
            }
            if *self.closed.borrow() {
                return Ok(Given { jobs: Vec::new(), drain: false });
            }
            // It has ended, since nobody asked it: this does, of the next.
        }
    }

    /// The same of one crew; `None` when it ends meanwhile.
    async fn of_crew(
        &self,
        crew: &Crew,
        key: &WorkerKey,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Option<Given>, NotLeased> {
        let mut closed = self.closed.subscribe();
        // Before looking: what comes in between wakes it.
        let mut commands = self.place.view.fleet_changes();
        let leaves = || self.is_leaving(&crew.name.pool, &crew.worker);
        if leaves() {
            // It wants nothing, and counts as one that waits.
            let _waits = crew.wait_for(0);
            tokio::select! {
                () = crew::until(&mut closed) => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + LEAVING)) => {}
            }
            return Ok(Some(Given { jobs: Vec::new(), drain: leaves() }));
        }
        let mut waits = crew.wait_for(ask.most.min(key.max_leases));
        let given = |jobs, drain| Ok(Some(Given { jobs, drain }));
        loop {
            let arrived = crew.arrived();
            if leaves() {
                return given(Vec::new(), true);
            }
            let jobs = waits.take(&ask.worker);
            if !jobs.is_empty() {
                return given(jobs, false);
            }
            match crew.over() {
                Some(Over::Broken(reason)) => return Err(NotLeased::Broken { reason }),
                Some(Over::Unused) => return Ok(None),
                None => {}
            }
            tokio::select! {
                () = arrived => {}
                // The sender lives as long as this.
                _ = commands.changed() => {}
                () = crew::until(&mut closed) => return given(Vec::new(), false),
                () = tokio::time::sleep_until(deadline) => return given(waits.take(&ask.worker), false),
            }
        }
    }

    /// The crew, which begins to work when it is new.
    fn crew(self: &Arc<Self>, key: &WorkerKey, ask: &Ask, terms: Terms) -> Result<Arc<Crew>, NotLeased> {
        let (pool, capabilities, labels) = (ask.pool.clone(), ask.capabilities.clone(), ask.labels.clone());
        let name = CrewName { key: key.id.clone(), pool, capabilities, labels };
        let mut crews = self.crews.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut of_key, mut waits_of_key, mut waits) = (0, 0, 0);
        for (name, crew) in &*crews {
            let waiting = crew.waiting();
            waits += waiting;
            if name.key == key.id {
                of_key += 1;
                waits_of_key += waiting;
            }
        }
        if waits_of_key >= WAITING.0 || waits >= WAITING.1 {
            return Err(NotLeased::TooMany { what: "too many requests wait for jobs" });
        }
        if let Some(crew) = crews.get(&name).filter(|crew| crew.over().is_none()) {
            return Ok(Arc::clone(crew));
        }
        if *self.closed.borrow() || of_key >= CREWS.0 || crews.len() >= CREWS.1 {
            return Err(NotLeased::TooMany {
                what: "too many different sets of capabilities and labels are asked with; let workers of a key ask with the same",
            });
        }
        let worker =
            crew::name_of(&self.place.name, &name).map_err(|error| NotLeased::Broken { reason: error.to_string() })?;
        let crew = Arc::new(Crew::new(worker, name.clone(), key.clone(), terms, Arc::clone(&self.desk)));
        crews.insert(name, Arc::clone(&crew));
        let leasing = Arc::clone(self);
        let working = Arc::clone(&crew);
        let task = tokio::spawn(async move {
            working.work(&leasing.place, leasing.closed.subscribe()).await;
            leasing.forget(&working);
        });
        crew.runs_in(task);
        Ok(crew)
    }

    fn forget(&self, gone: &Arc<Crew>) {
        let mut crews = self.crews.lock().unwrap_or_else(PoisonError::into_inner);
        if crews.get(&gone.name).is_some_and(|crew| Arc::ptr_eq(crew, gone)) {
            crews.remove(&gone.name);
        }
    }

    /// Whether this process ends: what would go on for long ends then.
    pub(crate) fn closing(&self) -> tokio::sync::watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Lets waiting requests go, and takes no more.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Gives every job back and ends; at most some seconds. Call [`Self::close`] before.
    pub async fn stop(&self) {
        self.close();
        let crews: Vec<Arc<Crew>> =
            self.crews.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for crew in crews {
            crew.ended().await;
        }
    }
}
