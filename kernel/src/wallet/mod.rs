//! The shard's part of every limit: what it holds, what it spent, what it asked for. Durable state, changed by facts alone.
//!
//! | what happens | fact | changes |
//! |---|---|---|
//! | a judgement needs more than is here, or soon will | `SliceRequested` | the request is on its way |
//! | the limits stage answers | `SliceGranted` | capacity, its time; or until when there is nothing |
//! | a job is allowed | `JobDecided` (`spends`) | its spends count; those to be settled are open |
//! | a record gets another verdict | `JobDecided`, `JobHeld`, `JobDeferred`, `JobCancelled`, `RecordRejected` | what is open of it is given back |
//! | the scheduler tells its end | `SpendSettled` | places are free, budgets get what was used; a breaker's is passed on (`OutcomePassedOn`) |
//! | others need it; its time is over | `SliceReturned` | capacity goes back; the holding ends |
//!
//! A spend is allowed only where what counts in the window and the spend together stay within the capacity held, between
//! the stamps `from` and `until` of the holding. See `tidegate-limits` for why that is enough, and for what is refused
//! that could have been allowed.
//!
//! Bounded (I10): entries in all and by tenant, open jobs, 128 spends and 34 peaks an entry, as many values as the capacity,
//! limits a job takes of, requests a judgement makes.
//! Beyond a bound a limit counts as exceeded (I3).
//!
//! What is only observed has an account apart from this: `shadow`.

mod holding;
mod settle;
mod shadow;
mod snapshot;
mod turnover;
mod view;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::address::Offset;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitDefinition, LimitId, LimitRequest, Spend};
use tidegate_protocol::time::Timestamp;

pub use crate::life::Life;
use holding::{Asked, Holding};
pub use settle::OpenJob;
pub(crate) use shadow::{Entry as ShadowEntry, Shadow};
pub(crate) use snapshot::{WalletIn, WalletOut};
pub use view::{Here, View};

/// How much a shard keeps of limits, and by which allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletBounds {
    /// Most entries (a key of a limit each).
    pub entries: usize,
    /// Most entries of one tenant.
    pub tenant_entries: usize,
    /// Most jobs whose end is awaited.
    pub open: usize,
    /// The clocks' allowance: that of the limits stage, or more.
    pub skew: Duration,
}

impl Default for WalletBounds {
    fn default() -> Self {
        Self { entries: 200_000, tenant_entries: 50_000, open: 200_000, skew: Duration::from_secs(5) }
    }
}

/// Bugs the hammer and the simulation plant, to show that they would be found; none in a working wallet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletBugs {
    /// A spend leaves its window a little early.
    pub window_short: bool,
    /// What is settled stays open and is settled again, and what is given back is given back once more out of what the
    /// next job took.
    pub settle_twice: bool,
    /// A record may be redriven, and so take again, while what its job took is not settled.
    pub redrive_open: bool,
}

/// Most limits one job takes of, or waits for at once: its fact must fit into a record.
pub(crate) const MOST_SPENDS: usize = 64;
/// A request that is never answered is asked again after so long (its log was lost; see `accept-loss`).
const PATIENCE: Duration = Duration::from_mins(10);
/// An open job whose end is never told is forgotten after its longest window, and after so long at the latest.
const OPEN_AT_MOST: Duration = Duration::from_hours(7 * 24);

type Name = (LimitId, Box<str>);

/// See the module.
#[derive(Debug)]
pub struct Wallet {
    bounds: WalletBounds,
    bugs: WalletBugs,
    entries: BTreeMap<LimitId, BTreeMap<Box<str>, Holding>>,
    /// Number of the last request.
    number: u64,
    /// Jobs whose end is awaited.
    open: BTreeMap<Life, OpenJob>,
    /// Derived: how many entries.
    count: usize,
    /// Derived: the same by tenant.
    tenants: BTreeMap<TenantId, usize>,
    /// Derived: when a holding's time is over.
    due: BTreeSet<(Timestamp, Name)>,
    /// Derived: when an entry without a holding says nothing any more.
    idle: BTreeSet<(Timestamp, Name)>,
    /// Derived: when an open job is forgotten.
    forget: BTreeSet<(Timestamp, Life)>,
}

