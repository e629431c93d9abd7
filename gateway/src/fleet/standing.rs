//! What is answered about pools and workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_protocol::job::SourcePosition;

use super::heard::{Heard, Said};
use super::known::{Cordon, Member, Pool};

/// Times of the last minute, milliseconds; nothing when there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Of how many.
    pub n: usize,
    /// Half took no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99 of 100 took no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
}

/// A pool as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStanding {
    /// The pool.
    pub pool: PoolName,
    /// Its shards.
    pub shards: u32,
    /// Partitions of `work.<pool>`.
    pub lanes: u32,
    /// Workers known to it.
    pub workers: usize,
    /// Those that were heard within a lease, and neither drain nor are cordoned.
    pub present: usize,
    /// Those that an operator lets have no further job.
    #[serde(default)]
    pub cordoned: usize,
    /// Jobs leased.
    pub running: u64,
    /// Jobs that present workers run at once.
    pub capacity: u64,
    /// Jobs that present workers would take now.
    pub free: u64,
    /// Records of its logs that nobody has yet (delayed jobs, and jobs to be tried again, are not among them).
    pub backlog: u64,
    /// For how long the first of them has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting_ms: Option<u64>,
    /// Workers such as are present that backlog and running jobs ask for; nothing while none was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_workers: Option<u64>,
    /// Leases granted, per second over ten.
    pub leased_per_s: f64,
    /// Jobs ended, per second over ten.
    pub ended_per_s: f64,
    /// From verdict to the first lease.
    pub waited: Quantiles,
    /// From lease to end.
    pub ran: Quantiles,
    /// Jobs ended, by outcome, as far as the log reaches back.
    pub outcomes: BTreeMap<String, u64>,
    /// Leases that ended without result, as far.
    pub leases_lost: u64,
}

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Heard within a lease: it gets jobs.
    Present,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It is heard, and an operator lets it have no further job.
    Cordoned,
    /// It is cordoned, and not there.
    Absent,
    /// Not heard for a lease.
    Silent,
    /// It has not been heard since anybody listens.
    Unheard,
}

impl WorkerState {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Absent => "absent",
            Self::Silent => "silent",
            Self::Unheard => "unheard",
        }
    }
}

/// A worker as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStanding {
    /// Its pool.
    pub pool: PoolName,
    /// The worker. Those that pull over HTTP stand here as crews: `http:…`.
    pub worker: WorkerId,
    /// How it stands.
    pub state: WorkerState,
    /// When it began, as it counts: milliseconds since the Unix epoch.
    pub incarnation: u64,
    /// The lane it reads.
    pub lane: u32,
    /// How long ago it was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms_ago: Option<u64>,
    /// Jobs it has, by the facts.
    pub running: u64,
    /// Jobs it runs at once, as it says, over all shards.
    pub capacity: u64,
    /// Jobs it would take now, as it says.
    pub free: u64,
    /// What it can do, as it says.
    pub capabilities: Vec<String>,
    /// The tenants it works for; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How loaded it says it is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// An operator's word: it gets no further job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// The jobs it has; only where one worker is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<SourcePosition>,
}

