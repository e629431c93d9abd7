//! Whether the jobs of a tenant, and those that need a capability, may be leased by their limits.
//!
//! What may not go now stays where it is and heads no class, so that nobody waits for it: a tenant's jobs are blocked in the ready
//! queues ([`crate::ready`]), a capability shuts the classes that need it. One shard counts for itself; several spend what they are
//! lent ([`crate::lent`]): then a gate is open too where something could be asked for, and the asking is done when the
//! turn of such a job has come and a worker is there for it ([`take`](Scheduler::take)).
//!
//! Soft: a new owner knows by the state what is leased, held and spent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_protocol::ids::Capability;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitId, LimitKind, LimitRequest, LimitUse, Spend};
use tidegate_protocol::time::Timestamp;
use tidegate_wallet::{Here, Terms};

use crate::Scheduler;
use crate::clock::Clock;
use crate::debts::{Debts, Key, Owed};
use crate::lent::{Lent, subject_of};
use crate::placement::ClassId;
use crate::shares::{Rates, Shares, Subject};
use crate::work::{Alike, Requirement};

/// A key for which there is no room is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// An answer that is not there after so long is worth a word.
const LATE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// When those with a rate may start their next, by this shard's own count.
    rates: Rates,
    /// When to look again.
    clocks: Clock<Subject>,
    /// Capabilities of which no more may be leased now.
    shut: BTreeSet<Capability>,
    /// Classes with jobs that need a limited capability.
    classes: BTreeMap<Capability, BTreeSet<ClassId>>,
    /// Leases that need a limited capability.
    leased: BTreeMap<Capability, usize>,
    /// Whose leases have ended since gates were looked at.
    freed: BTreeSet<Subject>,
    debts: Debts,
    /// What was asked for and is not answered, and when that is late.
    asked: Clock<Key>,
    /// It was said that the limits stage does not answer.
    late: bool,
}

/// What the lease of a job means for its limits.
pub(crate) enum Takes {
    /// It may be: it takes this, and this is to be asked for ahead.
    Spends(Vec<Spend>, Vec<LimitRequest>),
    /// Not yet: this is to be asked for first, be it nothing.
    Asks(Vec<LimitRequest>),
}

impl Gates {
    pub(crate) fn new(shares: &Shares) -> Self {
        let classes = shares.limited().map(|capability| (capability.clone(), BTreeSet::new()));
        Self { classes: classes.collect(), ..Self::default() }
    }

    /// When the next is to be looked at again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        // Once it was said that answers are late, there is nothing more to say of it.
        let late = self.asked.next().filter(|_| !self.late);
        self.clocks.next().into_iter().chain(late).min()
    }

    /// Those that are to be looked at again by now.
    pub(crate) fn due(&self, at: Timestamp) -> Vec<Subject> {
        self.clocks.due(at).cloned().collect()
    }

    /// A class with this need has jobs, or has none any more; whether a capability that it needs is shut.
    pub(crate) fn note(&mut self, class: ClassId, needs: &[Capability], busy: bool) -> bool {
        if self.classes.is_empty() {
            return false;
        }
        for capability in needs {
            let Some(classes) = self.classes.get_mut(capability) else { continue };
            if busy {
                classes.insert(class);
            } else {
                classes.remove(&class);
            }
        }
        needs.iter().any(|capability| self.shut.contains(capability))
    }

    /// Requests that are not answered, and whether one has not been for long.
    pub(crate) fn unanswered(&self) -> (usize, bool) {
        (self.asked.len(), self.late)
    }
}

