//! One worker process towards one shard of a pool, as a pure state machine: no IO, no clock, no randomness, no async
//! runtime. The library drives it with a spine, the simulation with a simulated one.
//!
//! Words: an **incarnation** is one life of the worker on one lane; an **epoch** is one owner of the shard, learnt from
//! its Welcome; a **job** here is one assignment, named by source position and fencing token ([`JobKey`]); a result
//! is **unsettled** until the owner has said that it counts or does not.
//!
//! Invariants:
//! * An assignment is run only if it names this incarnation and the highest epoch welcomed, and its number is above
//!   every number met in that epoch; so each is run at most once.
//! * At most `capacity` jobs occupy a slot. A job that lost its lease keeps its slot until its handler is back. One that waits for a
//!   job that it spawned gives its slot up meanwhile ([`Session::waits`]), so that no chain of jobs blocks its own end; when it
//!   goes on while its slot is taken, one more runs for that time, and nothing new is taken.
//! * Credit is a total: within an epoch it never falls and is at most `received + capacity`, and rises only as far as
//!   slots are offered ([`Session::offer`]). An assignment beyond it,
//!   while draining, or while the leases are in doubt, is given back and not run.
//! * A heartbeat restates everything that is held: live jobs and unsettled results. What lost its lease is not in it.
//! * One append at a time: while one is under way, whatever there is to say gathers, and goes out in one batch after it.
//!
//! Numbers of incarnations are compared with each other alone, so no clock need be right. One that is not above the number that its name
//! has is outrun ([`Action::Outrun`]): a life before had a clock that was ahead, or another process has the name. It rises above that
//! number, and whoever else lives under the name meets a higher one after its own welcome, and stops ([`Action::Superseded`]): of two
//! processes one goes on, and as nobody rises above what came after its own welcome, they do not take turns.
//!
//! A Welcome of the epoch that is already the highest starts nothing anew; numbers begin again only with a higher epoch.
//!
//! Failure: when no append of this worker landed for a full lease, its leases are in doubt ([`proof`]). Unless it was told to stop
//! them its jobs run on and are listed, and results are kept and sent: the owner says which of the leases still stand. An append that
//! failed for good is said again in full.
//!
//! Absent on purpose: the lane itself (which inbox, which offsets), encoding, and everything about how a job runs.

mod orders;
pub(crate) mod partial;
mod proof;
mod reports;
mod usage;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::Partial;
use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;

pub use self::proof::WhenUnproven;

/// Hello is said again this often until a Welcome comes; from then on heartbeats are as far apart as it says.
pub const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);
/// Signs of progress go out in batches at least this far apart.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Most bytes of partial output of one job that are sent at once, as JSON text, and of all of them: a record of progress is far
/// smaller than any topic's bound.
pub const PARTIAL: (usize, usize) = (64 << 10, 1 << 20);
/// Unsettled results beyond `capacity + UNSETTLED` hold new credit back until the owner settles some.
pub const UNSETTLED: usize = 1_024;

/// Who the worker is towards one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The worker's name, stable over its incarnations.
    pub worker: WorkerId,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Jobs of this shard it runs at once, at first ([`Session::set_capacity`]).
    pub capacity: u32,
}

/// One life on one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number; higher than that of every earlier life of the process, and, once it was welcomed, of the worker.
    pub number: u64,
    /// The lane it reads.
    pub lane: u32,
    /// The lane's offset from which it reads.
    pub lane_position: u64,
}

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The job's record.
    pub source: SourcePosition,
    /// The token its result must carry.
    pub token: Token,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (token {}.{})", self.source, self.token.epoch, self.token.attempt)
    }
}

/// How a job ended here. `outcome` is `Succeeded`, `Failed`, `Cancelled` or `TimedOut`; a scheduler refuses others.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The outcome.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
    /// What it gives back.
    pub output: Option<Box<RawValue>>,
    /// Of a failure: whether another attempt may go better.
    pub retry: Retry,
}

/// Whether a failure is final. How often and when a job is tried again is the scheduler's to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retry {
    /// It is: the job ends as failed.
    #[default]
    Never,
    /// Another attempt may go better.
    Backoff,
    /// The same, but not before so much time has passed.
    After(Duration),
}

impl Ended {
    /// A final failure without output.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, reason: reason.into(), output: None, retry: Retry::Never }
    }
}

