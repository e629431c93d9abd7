//! The durable state: jobs that are leased, requeued or delayed, the workers known, and who ended what of late.
//!
//! Changed by facts alone, so replay and snapshot give the same bytes (I7). Waiting jobs are not in it: they stay in
//! their log until a fact takes them out. What may be known of those in `overflow` is in [`crate::overflow`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_protocol::facts::{Holder, LeaseEnd, Token};
use tidegate_protocol::ids::{JobId, TenantId, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Usage;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_wallet::{Wallet, WalletBounds, WalletIn, WalletOut};

use crate::cordons::Cordons;
use crate::overflow::{Overflow, Parts, Withdrawal};
use crate::transition::Phase;
use crate::work::Work;

/// Ended jobs that are remembered. Part of the state's meaning: another number gives other snapshots.
const ENDED_REMEMBERED: usize = 4_096;

/// Who has a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) worker: WorkerId,
    pub(crate) incarnation: u64,
    /// Number of its assignment in the token's epoch.
    pub(crate) number: u64,
    /// When it was granted. Not known of a lease in a snapshot that was taken before leases noted it, though a replay from the
    /// start would know: nothing depends on it but the clock of `max_runtime` ([`crate::transitions::overdue`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
}

/// A job that was leased at least once, or is not to start yet, and has not ended.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) work: Work,
    /// Of the last lease.
    pub(crate) token: Token,
    /// Leases that ended in a way that speaks against the job.
    pub(crate) strikes: u32,
    /// `None`: requeued or delayed.
    pub(crate) lease: Option<Lease>,
    /// Not to be leased before this time.
    pub(crate) until: Option<Timestamp>,
    /// Whose result of the last token was taken, without ending the job.
    pub(crate) answered: Option<WorkerId>,
    /// What attempts that ended said they used.
    pub(crate) used: Usage,
    /// Its worker was told to stop it.
    pub(crate) stopping: Option<Stopping>,
}

/// A job that is to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    /// When it ends without its worker.
    pub(crate) until: Timestamp,
    /// How.
    pub(crate) outcome: Outcome,
    /// Why, for people.
    pub(crate) reason: String,
    /// It does not end then: its lease does, and it is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
}

impl Job {
    /// Whether it had a lease under its present ticket.
    pub(crate) fn was_leased(&self) -> bool {
        self.token.epoch > 0
    }

    /// How it ends, when it was told to stop for good.
    pub(crate) fn ending(&self) -> Option<&Stopping> {
        self.stopping.as_ref().filter(|stopping| !stopping.again)
    }

    /// A lease has ended: what was said of that attempt alone is over.
    fn rest(&mut self) {
        if self.ending().is_none() {
            self.stopping = None;
        }
    }
}

/// What must be known of a worker over owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) incarnation: u64,
    pub(crate) lane: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    jobs: BTreeMap<SourcePosition, Job>,
    held: BTreeMap<WorkerId, BTreeSet<SourcePosition>>,
    /// Looked up, never walked through: its order shows nowhere, and its random keys keep submitters, who choose the ids,
    /// from crowding a bucket. (In a tree, ids with a long common beginning are compared to the end at every step.)
    live: HashMap<(TenantId, JobId), SourcePosition>,
    workers: BTreeMap<WorkerId, Worker>,
    ended: BTreeMap<SourcePosition, Option<(WorkerId, Token)>>,
    ended_order: VecDeque<SourcePosition>,
    leased: usize,
    delayed: usize,
    delayed_bytes: usize,
    /// Leases by tenant. Looked up, never walked through.
    leased_of: HashMap<TenantId, usize>,
    overflow: Overflow,
    cordons: Cordons,
    /// What is lent to this shard of its pool's limits; nothing in a pool of one shard.
    wallet: Wallet<SourcePosition>,
}

impl State {
    /// One of nothing, in a pool whose limits are lent within these bounds.
    pub(crate) fn new(lent: Option<WalletBounds>) -> Self {
        Self { wallet: Wallet::new(lent.unwrap_or_default()), ..Self::default() }
    }

    /// What is lent to this shard.
    pub(crate) const fn wallet(&self) -> &Wallet<SourcePosition> {
        &self.wallet
    }

    pub(crate) const fn wallet_mut(&mut self) -> &mut Wallet<SourcePosition> {
        &mut self.wallet
    }

    pub(crate) fn phase(&self, source: &SourcePosition) -> Phase {
        match self.jobs.get(source) {
            Some(Job { lease: Some(_), .. }) => Phase::Leased,
            Some(Job { until: Some(_), .. }) => Phase::Delayed,
            Some(Job { lease: None, until: None, .. }) => Phase::Requeued,
            None if self.ended.contains_key(source) => Phase::Ended,
            None => Phase::Waiting,
        }
    }

