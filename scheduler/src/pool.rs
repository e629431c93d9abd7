//! A pool as its schedulers see it: names, numbers of partitions, terms and bounds. As written -> checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{BadTopicName, TopicName, TopicPartition};
use tidegate_protocol::command::People;
use tidegate_protocol::ids::{BadName, Capability, PoolName, SenderId, SourceName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::signature::Trust;
use tidegate_protocol::topics::Topic;
use tidegate_stage::{InputKind, InputSpec, Pace, ShardSpec, Writers};

use crate::commands::Operators;
use crate::lent::{Lending, Lent, NotLent};
use crate::retry::Policy;
use crate::shares::{CapabilityLimit, Shares, TenantShare};
use crate::work::Work;

/// What a pool's file may say about scheduling; every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Jobs one worker process runs at once (its concurrency), for the number of workers that is asked for: scheduling itself goes by
    /// what each worker says.
    pub worker_slots: u32,
    /// A lease lasts this long after the last heartbeat that names it, milliseconds, at least 30.
    pub lease_ms: u64,
    /// A worker reports at least this often, milliseconds; at most a third of the lease. Default: a quarter of it.
    pub heartbeat_ms: Option<u64>,
    /// Attempts that may fail and be retried, or end badly (silence, a restart of the worker, lost), before the job is
    /// dead, at least 1. What a worker gave back does not count. A job may ask for fewer.
    pub max_attempts: u32,
    /// Longest pause after the first failed attempt, milliseconds; it doubles with every further one. The pause is drawn
    /// between nothing and this (full jitter). A job may ask for another, up to `max_backoff_ms`.
    pub backoff_ms: u64,
    /// What a pause does not grow beyond, milliseconds, at most a day.
    pub max_backoff_ms: u64,
    /// A waiting job counts one level of priority higher for every so many milliseconds it waits; 0: never.
    pub aging_ms: u64,
    /// What tenants may have of this pool, by name.
    pub tenants: BTreeMap<TenantId, TenantShare>,
    /// What each of the others may have.
    pub other_tenants: TenantShare,
    /// What all tenants together may have of capabilities, by name: of the jobs that need them.
    pub capabilities: BTreeMap<Capability, CapabilityLimit>,
    /// A worker that was told to stop a job has so long to end it, milliseconds; then it ends without it.
    pub cancel_grace_ms: u64,
    /// A leased job of which no progress is reported for so long is stopped, and the attempt counts as failed, milliseconds, at
    /// least a heartbeat. Time in which it waits for a job that it spawned does not count. Unset: no job is, its worker's
    /// heartbeats are enough.
    pub progress_timeout_ms: Option<u64>,
    /// Most jobs that wait in the state for a later start; further ones wait in the window and in the log. Nothing more is
    /// read while twice as many are delayed, pauses between attempts included.
    pub delayed_jobs: usize,
    /// Most bytes of them; the same.
    pub delayed_bytes: usize,
    /// Most jobs that wait in memory, a shard; the rest waits in the log.
    pub window_jobs: usize,
    /// Most bytes of them.
    pub window_bytes: usize,
    /// Most workers a shard knows; a further one is not welcomed until one is forgotten.
    pub max_workers: usize,
    /// A worker that holds nothing and is silent for this long is forgotten, milliseconds.
    pub forget_after_ms: u64,
    /// Largest job record (`{v, job, decision, payload}`) that is handed out, bytes; a larger one is dead.
    pub max_work_bytes: usize,
    /// Largest output of a job, bytes; a job with a larger one is dead.
    pub max_output_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            worker_slots: 8,
            lease_ms: 10_000,
            heartbeat_ms: None,
            max_attempts: 5,
            backoff_ms: 1_000,
            max_backoff_ms: 60_000,
            aging_ms: 60_000,
            tenants: BTreeMap::new(),
            other_tenants: TenantShare::default(),
            capabilities: BTreeMap::new(),
            cancel_grace_ms: 10_000,
            progress_timeout_ms: None,
            delayed_jobs: 10_000,
            delayed_bytes: 64 << 20,
            window_jobs: 10_000,
            window_bytes: 64 << 20,
            max_workers: 100_000,
            forget_after_ms: 600_000,
            max_work_bytes: 1_000_000,
            max_output_bytes: 900_000,
        }
    }
}