/// Why an order had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// For an earlier incarnation of this worker.
    OtherIncarnation,
    /// From an owner other than the one of the highest Welcome.
    OtherEpoch,
    /// Its number, or its job, was met before.
    Repeated,
    /// Settles what is not held (any more).
    NotHeld,
}

impl Ignored {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OtherIncarnation => "other_incarnation",
            Self::OtherEpoch => "other_epoch",
            Self::Repeated => "repeated",
            Self::NotHeld => "not_held",
        }
    }
}

/// What the driver is to do, or to know.
#[derive(Debug, Clone)]
pub enum Action {
    /// Run it and call [`Session::finished`] (or [`Session::give_back`]) once.
    Run {
        /// The job.
        job: JobKey,
        /// The record from `approved`, unread.
        work: Box<RawValue>,
    },
    /// Its lease is gone: stop it. [`Session::finished`] is still to be called, it frees the slot; the result goes
    /// nowhere.
    LeaseLost {
        /// The job.
        job: JobKey,
    },
    /// It is called off: stop it, and call [`Session::finished`] with how it ended.
    Cancel {
        /// The job.
        job: JobKey,
        /// Who called it off and why.
        reason: String,
    },
    /// An operator wants the worker to leave: drain ([`Session::drain`]) towards every shard, and end.
    Drain {
        /// Who wants it and why.
        reason: String,
    },
    /// A result was settled.
    Settled {
        /// The job.
        job: JobKey,
        /// Whether it counts.
        accepted: bool,
        /// Why not.
        reason: String,
    },
    /// An assignment came while draining, beyond the credit, or while leases are in doubt, and goes back unrun.
    GivenBack {
        /// The job.
        job: JobKey,
    },
    /// Reports name this epoch from now on.
    Welcomed {
        /// The owner's epoch.
        epoch: u64,
    },
    /// The worker's name has this number, which is not below ours: [`Session::restart`] all its sessions with one above it.
    Outrun {
        /// The number.
        known: u64,
    },
    /// Another process reports under this worker's name with a higher incarnation, and was welcomed after ours: stop.
    Superseded {
        /// Its incarnation.
        incarnation: u64,
    },
    /// The order had no effect.
    Ignored {
        /// Why.
        why: Ignored,
    },
}

#[derive(Debug)]
struct Running {
    /// When it was received.
    since: Timestamp,
    /// Its lease is gone.
    lost: bool,
}

#[derive(Debug, Default)]
struct Progress {
    fraction: Option<f64>,
    note: String,
    partial: Option<Partial>,
    /// Bytes of the piece as JSON text.
    encoded: usize,
}

/// What the append under way says that must be said again if it fails.
#[derive(Debug, Default)]
struct Flight {
    hello: bool,
    results: Vec<JobKey>,
    give_backs: Vec<JobKey>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    incarnation: Incarnation,
    /// Highest Welcome; 0 before the first.
    epoch: u64,
    /// A shard has welcomed the worker since its process began.
    established: bool,
    heartbeat: Duration,
    lease: Duration,
    /// Highest assignment number met in `epoch`.
    received: u64,
    /// Highest credit total told or owed in `epoch`.
    granted: u64,
    /// Credit total as last handed to an append.
    told: u64,
    draining: bool,
    /// The tenants whose jobs it takes; `None` for all.
    tenants: Option<Vec<TenantId>>,
    /// What jobs may ask of it beside capabilities.
    labels: BTreeMap<String, String>,
    load: Option<f64>,
    /// Most further jobs it asks for.
    offered: u32,
    jobs: BTreeMap<JobKey, Running>,
    /// Those of them that wait for jobs that they spawned; none of them is lost.
    waiting: BTreeSet<JobKey>,
    results: BTreeMap<JobKey, Ended>,
    /// Results to be sent, oldest first; a key without a result was settled meanwhile.
    unsent: VecDeque<JobKey>,
    give_backs: VecDeque<JobKey>,
    progress: BTreeMap<JobKey, Progress>,
    progress_at: Timestamp,
    /// Of jobs that have ended.
    last_words: Vec<(JobKey, Progress)>,
    /// Of all pieces in `progress`; too much rather than too little.
    partial_bytes: usize,
    hello_wanted: bool,
    heartbeat_wanted: bool,
    heartbeat_at: Timestamp,
    /// When the append under way was handed over.
    in_flight: Option<Timestamp>,
    flight: Flight,
    /// When the last append that landed was handed over.
    proven: Timestamp,
    unproven: WhenUnproven,
}

