//! What one shard holds of limits that the limits stage lends out, what it spent of it, and what it asked for: the part that
//! kernels and schedulers have in common. Durable state of whichever stage has one, changed by that stage's facts alone.
//!
//! | what happens | call | changes |
//! |---|---|---|
//! | more is needed than is here, or soon will be | [`Wallet::requested`] | the request is on its way |
//! | the limits stage answers | [`Wallet::granted`] | capacity, its time; or until when there is nothing |
//! | a job may run | [`Wallet::spend`] | its spends count; those to be settled are open |
//! | it gets another verdict, or gives its place back | [`Wallet::replaced`] | what is open of it is given back |
//! | its end is told | [`Wallet::settled`] | places are free, budgets get what was used; a breaker's is passed on |
//! | others need it; its time is over | [`Wallet::requested`] of a `Return` | capacity goes back; the holding ends |
//! | a request is not answered in time | [`Wallet::requested`] of the same anew | its answer alone counts from now on |
//!
//! What to ask for, and what to answer, is said by [`View`], [`Wallet::answered`], [`Wallet::returned`] and [`Wallet::tick`], which
//! change nothing: the stage makes facts of it.
//!
//! A spend is allowed only where what counts in the window and the spend together stay within the capacity held, between
//! the stamps `from` and `until` of the holding. See `tidegate-limits` for why that is enough, and for what is refused
//! that could have been allowed.
//!
//! Bounded (I10): entries in all and by tenant, open jobs, 128 spends and 34 peaks an entry, as many values as the capacity,
//! limits a job takes of, requests a look makes.
//! Beyond a bound a limit counts as exceeded (I3).

mod holding;
mod settle;
mod snapshot;
mod turnover;
mod view;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitDefinition, LimitId, LimitRequest, Spend};
use tidegate_protocol::time::Timestamp;

pub use holding::Holding;
use holding::{Asked, Due, PROMISED_FOR, Promised};
pub use settle::OpenJob;
pub use snapshot::{WalletIn, WalletOut};
pub use turnover::Heard;
pub use view::{Here, Terms, View};

/// Names a job whose end is awaited.
pub trait JobName: Ord + Clone + Debug {
    /// As a snapshot has it.
    type Written: Serialize + DeserializeOwned;

    /// Its parts: the name, and how often its record was redriven where the name does not say so.
    fn written(&self) -> (Self::Written, u32);

    /// Of its parts.
    fn read(written: Self::Written, redrive: u32) -> Self;
}

/// How much a shard keeps of limits, and by which allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletBounds {
    /// Most entries (a key of a limit each).
    pub entries: usize,
    /// Most entries of one tenant.
    pub tenant_entries: usize,
    /// Most jobs whose end is awaited.
    pub open: usize,
    /// An open job whose end is never told is forgotten after its longest window, and after so long at the latest.
    pub open_for: Duration,
    /// The clocks' allowance: that of the limits stage, or more.
    pub skew: Duration,
}

impl Default for WalletBounds {
    fn default() -> Self {
        Self {
            entries: 200_000,
            tenant_entries: 50_000,
            open: 200_000,
            open_for: Duration::from_hours(7 * 24),
            skew: Duration::from_secs(5),
        }
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
pub const MOST_SPENDS: usize = 64;
type Name = (LimitId, Box<str>);

/// See the crate. `J` names jobs.
#[derive(Debug)]
pub struct Wallet<J: JobName> {
    bounds: WalletBounds,
    bugs: WalletBugs,
    entries: BTreeMap<LimitId, BTreeMap<Box<str>, Holding>>,
    /// Number of the last request.
    number: u64,
    /// Jobs whose end is awaited.
    open: BTreeMap<J, OpenJob>,
    /// Derived: how many entries.
    count: usize,
    /// Derived: the same by tenant.
    tenants: BTreeMap<TenantId, usize>,
    /// Derived: when a holding's time is over.
    due: BTreeSet<(Timestamp, Name)>,
    /// Derived: when an entry without a holding says nothing any more.
    idle: BTreeSet<(Timestamp, Name)>,
    /// Derived: when what was not answered is asked again.
    again: BTreeSet<(Timestamp, Name)>,
    /// Derived: when an open job is forgotten.
    forget: BTreeSet<(Timestamp, J)>,
}

/// A job is named by its source record, which says how often it was redriven.
impl JobName for SourcePosition {
    type Written = Self;

    fn written(&self) -> (Self, u32) {
        (self.clone(), 0)
    }

    fn read(written: Self, _redrive: u32) -> Self {
        written
    }
}

impl<J: JobName> Default for Wallet<J> {
    fn default() -> Self {
        Self::new(WalletBounds::default())
    }
}

impl<J: JobName> Wallet<J> {
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
            again: BTreeSet::new(),
            forget: BTreeSet::new(),
        }
    }