/// Where a pool's shards read and write: fixed by the topics as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Prefix of all topics, with its own dot.
    pub prefix: String,
    /// The pool.
    pub pool: PoolName,
    /// Shards of the pool = partitions of `reports.<pool>` and `leases.<pool>`, at least 1; fixed for its life.
    pub shards: u32,
    /// Partitions of `approved.<pool>`, and of `overflow.<pool>`, at least as many as shards.
    pub buckets: u32,
    /// Partitions of `work.<pool>`, at least 1.
    pub lanes: u32,
    /// Partitions of `finished`, at least 1.
    pub finished_partitions: u32,
    /// Partitions of `dead`, at least 1.
    pub dead_partitions: u32,
    /// The sources whose kernels are told how jobs end, with their partitions.
    pub sources: BTreeMap<SourceName, u32>,
    /// Where a pool of several shards borrows its limits; one of one shard keeps them itself.
    pub lending: Lending,
}

/// A pool that cannot be scheduled as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// A number is outside its bounds.
    #[error("pool `{pool}`: `{field}` is {value}, but must be {bound}")]
    OutOfBounds {
        /// The pool.
        pool: PoolName,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule.
        bound: String,
    },
    /// A limit that one shard could keep, and several cannot share.
    #[error("pool `{pool}` has {shards} shards, which cannot share a limit of {whose}: {reason}")]
    LimitsOverShards {
        /// The pool.
        pool: PoolName,
        /// Its shards.
        shards: u32,
        /// Whose limit.
        whose: String,
        /// Why.
        reason: String,
    },
    /// Prefix and pool make no topic name.
    #[error("pool `{pool}` has no valid topics under this prefix")]
    Topic {
        /// The pool.
        pool: PoolName,
        /// Which name, and why.
        source: BadTopicName,
    },
    /// The pool's name is too long for a sender.
    #[error("pool `{pool}` has no valid sender name")]
    Sender {
        /// The pool.
        pool: PoolName,
        /// Why.
        source: BadName,
    },
}

/// A checked pool.
#[derive(Debug, Clone)]
pub struct Pool {
    pub(crate) layout: Layout,
    pub(crate) worker_slots: u32,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    /// Before a job's own wish.
    retry: Policy,
    pub(crate) aging: Duration,
    pub(crate) shares: Shares,
    /// How its limits are lent, when it has several shards.
    pub(crate) lent: Option<Lent>,
    pub(crate) cancel_grace: Duration,
    pub(crate) progress_timeout: Option<Duration>,
    pub(crate) delayed_jobs: usize,
    pub(crate) delayed_bytes: usize,
    pub(crate) window_jobs: usize,
    pub(crate) window_bytes: usize,
    pub(crate) max_workers: usize,
    pub(crate) forget_after: Duration,
    pub(crate) max_work_bytes: usize,
    pub(crate) max_output_bytes: usize,
    pub(crate) topics: Topics,
    pub(crate) operators: Operators,
    pub(crate) cloudevents: bool,
}

/// Full names of the topics a scheduler meets.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) approved: TopicName,
    pub(crate) withdrawals: TopicName,
    pub(crate) overflow: TopicName,
    pub(crate) reports: TopicName,
    pub(crate) commands: TopicName,
    pub(crate) leases: TopicName,
    pub(crate) work: TopicName,
    pub(crate) finished: TopicName,
    pub(crate) dead: TopicName,
    pub(crate) outcomes: BTreeMap<SourceName, TopicName>,
    pub(crate) grants: TopicName,
    pub(crate) limit_requests: TopicName,
    pub(crate) snapshots: TopicName,
    pub(crate) shards: TopicName,
}

impl Pool {
    /// Most capabilities that a pool of several shards may limit: places and starts of each, and of the tenant, are no more
    /// limits than a job may take of ([`tidegate_wallet::MOST_SPENDS`]).
    pub const MOST_LENT_CAPABILITIES: usize = tidegate_wallet::MOST_SPENDS / 2 - 1;

    /// Jobs one worker process is said to run at once, at least 1.
    #[must_use]
    pub const fn worker_slots(&self) -> u32 {
        self.worker_slots
    }