impl Session {
    /// A session that has yet to say Hello. `now` here and below comes from one clock that never goes back.
    #[must_use]
    pub fn new(identity: Identity, incarnation: Incarnation, now: Timestamp) -> Self {
        Self {
            identity,
            incarnation,
            epoch: 0,
            established: false,
            heartbeat: FIRST_HEARTBEAT,
            lease: FIRST_HEARTBEAT,
            received: 0,
            granted: 0,
            told: 0,
            draining: false,
            tenants: None,
            labels: BTreeMap::new(),
            load: None,
            offered: u32::MAX,
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            results: BTreeMap::new(),
            unsent: VecDeque::new(),
            give_backs: VecDeque::new(),
            progress: BTreeMap::new(),
            progress_at: now,
            last_words: Vec::new(),
            partial_bytes: 0,
            hello_wanted: true,
            heartbeat_wanted: false,
            heartbeat_at: now,
            in_flight: None,
            flight: Flight::default(),
            proven: now,
            unproven: WhenUnproven::Keep,
        }
    }

    /// From now on so many jobs of this shard may occupy a slot. Those that do beyond it stay. Credit that was granted before stays
    /// granted; an assignment beyond the capacity goes back.
    pub fn set_capacity(&mut self, jobs: u32) {
        self.heartbeat_wanted |= self.epoch > 0 && jobs != self.identity.capacity;
        self.identity.capacity = jobs;
    }

    /// Jobs that occupy a slot.
    #[must_use]
    pub fn slots_taken(&self) -> u32 {
        u32::try_from(self.occupied()).unwrap_or(u32::MAX)
    }

    /// What jobs may ask of it beside capabilities; to be said before anything else.
    #[must_use]
    pub fn labelled(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = labels;
        self
    }

    /// How busy what it runs on is, 0 to 1; told with the next heartbeat.
    pub fn loaded(&mut self, load: f64) {
        self.load = load.is_finite().then(|| load.clamp(0.0, 1.0));
    }

    /// Takes jobs of these tenants alone; to be said before anything else.
    #[must_use]
    pub fn of_tenants(mut self, tenants: Option<Vec<TenantId>>) -> Self {
        self.tenants = tenants;
        self
    }

    /// Asks for at most so many jobs beyond those it has: fewer than it has free slots where somebody else has to take them
    /// up. What was granted before stays granted.
    pub fn offer(&mut self, jobs: u32) {
        self.offered = jobs;
    }

    /// Another shard has welcomed the worker: whoever is welcomed with a higher number from now on came later.
    pub fn welcomed_elsewhere(&mut self) {
        self.established = true;
    }

    /// A new life, on another place in the lane or above a number that its name has: every lease of the old one is lost, unsettled results are forgotten
    /// (their owner gives the jobs out again), and Hello is said again. `incarnation.number` must be higher than before.
    pub fn restart(&mut self, incarnation: Incarnation, now: Timestamp) -> Vec<Action> {
        let lost = self.lose(|_| true);
        self.incarnation = incarnation;
        self.epoch = 0;
        self.received = 0;
        self.granted = 0;
        self.told = 0;
        self.results.clear();
        self.unsent.clear();
        self.give_backs.clear();
        self.last_words.clear();
        self.flight = Flight::default();
        self.hello_wanted = true;
        self.heartbeat_wanted = false;
        self.heartbeat_at = now;
        lost
    }

    /// The job ended. `false` when its lease was lost (or it is unknown): the result goes nowhere.
    pub fn finished(&mut self, job: &JobKey, ended: Ended) -> bool {
        let said = self.progress.remove(job);
        self.waiting.remove(job);
        let held = self.jobs.remove(job).is_some_and(|running| !running.lost);
        if held {
            // The end of what it told goes out before how it ended.
            self.last_words.extend(said.filter(|said| said.partial.is_some()).map(|said| (job.clone(), said)));
            self.unsent.push_back(job.clone());
            self.results.insert(job.clone(), ended);
        }
        held
    }

