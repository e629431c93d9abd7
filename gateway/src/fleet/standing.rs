//! What is answered about pools and workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_protocol::job::SourcePosition;

use super::heard::{Heard, Said};
use super::known::{Cordon, Member, Pool};
use super::listen::FleetPool;
use crate::leasing::WorkerKeys;

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
    /// Those that were heard within a lease, and neither drain nor are cordoned in every shard.
    pub present: usize,
    /// Those that an operator lets have no further job, in some shards or in all.
    #[serde(default)]
    pub cordoned: usize,
    /// Jobs leased.
    pub running: u64,
    /// Jobs that present workers run at once.
    pub capacity: u64,
    /// Jobs that present workers would take now.
    pub free: u64,
    /// Jobs that nobody has and somebody could: records of its logs, and jobs that are to be tried again now (delayed ones, and those
    /// in the pause before their next attempt, are not among them).
    pub backlog: u64,
    /// For how long the first of those in its logs has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting_ms: Option<u64>,
    /// Workers of the configured `worker_slots` that backlog and running jobs ask for, rounded up; whether any is present or not.
    #[serde(default)]
    pub wanted_workers: u64,
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
    /// The same, but in some of the pool's shards alone: in the others it gets jobs.
    PartlyCordoned,
    /// It is cordoned, and not there.
    Absent,
    /// Not heard for a lease.
    Silent,
    /// It has not been heard since anybody listens.
    Unheard,
}