impl Scheduler {
    /// Shuts or opens the gate of a tenant or a capability.
    pub(crate) fn gate(&mut self, subject: &Subject, at: Timestamp) {
        if self.pool.shares.limit_of(subject).is_none() {
            return;
        }
        let payable = self.find_payable(subject, at);
        let (open, again) = match (&self.pool.lent, self.soft.epoch) {
            (_, None) => return,
            (None, Some(_)) => self.by_own_count(subject, at),
            (Some(lent), Some(epoch)) => self.by_what_is_lent(lent, subject, epoch, at),
        };
        match again.into_iter().chain(payable).min() {
            Some(again) => self.soft.gates.clocks.set(subject, again),
            None => self.soft.gates.clocks.stop(subject),
        }
        match subject {
            Subject::Tenant(tenant) => self.soft.ready.block(tenant, !open),
            Subject::Capability(capability) => {
                let gates = &mut self.soft.gates;
                let changed = if open { gates.shut.remove(capability) } else { gates.shut.insert(capability.clone()) };
                let classes = gates.classes.get(capability).filter(|_| changed);
                for class in classes.cloned().unwrap_or_default() {
                    self.soft.head(class);
                }
            }
        }
    }

    /// Looks at the gates of those whose leases have ended.
    pub(crate) fn gate_freed(&mut self, at: Timestamp) {
        for subject in std::mem::take(&mut self.soft.gates.freed) {
            self.gate(&subject, at);
        }
    }

    fn by_own_count(&mut self, subject: &Subject, at: Timestamp) -> (bool, Option<Timestamp>) {
        let Some(limit) = self.pool.shares.limit_of(subject) else { return (true, None) };
        let leased = self.leased_under(subject);
        let full = limit.max_leased.is_some_and(|most| leased >= most as usize);
        let free_at = self.soft.gates.rates.free_at(subject, limit, at);
        let soon = free_at > at;
        (!full && !soon, soon.then_some(free_at))
    }

    /// Open: a job would pass, or something could be asked for. And when time alone changes that.
    fn by_what_is_lent(&self, lent: &Lent, subject: &Subject, epoch: u64, at: Timestamp) -> (bool, Option<Timestamp>) {
        let (wallet, gates) = (self.state.wallet(), &self.soft.gates);
        if self.waits_of(subject) == 0 {
            return (true, None);
        }
        let (mut open, mut again) = (true, None::<Timestamp>);
        for wanted in lent.uses(subject) {
            let mut view = wallet.view(lent.tenant_of(subject), at, epoch);
            let owed = gates.debts.of(&wanted.limit, &wanted.key, at);
            let here = view.look_with(&wanted, self.terms(subject, &wanted, at));
            open &= here == Here::Within || !view.into_requests().is_empty();
            let key = (&wanted.limit, &*wanted.key);
            let times = [wallet.changes_at(key, at), owed.map(|owed| owed.until)];
            again = times.into_iter().flatten().chain(again).min();
        }
        (open, if open { again } else { again.or(Some(at + AGAIN)) })
    }

    /// Ready jobs that this limits.
    fn waits_of(&self, subject: &Subject) -> usize {
        let soft = &self.soft;
        match subject {
            Subject::Tenant(tenant) => soft.ready.jobs_of(tenant),
            Subject::Capability(capability) => {
                let classes = soft.gates.classes.get(capability).into_iter().flatten();
                classes.map(|class| soft.ready.jobs_in(*class)).sum()
            }
        }
    }

    /// So much is wanted beyond a job: what waits here, as far as workers have room or it is no more than twice of what is in use.
    fn terms(&self, subject: &Subject, wanted: &LimitUse, at: Timestamp) -> Terms {
        let held = self.state.wallet().holding(&wanted.limit, &wanted.key);
        let held = held.map_or(0, |held| usize::try_from(held.capacity().0 / Amount::ONE.0).unwrap_or(usize::MAX));
        let room = self.soft.placement.free_workers().max(held);
        let more = self.waits_of(subject).min(room).saturating_sub(1);
        let demand = Amount::units(u64::try_from(more).unwrap_or(u64::MAX)).unwrap_or(Amount::ZERO);
        let owed = self.soft.gates.debts.of(&wanted.limit, &wanted.key, at).map_or(Amount::ZERO, |owed| owed.amount);
        Terms { demand: Some(demand), owed, besides: self.besides(subject, wanted) }
    }

    /// Leases that took of no such places, or of another limit: they began before the pool's terms were changed.
    fn besides(&self, subject: &Subject, wanted: &LimitUse) -> Amount {
        if wanted.definition.kind != LimitKind::Concurrency {
            return Amount::ZERO;
        }
        let held = self.state.wallet().holding(&wanted.limit, &wanted.key);
        let taken = held.map_or(0, |held| held.open() as usize);
        let others = self.leased_under(subject).saturating_sub(taken);
        Amount::units(u64::try_from(others).unwrap_or(u64::MAX)).unwrap_or(Amount(u64::MAX))
    }