impl Wallet {
    /// One that holds nothing.
    #[must_use]
    pub fn new(bounds: WalletBounds) -> Self {
        Self {
            bounds,
            bugs: WalletBugs::default(),
            entries: BTreeMap::new(),
            number: 0,
            open: BTreeMap::new(),
            count: 0,
            tenants: BTreeMap::new(),
            due: BTreeSet::new(),
            idle: BTreeSet::new(),
            forget: BTreeSet::new(),
        }
    }

    /// The same with bugs; for tests of tests.
    #[must_use]
    pub fn with_bugs(self, bugs: WalletBugs) -> Self {
        Self { bugs, ..self }
    }

    /// How many keys it has something of or has asked for.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether it has nothing and has asked for nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it ever asked for anything.
    pub(crate) const fn was_used(&self) -> bool {
        self.number > 0
    }

    /// How many jobs' ends are awaited.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// When a holding's time is over.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    fn entry(&self, limit: &LimitId, key: &str) -> Option<&Holding> {
        self.entries.get(limit)?.get(key)
    }

    /// The window of a limit as it is kept here.
    fn window(&self, holding: &Holding) -> Duration {
        let window = holding.window(self.bounds.skew);
        if self.bugs.window_short { window.saturating_sub(window / 50 + Duration::from_micros(1)) } else { window }
    }

    /// Takes a fact in that has landed or will; nothing for facts that are not about limits.
    pub fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        match fact {
            KernelFact::SliceRequested { request }
            | KernelFact::SliceReturned { request }
            | KernelFact::OutcomePassedOn { request } => self.requested(request, at),
            KernelFact::SliceGranted { answer } => self.granted(answer, at),
            KernelFact::SpendSettled { told } => self.settled(told, at),
            KernelFact::JobDecided { job, spends, .. } => self.spend(Life::of(&job.source), spends, at),
            KernelFact::PolicyAdopted { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::JobWithdrawn { .. }
            | KernelFact::DelegationRevoked { .. }
            | KernelFact::RecordRedriven { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::JobRepeated { .. } => {}
            KernelFact::JobDeferred { job, .. } | KernelFact::JobHeld { job, .. } => {
                self.replaced(Life::of(&job.source), at);
            }
            KernelFact::JobCancelled { job, .. } => self.replaced(Life::of(&job.source), at),
            KernelFact::RecordRejected { source, .. } => self.replaced(Life::of(source), at),
        }
        self.forget_due(at);
    }

    fn requested(&mut self, request: &LimitRequest, at: Timestamp) {
        self.number = self.number.max(request.id().number);
        let (limit, key) = request.about();
        match request {
            LimitRequest::Ask { id, definition, tenant, .. } => {
                self.open_entry(limit, key, definition, tenant);
                let asked = Asked { number: id.number, at };
                self.change(limit, key, |holding| holding.asked = Some(asked));
            }
            LimitRequest::Return { holding: number, free, rest, .. } => {
                let ends = rest.is_some();
                self.change(limit, key, |holding| {
                    if holding.number != *number {
                        return;
                    }
                    holding.capacity = holding.capacity.less(*free);
                    if ends {
                        holding.empty();
                    }
                });
            }
            LimitRequest::Ended { .. } => {}
        }
    }

    fn granted(&mut self, answer: &LimitAnswer, at: Timestamp) {
        match answer {
            LimitAnswer::Granted {
                request,
                holding: number,
                limit,
                key,
                amount,
                until,
                from,
                again,
                probe,
                refused,
            } => {
                let asked = self.entry(limit, key).and_then(|holding| holding.asked);
                if asked.is_none_or(|asked| asked.number != request.number) {
                    return;
                }
                self.change(limit, key, |holding| {
                    holding.asked = None;
                    holding.again = *again;
                    if refused.is_some() {
                        return;
                    }
                    if holding.number != *number {
                        // The one before had lapsed: all that was spent of it is out of every window.
                        holding.empty();
                    }
                    if *number == 0 {
                        return;
                    }
                    holding.number = *number;
                    holding.capacity = if *probe { *amount } else { holding.capacity.plus(*amount) };
                    holding.probe = *probe;
                    holding.from = holding.from.max(*from);
                    holding.until = *until;
                    holding.since = at;
                });
            }
            LimitAnswer::Switched { holding: number, limit, key, again } => self.change(limit, key, |holding| {
                if holding.number == *number {
                    holding.empty();
                    holding.again = Some(*again);
                }
            }),
            LimitAnswer::Recalled { .. } => {}
        }
    }

    /// The spends of a job that may run count from now on (what a `JobDecided` does), in place of what an earlier verdict
    /// on it has taken.
    pub fn spend(&mut self, life: Life, spends: &[Spend], at: Timestamp) {
        self.replaced(life, at);
        let skew = self.bounds.skew;
        let mut open = Vec::new();
        for spend in spends {
            let Some(holding) = self.entry(&spend.limit, &spend.key) else { continue };
            let settles = holding.definition.kind.settles();
            if settles {
                open.push(settle::OpenSpend { spend: spend.clone(), holding: holding.number, probe: holding.probe });
            }
            self.change(&spend.limit, &spend.key, |holding| {
                holding.spend(at, spend.amount, spend.member, skew);
                holding.open += u32::from(settles);
            });
        }
        self.await_end(life, at, open);
    }

    fn open_entry(&mut self, limit: &LimitId, key: &str, definition: &LimitDefinition, tenant: &TenantId) {
        let keys = self.entries.entry(limit.clone()).or_default();
        if !keys.contains_key(key) {
            let definition =
                keys.values().next().map_or_else(|| Arc::new(definition.clone()), |known| known.definition.clone());
            keys.insert(key.into(), Holding::new(definition, tenant.clone()));
            self.count += 1;
            *self.tenants.entry(tenant.clone()).or_default() += 1;
        }
    }

    /// Changes an entry and what is derived from it.
    fn change(&mut self, limit: &LimitId, key: &str, change: impl FnOnce(&mut Holding)) {
        let Some(holding) = self.entries.get_mut(limit).and_then(|keys| keys.get_mut(key)) else { return };
        let before = (holding.number == 0, holding.next_due());
        change(holding);
        let after = (holding.number == 0, holding.next_due());
        if before == after {
            return;
        }
        let mut set = |(empty, due): (bool, Option<Timestamp>), change: fn(&mut BTreeSet<_>, _) -> bool| {
            if let Some(due) = due {
                let set = if empty { &mut self.idle } else { &mut self.due };
                change(set, (due, (limit.clone(), Box::from(key))));
            }
        };
        set(before, |set, entry| set.remove(&entry));
        set(after, BTreeSet::insert);
    }

    /// Forgets entries that say nothing any more; a few each time, as facts come.
    fn forget_due(&mut self, at: Timestamp) {
        const AT_ONCE: usize = 8;
        for _ in 0..AT_ONCE {
            if self.idle.first().is_none_or(|(due, _)| *due > at) {
                break;
            }
            let Some((_, (limit, key))) = self.idle.pop_first() else { break };
            let Some(keys) = self.entries.get_mut(&limit) else { continue };
            let Some(holding) = keys.remove(&key) else { continue };
            if keys.is_empty() {
                self.entries.remove(&limit);
            }
            self.count -= 1;
            if let Some(count) = self.tenants.get_mut(&holding.tenant) {
                *count -= 1;
                if *count == 0 {
                    self.tenants.remove(&holding.tenant);
                }
            }
        }
        for _ in 0..AT_ONCE {
            let Some((_, life)) = self.forget.first().copied().filter(|(due, _)| *due <= at) else { break };
            self.close(life, at, settle::End::Forgotten);
        }
    }

    /// Whether the end of a job of this record is awaited, of whichever life.
    pub(crate) fn awaits(&self, offset: Offset) -> bool {
        self.open.range(Life::all(offset)).next().is_some() && !self.bugs.redrive_open
    }

    fn keys_of(&self, tenant: &TenantId) -> usize {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }
}

/// Twice as much.
fn doubled(amount: Amount) -> Amount {
    amount.plus(amount)
}

#[cfg(test)]
mod tests;