    /// The job was not run, or was stopped by the drain, and goes back for another worker. `false` as in `finished`.
    pub fn give_back(&mut self, job: &JobKey) -> bool {
        self.progress.remove(job);
        self.waiting.remove(job);
        let held = self.jobs.remove(job).is_some_and(|running| !running.lost);
        if held {
            self.give_backs.push_back(job.clone());
        }
        held
    }

    /// Whoever ran the job is gone, and nothing is known of it: it is held no longer, which the owner takes as a lease that
    /// ended badly. `false` as in `finished`.
    pub fn abandon(&mut self, job: &JobKey) -> bool {
        self.progress.remove(job);
        self.waiting.remove(job);
        let held = self.jobs.remove(job).is_some_and(|running| !running.lost);
        // The next restatement does not list it.
        self.heartbeat_wanted |= held && self.epoch > 0;
        held
    }

    /// The job waits from now on, or no longer, for a job that it spawned: its slot is free meanwhile.
    pub fn waits(&mut self, job: &JobKey, waits: bool) {
        let live = self.jobs.get(job).is_some_and(|running| !running.lost);
        let changed = if live && waits { self.waiting.insert(job.clone()) } else { self.waiting.remove(job) };
        self.heartbeat_wanted |= changed && self.epoch > 0;
    }

    /// A sign of progress; only the latest of a job is kept until it is sent. Not said again if its append fails.
    pub fn progressed(&mut self, job: &JobKey, fraction: Option<f64>, note: String) {
        if self.jobs.get(job).is_some_and(|running| !running.lost) {
            let said = self.progress.entry(job.clone()).or_default();
            (said.fraction, said.note) = (fraction, note);
        }
    }

    /// A piece of a job's output. Pieces that follow each other are joined until they are sent; what is more than
    /// [`PARTIAL`] is dropped. Not said again if its append fails.
    pub fn partial(&mut self, job: &JobKey, piece: Partial) {
        if self.jobs.get(job).is_none_or(|running| running.lost) {
            return;
        }
        if self.progress.is_empty() && self.last_words.is_empty() {
            self.partial_bytes = 0;
        }
        let bytes = partial::encoded(&piece.text);
        if bytes > PARTIAL.0 || self.partial_bytes + bytes > PARTIAL.1 {
            return;
        }
        let said = self.progress.entry(job.clone()).or_default();
        match &mut said.partial {
            Some(begun) => {
                let end = begun.at.saturating_add(u64::try_from(begun.text.len()).unwrap_or(u64::MAX));
                if piece.at != end || said.encoded + bytes > PARTIAL.0 {
                    return;
                }
                begun.text.push_str(&piece.text);
            }
            none => *none = Some(piece),
        }
        said.encoded += bytes;
        self.partial_bytes += bytes;
    }

    /// Takes nothing new from here on; what runs may finish.
    pub fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            // Before the first Welcome nobody can assign anything.
            self.heartbeat_wanted = self.epoch > 0;
        }
    }

    /// Whether nothing is left to do or to say: no job occupies a slot, every result is settled, what else there was to
    /// say has landed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.results.is_empty() && self.in_flight.is_none() && !self.has_news()
    }

    /// Jobs that occupy a slot, lost ones included.
    #[must_use]
    pub fn occupied(&self) -> usize {
        self.jobs.len().saturating_sub(self.waiting.len())
    }

    /// Results not yet settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.results.len()
    }

    /// Epoch of the highest Welcome of this incarnation; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its present incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The assignments it would take right now: credit total less the highest number received.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.credit().saturating_sub(self.received)
    }

    /// Marks live jobs that `which` chooses as lost.
    fn lose(&mut self, which: impl Fn(&Running) -> bool) -> Vec<Action> {
        let mut lost = Vec::new();
        for (job, running) in &mut self.jobs {
            if !running.lost && which(running) {
                running.lost = true;
                self.progress.remove(job);
                self.waiting.remove(job);
                lost.push(Action::LeaseLost { job: job.clone() });
            }
        }
        lost
    }

    /// The credit total of this epoch: never falls, except to what was received when draining.
    fn credit(&self) -> u64 {
        if self.draining || self.epoch == 0 {
            return self.received;
        }
        let capacity = self.identity.capacity as usize;
        let slots = capacity.saturating_sub(self.occupied());
        let room = (capacity + UNSETTLED).saturating_sub(self.results.len());
        let further = (slots.min(room) as u64).min(self.offered.into());
        self.granted.max(self.received.saturating_add(further))
    }
}