    fn leased_under(&self, subject: &Subject) -> usize {
        match subject {
            Subject::Tenant(tenant) => self.state.leased_of(tenant),
            Subject::Capability(capability) => self.soft.gates.leased.get(capability).copied().unwrap_or(0),
        }
    }

    /// What the lease of a job takes of what is lent.
    pub(crate) fn take(&self, alike: &Alike, epoch: u64, at: Timestamp) -> Takes {
        let Some(lent) = &self.pool.lent else { return Takes::Spends(Vec::new(), Vec::new()) };
        let subjects = self.pool.shares.subjects(&alike.tenant, &alike.requirement);
        let mut view = self.state.wallet().view(&alike.tenant, at, epoch);
        let (mut spends, mut within) = (Vec::new(), true);
        for subject in &subjects {
            view.counts_as(lent.tenant_of(subject));
            for wanted in lent.uses(subject) {
                within &= view.look_with(&wanted, self.terms(subject, &wanted, at)) == Here::Within;
                spends.push(wanted.spend());
            }
        }
        let asks = view.into_requests();
        if within { Takes::Spends(spends, asks) } else { Takes::Asks(asks) }
    }

    /// Something about a subject has changed: whether what it owes came free. When time alone may free it, while it is owed.
    fn find_payable(&mut self, subject: &Subject, at: Timestamp) -> Option<Timestamp> {
        let lent = self.pool.lent.as_ref().filter(|_| !self.soft.gates.debts.is_empty())?;
        let (wallet, debts) = (self.state.wallet(), &mut self.soft.gates.debts);
        let mut next = None::<Timestamp>;
        for wanted in lent.uses(subject) {
            let key = (&wanted.limit, &*wanted.key);
            let free = !wallet.unused(key, at).is_zero();
            if let Some(owed) = debts.of(key.0, key.1, at).filter(|_| !free) {
                let frees = wallet.frees_at(key, at).filter(|frees| *frees < owed.until);
                next = next.into_iter().chain(frees).min();
            }
            debts.came_free((wanted.limit, wanted.key), free);
        }
        next
    }

    /// What is to be given back to shards that wait for it, of what came free.
    pub(crate) fn pays(&self, epoch: u64, at: Timestamp) -> Option<LimitRequest> {
        let wallet = self.state.wallet();
        let mut payable = self.soft.gates.debts.payable(at);
        let ((limit, key), owed) = payable.find(|((limit, key), _)| !wallet.unused((limit, key), at).is_zero())?;
        wallet.returned((limit, key), owed.amount, at, epoch)
    }

    /// Another shard waits: what this one owes it.
    pub(crate) fn hear_recall(&mut self, answer: &LimitAnswer, at: Timestamp) {
        let LimitAnswer::Recalled { holding, limit, key, owed, .. } = answer else { return };
        let (Some(lent), Some(_)) = (&self.pool.lent, self.soft.epoch) else { return };
        let debts = &mut self.soft.gates.debts;
        debts.forget(at);
        // Of what is no longer held nothing is owed.
        if !owed.is_zero() && self.state.wallet().holds((limit, key), *holding) {
            let owed = Owed { amount: *owed, until: at + lent.lending.owed_for, holding: *holding };
            debts.owe((limit.clone(), key.clone()), owed, at);
        }
        self.gate_key(limit, key, at);
    }

    /// Whether another shard waits for what this one has of a key.
    pub(crate) fn owes(&self, limit: &LimitId, key: &str, at: Timestamp) -> bool {
        self.soft.gates.debts.of(limit, key, at).is_some()
    }