    /// Checks layout and tuning.
    ///
    /// # Errors
    /// [`BadPool`] names the first field outside its bounds, or the topic that has no valid name.
    pub fn new(layout: Layout, tuning: &Tuning) -> Result<Self, BadPool> {
        let pool = layout.pool.clone();
        let check = |field, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let bound = format!("{least} to {most}");
            Err(BadPool::OutOfBounds { pool: pool.clone(), field, value, bound })
        };
        let many = u64::from(u32::MAX);
        check("shards", layout.shards.into(), 1, 10_000)?;
        check("buckets", layout.buckets.into(), layout.shards.into(), 10_000)?;
        check("lanes", layout.lanes.into(), 1, 100_000)?;
        check("finished_partitions", layout.finished_partitions.into(), 1, 100_000)?;
        check("dead_partitions", layout.dead_partitions.into(), 1, 100_000)?;
        check("worker_slots", tuning.worker_slots.into(), 1, 100_000)?;
        check("lease_ms", tuning.lease_ms, 30, 86_400_000)?;
        let heartbeat_ms = tuning.heartbeat_ms.unwrap_or(tuning.lease_ms / 4);
        check("heartbeat_ms", heartbeat_ms, 1, tuning.lease_ms / 3)?;
        check("max_attempts", tuning.max_attempts.into(), 1, 1_000)?;
        check("max_backoff_ms", tuning.max_backoff_ms, 0, 86_400_000)?;
        check("backoff_ms", tuning.backoff_ms, 0, tuning.max_backoff_ms)?;
        check("aging_ms", tuning.aging_ms, 0, 86_400_000)?;
        let named = tuning.tenants.iter().map(|(tenant, share)| (tenant.as_str(), share));
        for (tenant, share) in named.chain([("any other", &tuning.other_tenants)]) {
            if let Some((field, value, rule)) = share.out_of_bounds() {
                let bound = format!("{rule} (tenant `{tenant}`)");
                return Err(BadPool::OutOfBounds { pool: pool.clone(), field, value, bound });
            }
        }
        for (capability, limit) in &tuning.capabilities {
            if let Some((field, value, rule)) = limit.out_of_bounds() {
                let bound = format!("{rule} (capability `{capability}`)");
                return Err(BadPool::OutOfBounds { pool: pool.clone(), field, value, bound });
            }
        }
        let shares = Shares::new(tuning.tenants.clone(), tuning.other_tenants, &tuning.capabilities);
        // A job may need them all, and what it takes of them stands in the fact of its lease.
        let (limited, most) = (shares.limited().count(), Self::MOST_LENT_CAPABILITIES);
        if layout.shards > 1 && limited > most {
            let (field, value) = ("capabilities", limited as u64);
            let bound = format!("at most {most} that are limited in a pool of several shards; divide them over pools");
            return Err(BadPool::OutOfBounds { pool, field, value, bound });
        }
        let lent = (layout.shards > 1).then(|| Lent::new(&pool, &shares, layout.lending)).transpose();
        let lent = lent.map_err(|NotLent { whose, reason }| {
            let (shards, reason) = (layout.shards, reason.reason);
            BadPool::LimitsOverShards { pool: pool.clone(), shards, whose, reason }
        })?;
        check("limits.requests", layout.lending.partitions.into(), 1, 10_000)?;
        check("cancel_grace_ms", tuning.cancel_grace_ms, 0, 86_400_000)?;
        if let Some(timeout) = tuning.progress_timeout_ms {
            check("progress_timeout_ms", timeout, heartbeat_ms, 86_400_000)?;
        }
        check("delayed_jobs", tuning.delayed_jobs as u64, 0, 1_000_000)?;
        check("delayed_bytes", tuning.delayed_bytes as u64, 0, 1 << 30)?;
        check("window_jobs", tuning.window_jobs as u64, 1, 10_000_000)?;
        check("window_bytes", tuning.window_bytes as u64, 1, 1 << 40)?;
        check("max_workers", tuning.max_workers as u64, 1, 10_000_000)?;
        check("forget_after_ms", tuning.forget_after_ms, tuning.lease_ms, many)?;
        check("max_work_bytes", tuning.max_work_bytes as u64, 1_024, 1 << 30)?;
        check("max_output_bytes", tuning.max_output_bytes as u64, 64, 1 << 30)?;
        let name = |topic: Topic| {
            topic.name(&layout.prefix).map_err(|source| BadPool::Topic { pool: layout.pool.clone(), source })
        };
        let pool = || layout.pool.clone();
        let topics = Topics {
            approved: name(Topic::Approved(pool()))?,
            withdrawals: name(Topic::Withdrawals(pool()))?,
            overflow: name(Topic::Overflow(pool()))?,
            reports: name(Topic::Reports(pool()))?,
            commands: name(Topic::PoolCommands(pool()))?,
            leases: name(Topic::Leases(pool()))?,
            work: name(Topic::Work(pool()))?,
            finished: name(Topic::Finished)?,
            dead: name(Topic::Dead)?,
            outcomes: layout
                .sources
                .keys()
                .map(|source| Ok((source.clone(), name(Topic::Outcomes(source.clone()))?)))
                .collect::<Result<_, BadPool>>()?,
            grants: name(Topic::PoolGrants(pool()))?,
            limit_requests: name(Topic::LimitRequests)?,
            snapshots: name(Topic::Snapshots)?,
            shards: name(Topic::Shards)?,
        };
        Ok(Self {
            worker_slots: tuning.worker_slots,
            lease: Duration::from_millis(tuning.lease_ms),
            heartbeat: Duration::from_millis(heartbeat_ms),
            retry: Policy {
                attempts: tuning.max_attempts,
                backoff: Duration::from_millis(tuning.backoff_ms),
                max_backoff: Duration::from_millis(tuning.max_backoff_ms),
            },
            aging: Duration::from_millis(tuning.aging_ms),
            shares,
            lent,
            cancel_grace: Duration::from_millis(tuning.cancel_grace_ms),
            progress_timeout: tuning.progress_timeout_ms.map(Duration::from_millis),
            delayed_jobs: tuning.delayed_jobs,
            delayed_bytes: tuning.delayed_bytes,
            window_jobs: tuning.window_jobs,
            window_bytes: tuning.window_bytes,
            max_workers: tuning.max_workers,
            forget_after: Duration::from_millis(tuning.forget_after_ms),
            max_work_bytes: tuning.max_work_bytes,
            max_output_bytes: tuning.max_output_bytes,
            topics,
            layout,
            operators: Operators::default(),
            cloudevents: false,
        })
    }

    /// Records of `finished` carry the headers of CloudEvents ([`tidegate_protocol::cloudevents`]) where this says so.
    #[must_use]
    pub fn telling_cloudevents(mut self, yes: bool) -> Self {
        self.cloudevents = yes;
        self
    }

    /// Believes operators' commands (`commands.<pool>`) by these keys; without this nobody's.
    #[must_use]
    pub fn operated_by(mut self, trust: Arc<dyn Trust>, people: Arc<dyn People>) -> Self {
        self.operators = Operators { trust, people };
        self
    }

    /// How a job is tried again.
    pub(crate) fn policy_of(&self, work: &Work) -> Policy {
        self.retry.tightened(work.terms().retry, work.terms().max_retries)
    }

    /// Whether a job with so many strikes gets no further lease.
    pub(crate) fn is_spent(&self, work: &Work, strikes: u32) -> bool {
        strikes >= self.policy_of(work).attempts
    }

    /// Where the kernel that decided about `source` is told of its end; `None` when its source is not configured.
    pub(crate) fn outcomes_of(&self, source: &SourcePosition) -> Option<TopicPartition> {
        let partitions = self.layout.sources.get(&source.source)?;
        let topic = self.topics.outcomes.get(&source.source)?;
        (source.partition < *partitions).then(|| topic.partition(source.partition))
    }

    /// The buckets of shard `shard`: those `b` with `b mod shards == shard`.
    pub(crate) fn buckets_of(&self, shard: u32) -> impl Iterator<Item = u32> + '_ {
        (0..self.layout.buckets).filter(move |bucket| bucket % self.layout.shards == shard)
    }

    /// What shard `shard` reads and writes. Inputs in order: its buckets of `approved`, then of `overflow`, then its
    /// partitions of `reports`, `commands`, `withdrawals`, and in a pool of several shards `grants`.
    ///
    /// # Errors
    /// [`BadPool`] when there is no such shard, or the pool's name makes no sender.
    pub fn shard_spec(&self, shard: u32, process: &str, mut pace: Pace) -> Result<ShardSpec, BadPool> {
        // An idle shard proves that its spine is there often enough for a silence of a third of a lease to mean
        // something (`Signal::Gap`), else leases that ought to end would get a full term again and again.
        pace.idle_read_back = pace.idle_read_back.min(self.lease / 8);
        let pool = &self.layout.pool;
        if shard >= self.layout.shards {
            let bound = format!("below {}", self.layout.shards);
            return Err(BadPool::OutOfBounds { pool: pool.clone(), field: "shard", value: shard.into(), bound });
        }
        let jobs = |topic: &TopicName, bucket, writers| InputSpec {
            partition: topic.partition(bucket),
            kind: InputKind::Jobs,
            writers,
            trim: true,
        };
        let approved = |bucket| jobs(&self.topics.approved, bucket, Writers::Stages(&["kernel"]));
        let overflow = |bucket| jobs(&self.topics.overflow, bucket, Writers::Stages(&["scheduler"]));
        let mut inputs: Vec<_> = self.buckets_of(shard).map(approved).collect();
        inputs.extend(self.buckets_of(shard).map(overflow));
        // New ones last: what stands before them has its number in the facts of older logs.
        inputs.extend([&self.topics.reports, &self.topics.commands].map(|topic| InputSpec {
            partition: topic.partition(shard),
            kind: InputKind::Control,
            writers: Writers::Anyone,
            trim: false,
        }));
        inputs.push(InputSpec {
            partition: self.topics.withdrawals.partition(shard),
            kind: InputKind::Control,
            writers: Writers::Stages(&["kernel"]),
            trim: false,
        });
        if self.lent.is_some() {
            inputs.push(InputSpec {
                partition: self.topics.grants.partition(shard),
                kind: InputKind::Control,
                writers: Writers::Stages(&["limits"]),
                trim: false,
            });
        }
        let mut outputs: Vec<_> = self.buckets_of(shard).map(|bucket| self.topics.overflow.partition(bucket)).collect();
        outputs.extend((0..self.layout.finished_partitions).map(|n| self.topics.finished.partition(n)));
        outputs.extend(self.layout.sources.iter().flat_map(|(source, partitions)| {
            let topic = self.topics.outcomes.get(source);
            (0..*partitions).filter_map(move |n| topic.map(|topic| topic.partition(n)))
        }));
        if let Some(lent) = &self.lent {
            outputs.extend((0..lent.lending.partitions).map(|n| self.topics.limit_requests.partition(n)));
        }
        Ok(ShardSpec {
            sender: SenderId::new(format!("scheduler.{pool}/{shard}"))
                .map_err(|source| BadPool::Sender { pool: pool.clone(), source })?,
            facts: self.topics.leases.partition(shard),
            inputs,
            outputs,
            snapshots: self.topics.snapshots.clone(),
            shards: self.topics.shards.clone(),
            checkpoints: None,
            process: process.to_owned(),
            pace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout {
            prefix: "t.".into(),
            pool: PoolName::new("bank").unwrap(),
            shards: 2,
            buckets: 5,
            lanes: 3,
            finished_partitions: 2,
            dead_partitions: 1,
            sources: BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), 1)]),
            lending: Lending { partitions: 2, ..Lending::default() },
        }
    }

    #[test]
    fn a_shard_reads_its_buckets_then_their_overflow_then_its_reports_commands_withdrawals_and_grants() {
        let pool = Pool::new(layout(), &Tuning::default()).unwrap();
        let spec = pool.shard_spec(1, "p", Pace::default()).unwrap();
        let inputs: Vec<_> = spec.inputs.iter().map(|input| input.partition.to_string()).collect();
        assert_eq!(
            inputs,
            [
                "t.approved.bank/1",
                "t.approved.bank/3",
                "t.overflow.bank/1",
                "t.overflow.bank/3",
                "t.reports.bank/1",
                "t.commands.bank/1",
                "t.withdrawals.bank/1",
                "t.grants.bank/1",
            ]
        );
        assert!(
            spec.inputs
                .iter()
                .take(4)
                .all(|input| input.writers.sealed() && input.trim && input.kind == InputKind::Jobs)
        );
        let others: Vec<_> = spec.inputs[4..].iter().map(|input| (input.writers.sealed(), input.kind)).collect();
        assert_eq!(others, [false, false, true, true].map(|sealed| (sealed, InputKind::Control)));
        assert!(spec.inputs[4..].iter().all(|input| !input.trim));
        let outputs: Vec<_> = spec.outputs.iter().map(ToString::to_string).collect();
        assert_eq!(
            outputs,
            [
                "t.overflow.bank/1",
                "t.overflow.bank/3",
                "t.finished/0",
                "t.finished/1",
                "t.outcomes.jobs.raw/0",
                "t.limits.requests/0",
                "t.limits.requests/1",
            ]
        );
        assert_eq!((spec.sender.as_str(), spec.facts.to_string().as_str()), ("scheduler.bank/1", "t.leases.bank/1"));
    }

    #[test]
    fn a_bad_number_is_refused_with_its_name_and_bound() {
        let error = Pool::new(Layout { buckets: 1, ..layout() }, &Tuning::default()).unwrap_err();
        assert_eq!(error.to_string(), "pool `bank`: `buckets` is 1, but must be 2 to 10000");
        let error = Pool::new(layout(), &Tuning { heartbeat_ms: Some(5_000), ..Tuning::default() }).unwrap_err();
        assert_eq!(error.to_string(), "pool `bank`: `heartbeat_ms` is 5000, but must be 1 to 3333");
        let pool = Pool::new(layout(), &Tuning::default()).unwrap();
        let error = pool.shard_spec(2, "p", Pace::default()).unwrap_err();
        assert_eq!(error.to_string(), "pool `bank`: `shard` is 2, but must be below 2");
    }
}