    /// The same with bugs; for tests of tests.
    #[must_use]
    pub fn with_bugs(self, bugs: WalletBugs) -> Self {
        Self { bugs, ..self }
    }

    /// Keys of which something was asked that is not answered, and when that was asked first.
    pub fn asked(&self) -> impl Iterator<Item = (&LimitId, &str, Timestamp)> {
        let all = self.entries.iter().flat_map(|(limit, keys)| keys.iter().map(move |(key, held)| (limit, key, held)));
        all.filter_map(|(limit, key, held)| Some((limit, &**key, held.asked?.at)))
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
    #[must_use]
    pub const fn was_used(&self) -> bool {
        self.number > 0
    }

    /// How many jobs' ends are awaited.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// When a holding's time is over, or something is asked again.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        [&self.due, &self.again].into_iter().filter_map(|set| set.first()).map(|(due, _)| *due).min()
    }

    /// The shard's part of a key of a limit, when it has any or has asked for it.
    #[must_use]
    pub fn holding(&self, limit: &LimitId, key: &str) -> Option<&Holding> {
        self.entry(limit, key)
    }

    fn entry(&self, limit: &LimitId, key: &str) -> Option<&Holding> {
        self.entries.get(limit)?.get(key)
    }

    /// The window of a limit as it is kept here.
    fn window(&self, holding: &Holding) -> Duration {
        let window = holding.window(self.bounds.skew);
        if self.bugs.window_short { window.saturating_sub(window / 50 + Duration::from_micros(1)) } else { window }
    }

    /// A request has gone out, or will: an `Ask`, a `Return` or what is passed on of a job's end.
    pub fn requested(&mut self, request: &LimitRequest, at: Timestamp) {
        self.number = self.number.max(request.id().number);
        let (limit, key) = request.about();
        match request {
            LimitRequest::Ask { id, definition, tenant, need, want, .. } => {
                self.open_entry(limit, key, definition, tenant);
                self.change(limit, key, |holding| {
                    holding.asked = Some(Asked::new(*id, (*need, *want), at, holding.asked));
                });
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

    /// The limits stage has answered (`Granted`, `Switched`); a recall changes nothing until it is answered in turn.
    pub fn granted(&mut self, answer: &LimitAnswer, at: Timestamp) {
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
                let Some(asked) = asked.filter(|asked| asked.is(*request)) else { return };
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
                    if !asked.need.is_zero() && *amount >= asked.need {
                        holding.promised = Some(Promised { amount: asked.need, until: at + PROMISED_FOR });
                    }
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

    /// The spends of a job that may run count from now on, in place of what it has taken before.
    pub fn spend(&mut self, job: &J, spends: &[Spend], at: Timestamp) {
        self.replaced(job, at);
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
        self.await_end(job, at, open);
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

    const fn set_of(&mut self, due: Due) -> &mut BTreeSet<(Timestamp, Name)> {
        match due {
            Due::Over => &mut self.due,
            Due::Idle => &mut self.idle,
            Due::Again => &mut self.again,
        }
    }

    /// Changes an entry and what is derived from it.
    fn change(&mut self, limit: &LimitId, key: &str, change: impl FnOnce(&mut Holding)) {
        let Some(holding) = self.entries.get_mut(limit).and_then(|keys| keys.get_mut(key)) else { return };
        let before = holding.next_due();
        change(holding);
        let after = holding.next_due();
        if before == after {
            return;
        }
        let mut set = |due: Option<(Due, Timestamp)>, change: fn(&mut BTreeSet<_>, _) -> bool| {
            if let Some((due, at)) = due {
                change(self.set_of(due), (at, (limit.clone(), Box::from(key))));
            }
        };
        set(before, |set, entry| set.remove(&entry));
        set(after, BTreeSet::insert);
    }

    /// Forgets entries that say nothing any more, a few each time; to be called with every fact.
    pub fn forget_due(&mut self, at: Timestamp) {
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
            let Some((_, job)) = self.forget.first().filter(|(due, _)| *due <= at).cloned() else { break };
            self.close(&job, at, settle::End::Forgotten);
        }
    }

    /// Whether the end of any of these jobs is awaited.
    #[must_use]
    pub fn awaits(&self, jobs: impl RangeBounds<J>) -> bool {
        self.open.range(jobs).next().is_some() && !self.bugs.redrive_open
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
mod wallet_tests;