impl WorkerState {
    /// Whether it is there and may get jobs.
    const fn gets_jobs(self) -> bool {
        matches!(self, Self::Present | Self::PartlyCordoned)
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::PartlyCordoned => "partly cordoned",
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
    /// When it began, milliseconds since the Unix epoch: about, and later where a former life's clock was ahead.
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
    /// An operator's latest word: it gets no further job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// In how many of the pool's shards one counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cordoned_shards: u32,
    /// The jobs it has; only where one worker is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<SourcePosition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(shards: &u32) -> bool {
    *shards == 0
}

/// One of whom nothing was heard.
fn unheard(of: &FleetPool, worker: &WorkerId, pool: &Pool) -> WorkerStanding {
    let (cordon, cordoned_shards) = pool.cordon(worker).map(|(word, shards)| (word.clone(), shards)).unzip();
    WorkerStanding {
        pool: of.pool.clone(),
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
        cordon,
        cordoned_shards: cordoned_shards.unwrap_or_default(),
        jobs: Vec::new(),
    }
}

/// All workers of a pool.
pub(super) fn workers(
    of: &FleetPool,
    pool: &Pool,
    heard: &Heard,
    keys: &WorkerKeys,
    now_ms: u64,
) -> Vec<WorkerStanding> {
    let running = pool.running();
    let lease_ms = u64::try_from(of.lease.as_millis()).unwrap_or(u64::MAX);
    let standing = |(worker, shards): (&WorkerId, &BTreeMap<u32, Member>)| {
        let newest = shards.values().max_by_key(|member| member.incarnation)?;
        let mut standing = WorkerStanding {
            state: WorkerState::Unheard,
            incarnation: newest.incarnation,
            lane: newest.lane,
            running: running.get(worker).copied().unwrap_or_default(),
            ..unheard(of, worker, pool)
        };
        let (mut latest, mut leaving, mut credit): (Option<&Said>, bool, u64) = (None, false, 0);
        for (shard, member) in shards {
            let said = heard.of(&of.pool, worker, *shard).filter(|said| said.incarnation == member.incarnation);
            let Some(said) = said else { continue };
            standing.capacity += u64::from(said.capacity);
            leaving |= said.draining;
            if said.epoch == member.assigned.0 && !pool.is_cordoned_in(worker, *shard) {
                credit += said.credit.saturating_sub(member.assigned.1);
            }
            if latest.is_none_or(|latest| latest.heard_ms < said.heard_ms) {
                latest = Some(said);
            }
        }
        let Some(said) = latest else { return Some(standing) };
        // A crew asks several shards for the same jobs when nothing comes from one.
        if let Some(most) = keys.most_of(worker) {
            standing.capacity = standing.capacity.min(most as u64);
        }
        let ago = now_ms.saturating_sub(u64::try_from(said.heard_ms).unwrap_or_default());
        standing.state = match (ago > lease_ms, leaving, standing.cordoned_shards) {
            (true, ..) => WorkerState::Silent,
            (false, true, _) => WorkerState::Draining,
            (false, false, 0) => WorkerState::Present,
            (false, false, shards) if shards >= of.shards => WorkerState::Cordoned,
            (false, false, _) => WorkerState::PartlyCordoned,
        };
        standing.heard_ms_ago = Some(ago);
        if standing.state.gets_jobs() {
            standing.free = credit.min(standing.capacity.saturating_sub(standing.running));
        }
        standing.capabilities.clone_from(&said.capabilities);
        standing.tenants.clone_from(&said.tenants);
        standing.labels.clone_from(&said.labels);
        standing.load = said.load;
        Some(standing)
    };
    let absent = pool.cordons.keys().filter(|worker| !pool.workers.contains_key(*worker));
    let absent = absent.map(|worker| unheard(of, worker, pool));
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
    of: &FleetPool,
    pool: &Pool,
    workers: &[WorkerStanding],
    waiting: Waiting,
    now_ms: u64,
) -> PoolStanding {
    let present: Vec<_> = workers.iter().filter(|worker| worker.state.gets_jobs()).collect();
    let capacity: u64 = present.iter().map(|worker| worker.capacity).sum();
    let running: u64 = workers.iter().map(|worker| worker.running).sum();
    let backlog = waiting.backlog + pool.requeued(now_ms);
    let wanted = (backlog + running).div_ceil(u64::from(of.worker_slots).max(1));
    PoolStanding {
        pool: of.pool.clone(),
        shards: of.shards,
        lanes: of.lanes,
        workers: workers.iter().filter(|worker| worker.state != WorkerState::Absent).count(),
        present: present.len(),
        cordoned: workers.iter().filter(|worker| worker.cordon.is_some()).count(),
        running,
        capacity,
        free: present.iter().map(|worker| worker.free).sum(),
        backlog,
        oldest_waiting_ms: waiting.oldest_ms,
        wanted_workers: wanted,
        leased_per_s: pool.granted.per_s(now_ms),
        ended_per_s: pool.ended.per_s(now_ms),
        waited: pool.waited(now_ms),
        ran: pool.ran(now_ms),
        outcomes: pool.outcomes.iter().map(|(outcome, n)| (outcome.word().to_owned(), *n)).collect(),
        leases_lost: pool.lost,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tidegate_keys::BearerDigest;
    use tidegate_protocol::address::TopicName;
    use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
    use tidegate_protocol::ids::{CommandId, KeyId, PersonId};
    use tidegate_protocol::time::Timestamp;
    use tidegate_spine::{Headers, Record};

    use super::super::known::Known;
    use super::*;
    use crate::leasing::WorkerKey;

    const NOW: u64 = 1_700_000_000_000;

    fn pool_of_two_shards() -> FleetPool {
        let topic = |name: &str| TopicName::new(name).unwrap();
        FleetPool {
            pool: PoolName::new("bank").unwrap(),
            shards: 2,
            lanes: 4,
            worker_slots: 8,
            reports: topic("reports"),
            commands: topic("commands"),
            backlog: Vec::new(),
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
        }
    }

    fn present(known: &mut Known, heard: &mut Heard, of: &FleetPool, worker: &str, capacity: u32) {
        let worker = WorkerId::new(worker).unwrap();
        for shard in 0..of.shards {
            let welcomed = SchedulerFact::WorkerWelcomed { worker: worker.clone(), incarnation: 7, epoch: 1, lane: 0 };
            known.take(&of.pool, shard, Timestamp(NOW * 1_000), &welcomed, None);
            let beat = serde_json::json!({"heartbeat": {"worker": worker, "incarnation": 7, "lane": 0, "epoch": 1,
                "capabilities": ["pay"], "capacity": capacity, "running": [], "received": 0, "credit": capacity}});
            let record = Record {
                offset: 0,
                timestamp_ms: i64::try_from(NOW).unwrap(),
                key: None,
                headers: Headers::default(),
                value: Some(Bytes::from(beat.to_string())),
            };
            heard.take(&of.pool, shard, &record, |_| true);
        }
    }

    #[test]
    fn a_cordon_of_some_shards_is_said_to_be_that() {
        let (of, mut known, mut heard) = (pool_of_two_shards(), Known::default(), Heard::default());
        present(&mut known, &mut heard, &of, "w", 4);
        let mut cordoned_in = |shard: u32| {
            let fact = SchedulerFact::WorkerCordoned {
                worker: WorkerId::new("w").unwrap(),
                drain: false,
                tell: None,
                command: CommandId::new("c").unwrap(),
                by: PersonId::new("olga").unwrap(),
                at_ms: NOW,
                reason: String::new(),
            };
            known.take(&of.pool, shard, Timestamp(NOW * 1_000), &fact, None);
            let pool = known.pool(&of.pool).unwrap();
            let worker = workers(&of, pool, &heard, &WorkerKeys::default(), NOW).remove(0);
            (worker.state, worker.cordoned_shards, worker.free)
        };
        assert_eq!(cordoned_in(1), (WorkerState::PartlyCordoned, 1, 4));
        assert_eq!(cordoned_in(0), (WorkerState::Cordoned, 2, 0));
    }

    #[test]
    fn a_pool_whose_only_worker_is_gone_wants_one_for_the_job_that_is_to_be_tried_again() {
        let (of, mut known, heard) = (pool_of_two_shards(), Known::default(), Heard::default());
        let source: SourcePosition = "jobs/0@5".parse().unwrap();
        let token = tidegate_protocol::facts::Token { epoch: 1, attempt: 1 };
        let mut then = |fact: &SchedulerFact| {
            known.take(&of.pool, 0, Timestamp(NOW * 1_000), fact, None);
            let pool = known.pool(&of.pool).unwrap();
            let workers = workers(&of, pool, &heard, &WorkerKeys::default(), NOW);
            let standing = super::pool(&of, pool, &workers, Waiting::default(), NOW);
            (standing.running, standing.backlog, standing.wanted_workers)
        };
        let grant = SchedulerFact::LeaseGranted {
            source: source.clone(),
            worker: WorkerId::new("w").unwrap(),
            incarnation: 7,
            token,
            number: 1,
            lane: 0,
            work: None,
            moved: 0,
            spends: Vec::new(),
        };
        let ends = |until| SchedulerFact::LeaseExpired { source: source.clone(), token, end: LeaseEnd::Silent, until };
        assert_eq!(then(&grant), (1, 0, 1));
        assert_eq!(then(&ends(None)), (0, 1, 1));
        assert_eq!(then(&grant), (1, 0, 1), "it is not counted twice");
        assert_eq!(then(&ends(Some(Timestamp((NOW + 1) * 1_000)))), (0, 0, 0), "not yet");
        assert_eq!(then(&SchedulerFact::JobDue { source: source.clone() }), (0, 1, 1));
        assert_eq!(then(&grant), (1, 0, 1));
        assert_eq!(then(&ends(Some(Timestamp(NOW * 1_000)))), (0, 1, 1), "its time has come, whoever says so");
    }

    #[test]
    fn a_crew_has_the_slots_of_its_key_however_many_shards_there_are() {
        let (of, mut known, mut heard) = (pool_of_two_shards(), Known::default(), Heard::default());
        let key = WorkerKey {
            id: KeyId::new("acme").unwrap(),
            digest: BearerDigest::of("secret"),
            tenants: None,
            pools: None,
            capabilities: None,
            labels: None,
            enforces: std::collections::BTreeSet::new(),
            max_leases: 5,
            until_ms: None,
        };
        present(&mut known, &mut heard, &of, "http:host:7070:acme:0011", 5);
        present(&mut known, &mut heard, &of, "other", 5);
        let keys = WorkerKeys::new([key]).unwrap();
        let found = workers(&of, known.pool(&of.pool).unwrap(), &heard, &keys, NOW);
        assert_eq!(found.iter().map(|worker| worker.capacity).collect::<Vec<_>>(), [5, 10]);
    }
}