/// All workers of a pool.
pub(super) fn workers(name: &PoolName, pool: &Pool, heard: &Heard, lease_ms: u64, now_ms: u64) -> Vec<WorkerStanding> {
    let running = pool.running();
    // The same command goes to every shard; the latest stands for all.
    let cordon_of = |worker: &WorkerId| {
        let latest = pool.cordons.get(worker)?.values().max_by_key(|cordon| cordon.at_ms)?;
        Some(latest.clone())
    };
    let standing = |(worker, shards): (&WorkerId, &BTreeMap<u32, Member>)| {
        let newest = shards.values().max_by_key(|member| member.incarnation)?;
        let mut standing = WorkerStanding {
            pool: name.clone(),
            worker: worker.clone(),
            state: WorkerState::Unheard,
            incarnation: newest.incarnation,
            lane: newest.lane,
            heard_ms_ago: None,
            running: running.get(worker).copied().unwrap_or_default(),
            capacity: 0,
            free: 0,
            capabilities: Vec::new(),
            tenants: None,
            labels: BTreeMap::new(),
            load: None,
            cordon: cordon_of(worker),
            jobs: Vec::new(),
        };
        let (mut latest, mut leaving, mut credit): (Option<&Said>, bool, u64) = (None, false, 0);
        for (shard, member) in shards {
            let said = heard.of(name, worker, *shard).filter(|said| said.incarnation == member.incarnation);
            let Some(said) = said else { continue };
            standing.capacity += u64::from(said.capacity);
            leaving |= said.draining;
            if said.epoch == member.assigned.0 {
                credit += said.credit.saturating_sub(member.assigned.1);
            }
            if latest.is_none_or(|latest| latest.heard_ms < said.heard_ms) {
                latest = Some(said);
            }
        }
        let Some(said) = latest else { return Some(standing) };
        let ago = now_ms.saturating_sub(u64::try_from(said.heard_ms).unwrap_or_default());
        standing.state = match (ago > lease_ms, leaving, standing.cordon.is_some()) {
            (true, ..) => WorkerState::Silent,
            (false, true, _) => WorkerState::Draining,
            (false, false, true) => WorkerState::Cordoned,
            (false, false, false) => WorkerState::Present,
        };
        standing.heard_ms_ago = Some(ago);
        if standing.state == WorkerState::Present {
            standing.free = credit.min(standing.capacity.saturating_sub(standing.running));
        }
        standing.capabilities.clone_from(&said.capabilities);
        standing.tenants.clone_from(&said.tenants);
        standing.labels.clone_from(&said.labels);
        standing.load = said.load;
        Some(standing)
    };
    let absent =
        pool.cordons.keys().filter(|worker| !pool.workers.contains_key(*worker)).map(|worker| WorkerStanding {
            pool: name.clone(),
            worker: worker.clone(),
            state: WorkerState::Absent,
            incarnation: 0,
            lane: 0,
            heard_ms_ago: None,
            running: 0,
            capacity: 0,
            free: 0,
            capabilities: Vec::new(),
            tenants: None,
            labels: BTreeMap::new(),
            load: None,
            cordon: cordon_of(worker),
            jobs: Vec::new(),
        });
    pool.workers.iter().filter_map(standing).chain(absent).collect()
}

/// What is known of a pool's logs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    pub(super) backlog: u64,
    pub(super) oldest_ms: Option<u64>,
}

/// The pool itself, of which these are the workers.
pub(super) fn pool(
    (name, shards, lanes): (&PoolName, u32, u32),
    pool: &Pool,
    workers: &[WorkerStanding],
    waiting: Waiting,
    now_ms: u64,
) -> PoolStanding {
    let present: Vec<_> = workers.iter().filter(|worker| worker.state == WorkerState::Present).collect();
    let capacity: u64 = present.iter().map(|worker| worker.capacity).sum();
    let running: u64 = workers.iter().map(|worker| worker.running).sum();
    // As many as `present`, at their average: rounded up.
    let wanted = (waiting.backlog + running).saturating_mul(present.len() as u64).div_ceil(capacity.max(1));
    PoolStanding {
        pool: name.clone(),
        shards,
        lanes,
        workers: workers.iter().filter(|worker| worker.state != WorkerState::Absent).count(),
        present: present.len(),
        cordoned: workers.iter().filter(|worker| worker.cordon.is_some()).count(),
        running,
        capacity,
        free: present.iter().map(|worker| worker.free).sum(),
        backlog: waiting.backlog,
        oldest_waiting_ms: waiting.oldest_ms,
        wanted_workers: (capacity > 0).then_some(wanted),
        leased_per_s: pool.granted.per_s(now_ms),
        ended_per_s: pool.ended.per_s(now_ms),
        waited: pool.waited(now_ms),
        ran: pool.ran(now_ms),
        outcomes: pool.outcomes.iter().map(|(outcome, n)| (outcome.word().to_owned(), *n)).collect(),
        leases_lost: pool.lost,
    }
}