    pub(crate) fn job(&self, source: &SourcePosition) -> Option<&Job> {
        self.jobs.get(source)
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Jobs leased now.
    pub(crate) fn leased(&self) -> usize {
        self.leased
    }

    /// Jobs without a lease that are ready.
    pub(crate) fn requeued(&self) -> usize {
        self.jobs.len() - self.leased - self.delayed
    }

    /// Jobs that are not ready yet, and bytes of their records.
    pub(crate) fn delayed(&self) -> (usize, usize) {
        (self.delayed, self.delayed_bytes)
    }

    /// What `overflow` may hold.
    pub(crate) fn overflow(&self) -> &Overflow {
        &self.overflow
    }

    pub(crate) fn overflow_mut(&mut self) -> &mut Overflow {
        &mut self.overflow
    }

    /// How many leases a tenant has.
    pub(crate) fn leased_of(&self, tenant: &TenantId) -> usize {
        self.leased_of.get(tenant).copied().unwrap_or(0)
    }

    /// The worker of a leased job is told to stop it.
    pub(crate) fn stop(&mut self, source: &SourcePosition, stopping: Stopping) {
        if let Some(job) = self.jobs.get_mut(source) {
            job.stopping = Some(stopping);
        }
    }

    /// The live job of that name, when it was leased before.
    pub(crate) fn live(&self, name: &(TenantId, JobId)) -> Option<&SourcePosition> {
        self.live.get(name)
    }

    /// What operators said of workers.
    pub(crate) fn cordons(&self) -> &Cordons {
        &self.cordons
    }

    pub(crate) fn cordons_mut(&mut self) -> &mut Cordons {
        &mut self.cordons
    }

    pub(crate) fn worker(&self, worker: &WorkerId) -> Option<&Worker> {
        self.workers.get(worker)
    }

    pub(crate) fn workers(&self) -> impl ExactSizeIterator<Item = &WorkerId> {
        self.workers.keys()
    }

    /// What a worker holds.
    pub(crate) fn held(&self, worker: &WorkerId) -> impl Iterator<Item = (&SourcePosition, &Job, &Lease)> {
        self.held.get(worker).into_iter().flatten().filter_map(|source| {
            let job = self.jobs.get(source)?;
            Some((source, job, job.lease.as_ref()?))
        })
    }

    /// How many jobs a worker holds.
    pub(crate) fn in_flight(&self, worker: &WorkerId) -> usize {
        self.held.get(worker).map_or(0, BTreeSet::len)
    }

    /// `Some` for a job that ended of late; in it the accepted result's sender and token, when a result ended it.
    pub(crate) fn ended(&self, source: &SourcePosition) -> Option<Option<&(WorkerId, Token)>> {
        self.ended.get(source).map(Option::as_ref)
    }

    /// `work` is wanted on the first lease, ignored on later ones. False when it was wanted and is missing.
    pub(crate) fn grant(&mut self, source: &SourcePosition, work: Option<Work>, token: Token, lease: Lease) -> bool {
        let worker = lease.worker.clone();
        self.overflow.leave_line(source);
        if let Some(job) = self.jobs.get_mut(source) {
            job.token = token;
            job.lease = Some(lease);
            job.answered = None;
        } else {
            let Some(work) = work else { return false };
            self.live.insert((work.alike.tenant.clone(), work.id()), source.clone());
            let (until, answered, used, stopping) = (None, None, Usage::default(), None);
            let strikes = work.terms().strikes;
            let job = Job { work, token, strikes, lease: Some(lease), until, answered, used, stopping };
            self.jobs.insert(source.clone(), job);
        }
        self.held.entry(worker).or_default().insert(source.clone());
        self.leased += 1;
        self.count_lease(source);
        true
    }

    /// Ends a lease; the worker that had it.
    pub(crate) fn expire(
        &mut self,
        source: &SourcePosition,
        end: LeaseEnd,
        until: Option<Timestamp>,
    ) -> Option<WorkerId> {
        let job = self.jobs.get_mut(source)?;
        let lease = job.lease.take()?;
        job.rest();
        job.strikes = job.strikes.saturating_add(strike(end));
        let tenant = job.work.alike.tenant.clone();
        self.let_go(&lease.worker, source, &tenant);
        self.pause(source, until);
        Some(lease.worker)
    }

    /// Ends a lease by a failure that may be retried; the worker that had it.
    pub(crate) fn retry(
        &mut self,
        source: &SourcePosition,
        by: &Holder,
        until: Option<Timestamp>,
        usage: Usage,
    ) -> Option<WorkerId> {
        let job = self.jobs.get_mut(source)?;
        let lease = job.lease.take()?;
        job.rest();
        job.strikes = job.strikes.saturating_add(1);
        job.answered = Some(by.worker.clone());
        job.used = job.used.plus(usage);
        let tenant = job.work.alike.tenant.clone();
        self.let_go(&lease.worker, source, &tenant);
        self.pause(source, until);
        Some(lease.worker)
    }

    /// Takes in a job that is not to start yet.
    pub(crate) fn delay(&mut self, work: Work, until: Timestamp) {
        let source = work.source.clone();
        self.overflow.leave_line(&source);
        self.live.insert((work.alike.tenant.clone(), work.id()), source.clone());
        // No owner's epoch is 0: it was not leased, but its tokens go on where those of its earlier tickets ended.
        let token = Token { epoch: 0, attempt: work.terms().leases };
        let job = Job {
            strikes: work.terms().strikes,
            work,
            token,
            lease: None,
            until: None,
            answered: None,
            used: Usage::default(),
            stopping: None,
        };
        self.jobs.insert(source.clone(), job);
        self.pause(&source, Some(until));
    }

    /// Its time has come.
    pub(crate) fn wake(&mut self, source: &SourcePosition) {
        if let Some(job) = self.jobs.get_mut(source)
            && job.until.take().is_some()
        {
            self.delayed -= 1;
            self.delayed_bytes -= job.work.bytes();
        }
    }

    fn pause(&mut self, source: &SourcePosition, until: Option<Timestamp>) {
        if let Some(job) = self.jobs.get_mut(source)
            && until.is_some()
        {
            job.until = until;
            self.delayed += 1;
            self.delayed_bytes += job.work.bytes();
        }
    }

    /// Forgets a job that has no lease: it went back to its kernel, and comes again or ends there.
    pub(crate) fn release(&mut self, source: &SourcePosition) {
        self.overflow.leave_line(source);
        self.wake(source);
        let Some(job) = self.jobs.remove(source) else { return };
        let name = (job.work.alike.tenant.clone(), job.work.id());
        if self.live.get(&name) == Some(source) {
            self.live.remove(&name);
        }
    }

    /// Ends a job; the worker that had it.
    pub(crate) fn finish(&mut self, source: &SourcePosition, by: Option<(WorkerId, Token)>) -> Option<WorkerId> {
        self.overflow.end(source);
        self.ended.insert(source.clone(), by);
        self.ended_order.push_back(source.clone());
        if self.ended_order.len() > ENDED_REMEMBERED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.wake(source);
        let job = self.jobs.remove(source)?;
        let name = (job.work.alike.tenant.clone(), job.work.id());
        if self.live.get(&name) == Some(source) {
            self.live.remove(&name);
        }
        let lease = job.lease?;
        self.let_go(&lease.worker, source, &name.0);
        Some(lease.worker)
    }

    pub(crate) fn welcome(&mut self, worker: &WorkerId, incarnation: u64, lane: u32) {
        self.workers.insert(worker.clone(), Worker { incarnation, lane });
    }

    pub(crate) fn forget(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }

    fn count_lease(&mut self, source: &SourcePosition) {
        if let Some(job) = self.jobs.get(source) {
            *self.leased_of.entry(job.work.alike.tenant.clone()).or_default() += 1;
        }
    }

    fn let_go(&mut self, worker: &WorkerId, source: &SourcePosition, tenant: &TenantId) {
        self.leased -= 1;
        if let Some(leases) = self.leased_of.get_mut(tenant) {
            *leases -= 1;
            if *leases == 0 {
                self.leased_of.remove(tenant);
            }
        }
        if let Some(held) = self.held.get_mut(worker) {
            held.remove(source);
            if held.is_empty() {
                self.held.remove(worker);
            }
        }
    }
}

/// What a lease's end counts against its job.
pub(crate) const fn strike(end: LeaseEnd) -> u32 {
    match end {
        LeaseEnd::Silent | LeaseEnd::NewIncarnation | LeaseEnd::NotHeld | LeaseEnd::Stalled => 1,
        LeaseEnd::GivenBack => 0,
    }
}

#[derive(Serialize)]
struct SnapshotOut<'a> {
    v: u32,
    jobs: Vec<JobOut<'a>>,
    workers: Vec<(&'a WorkerId, u64, u32)>,
    ended: Vec<(&'a SourcePosition, Option<&'a (WorkerId, Token)>)>,
    #[serde(skip_serializing_if = "is_zero")]
    moved: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<Vec<(u64, u64)>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_at: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withdrawn: Vec<(&'a SourcePosition, &'a Withdrawal)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved_in_line: Vec<(&'a SourcePosition, &'a TenantId, &'a str)>,
    #[serde(skip_serializing_if = "Cordons::is_empty")]
    cordons: &'a Cordons,
    #[serde(skip_serializing_if = "Option::is_none")]
    lent: Option<WalletOut<'a, SourcePosition>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct JobOut<'a> {
    token: Token,
    strikes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a Lease>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<&'a WorkerId>,
    #[serde(skip_serializing_if = "Usage::is_empty")]
    used: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopping: Option<&'a Stopping>,
    work: &'a RawValue,
}

#[derive(Deserialize)]
struct SnapshotIn {
    v: u32,
    jobs: Vec<JobIn>,
    workers: Vec<(WorkerId, u64, u32)>,
    ended: Vec<(SourcePosition, Option<(WorkerId, Token)>)>,
    #[serde(default)]
    moved: u64,
    #[serde(default)]
    out: Option<Vec<(u64, u64)>>,
    #[serde(default)]
    kept_at: Vec<u64>,
    #[serde(default)]
    withdrawn: Vec<(SourcePosition, Withdrawal)>,
    #[serde(default)]
    moved_in_line: Vec<(SourcePosition, TenantId, String)>,
    #[serde(default)]
    cordons: Cordons,
    #[serde(default)]
    lent: WalletIn<SourcePosition>,
}

#[derive(Deserialize)]
struct JobIn {
    token: Token,
    strikes: u32,
    #[serde(default)]
    lease: Option<Lease>,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    answered: Option<WorkerId>,
    #[serde(default)]
    used: Usage,
    #[serde(default)]
    stopping: Option<Stopping>,
    work: Box<RawValue>,
}

impl State {
    /// As JSON text; the same state gives the same bytes.
    pub(crate) fn snapshot(&self) -> Result<String, serde_json::Error> {
        let jobs = self.jobs.values().map(|job| JobOut {
            token: job.token,
            strikes: job.strikes,
            lease: job.lease.as_ref(),
            until: job.until,
            answered: job.answered.as_ref(),
            used: job.used,
            stopping: job.stopping.as_ref(),
            work: &job.work.text,
        });
        let ended = self.ended_order.iter().filter_map(|source| Some((source, self.ended.get(source)?.as_ref())));
        let Parts { moved, out, in_line, withdrawn, kept_at } = self.overflow.parts();
        serde_json::to_string(&SnapshotOut {
            v: 1,
            jobs: jobs.collect(),
            workers: self.workers.iter().map(|(id, worker)| (id, worker.incarnation, worker.lane)).collect(),
            ended: ended.collect(),
            moved,
            out,
            kept_at,
            moved_in_line: in_line,
            withdrawn,
            cordons: &self.cordons,
            lent: self.wallet.was_used().then(|| self.wallet.written()),
        })
    }

    /// The state of which `text` is the snapshot.
    pub(crate) fn restore(text: &str, lent: Option<WalletBounds>) -> Result<Self, serde_json::Error> {
        let snapshot: SnapshotIn = serde_json::from_str(text)?;
        if snapshot.v != 1 {
            return Err(serde_json::Error::custom(format!("snapshot version {} is not known here", snapshot.v)));
        }
        let mut state = Self::new(lent);
        state.wallet.replace(snapshot.lent);
        for JobIn { token, strikes, lease, until, answered, used, stopping, work } in snapshot.jobs {
            let work = Work::of(Arc::from(work)).map_err(|no| serde_json::Error::custom(no.detail))?;
            let source = work.source.clone();
            state.live.insert((work.alike.tenant.clone(), work.id()), source.clone());
            if let Some(lease) = &lease {
                state.held.entry(lease.worker.clone()).or_default().insert(source.clone());
                state.leased += 1;
                *state.leased_of.entry(work.alike.tenant.clone()).or_default() += 1;
            }
            state
                .jobs
                .insert(source.clone(), Job { work, token, strikes, lease, until: None, answered, used, stopping });
            state.pause(&source, until);
        }
        for (worker, incarnation, lane) in snapshot.workers {
            state.welcome(&worker, incarnation, lane);
        }
        state.cordons = snapshot.cordons;
        state.overflow = Overflow::of(Parts {
            moved: snapshot.moved,
            out: snapshot.out,
            in_line: snapshot.moved_in_line,
            withdrawn: snapshot.withdrawn,
            kept_at: snapshot.kept_at,
        });
        for (source, by) in snapshot.ended {
            state.ended_order.push_back(source.clone());
            state.ended.insert(source, by);
        }
        Ok(state)
    }
}