    /// A fact about a key of a limit was applied.
    pub(crate) fn told_of(&mut self, request: Option<&LimitRequest>, answer: Option<&LimitAnswer>, at: Timestamp) {
        if self.soft.epoch.is_none() {
            return;
        }
        let about = request.map(LimitRequest::about).or_else(|| answer.map(LimitAnswer::about));
        let Some((limit, key)) = about else { return };
        let name = (limit.clone(), Box::from(key));
        // An answer to an earlier request than the last one is put aside.
        let answered = !self.state.wallet().is_asked((limit, key));
        let gates = &mut self.soft.gates;
        match request {
            // Asked again it is as late as before.
            Some(LimitRequest::Ask { .. }) => gates.asked.begin(&name, at + LATE),
            Some(LimitRequest::Return { free, rest, .. }) => gates.debts.pay(&name, *free, rest.is_some()),
            Some(LimitRequest::Ended { .. }) => {}
            None => {
                if answered {
                    gates.asked.stop(&name);
                }
                if let Some(LimitAnswer::Granted { holding, refused: None, .. }) = answer {
                    gates.debts.holds(&name, *holding);
                }
            }
        }
        self.gate_key(limit, key, at);
        self.say_whether_late(at);
    }

    fn gate_key(&mut self, limit: &LimitId, key: &str, at: Timestamp) {
        if let Some(subject) = subject_of(&self.pool.layout.pool, limit, key) {
            self.gate(&subject, at);
            self.heads(at);
        }
    }

    /// Says once that the limits stage does not answer, and once that it does again.
    pub(crate) fn say_whether_late(&mut self, at: Timestamp) {
        let gates = &mut self.soft.gates;
        let oldest = gates.asked.next().filter(|late| *late <= at);
        let late = oldest.is_some();
        if late == gates.late {
            return;
        }
        gates.late = late;
        let pool = &self.pool.layout.pool;
        if late {
            let waits = oldest.map_or(LATE, |late| at.since(late) + LATE).as_secs();
            let asked = gates.asked.len();
            tracing::warn!(%pool, asked, waits, "the limits stage does not answer: jobs of limited tenants and capabilities wait for it, all others run; see that a process has the role limits");
        } else {
            tracing::info!(%pool, "the limits stage answers");
        }
    }

    /// A job was leased: what it takes is counted.
    pub(crate) fn count_lease(&mut self, alike: &Alike, at: Timestamp) {
        for subject in self.pool.shares.subjects(&alike.tenant, &alike.requirement) {
            if let Some(limit) = self.pool.shares.limit_of(&subject) {
                if self.pool.lent.is_none() {
                    self.soft.gates.rates.start(&subject, limit, at);
                }
                if let Subject::Capability(capability) = &subject {
                    *self.soft.gates.leased.entry(capability.clone()).or_default() += 1;
                }
            }
            self.gate(&subject, at);
        }
    }

    /// The lease of a job, when it has one, is about to end: its places are free.
    pub(crate) fn free_places(&mut self, source: &SourcePosition, at: Timestamp) {
        let Some(job) = self.state.job(source).filter(|job| job.lease.is_some()) else { return };
        let alike = job.work.alike.clone();
        self.state.wallet_mut().replaced(source, at);
        if self.soft.epoch.is_none() {
            return;
        }
        for subject in self.pool.shares.subjects(&alike.tenant, &alike.requirement) {
            if let Subject::Capability(capability) = &subject
                && let Some(leased) = self.soft.gates.leased.get_mut(capability)
            {
                *leased = leased.saturating_sub(1);
            }
            self.soft.gates.freed.insert(subject);
        }
    }

    /// What a new owner knows of its limits.
    pub(crate) fn begin_gates(&mut self) {
        for (limit, key, asked) in self.state.wallet().asked() {
            self.soft.gates.asked.set(&(limit.clone(), Box::from(key)), asked + LATE);
        }
        let limited = |capability: &&Capability| self.soft.gates.classes.contains_key(*capability);
        let mut leased: BTreeMap<Capability, usize> = BTreeMap::new();
        for job in self.state.jobs().filter(|job| job.lease.is_some()) {
            let needs: &Requirement = &job.work.alike.requirement;
            for capability in needs.iter().filter(limited) {
                *leased.entry(capability.clone()).or_default() += 1;
            }
        }
        self.soft.gates.leased = leased;
    }
}
