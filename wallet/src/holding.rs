//! What this shard has of one key of one limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{Amount, LimitDefinition, LimitKind, Member, RequestId, Residue};
use tidegate_protocol::time::Timestamp;

use crate::window::{Peaks, Spent};

/// A request on its way. Of one from before they were asked again, all but its number and time is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    /// Of the owner that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// When it was asked first.
    pub(crate) at: Timestamp,
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub(crate) need: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub(crate) want: Amount,
    /// How often it was asked again, and when last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) again: Option<(u32, Timestamp)>,
}

/// A request that is not answered is asked again after so long at first, then after twice as long each time,
const PATIENCE: Duration = Duration::from_secs(5);
/// and so often that this is no longer than
const LONGEST_PATIENCE: Duration = Duration::from_mins(10);

impl Asked {
    /// Of an `Ask` that goes out at `at`, in place of the one before.
    pub(crate) fn new(id: RequestId, (need, want): (Amount, Amount), at: Timestamp, before: Option<Self>) -> Self {
        let again = before.map(|before| (before.again.map_or(0, |(times, _)| times).saturating_add(1), at));
        let first = before.map_or(at, |before| before.at);
        Self { number: id.number, epoch: Some(id.epoch), at: first, need, want, again }
    }

    /// Whether it is this request.
    pub(crate) fn is(&self, id: RequestId) -> bool {
        self.number == id.number && self.epoch.is_none_or(|epoch| epoch == id.epoch)
    }

    /// When it is asked again.
    pub(crate) fn next(&self) -> Timestamp {
        let (times, last) = self.again.unwrap_or((0, self.at));
        last + PATIENCE.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_PATIENCE)
    }
}

/// What somebody here waited for and was granted: it is not given back before he had time to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promised {
    pub(crate) amount: Amount,
    pub(crate) until: Timestamp,
}

/// So long. Whoever waits looks as soon as the answer has been read; others wait as much longer at most.
pub(crate) const PROMISED_FOR: Duration = Duration::from_secs(1);

/// What changes by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The time of the holding is over.
    Over,
    /// Nothing is left to remember.
    Idle,
    /// A request is asked again.
    Again,
}

/// What a shard has of one key of one limit, and what it spent of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    pub(crate) definition: Arc<LimitDefinition>,
    /// The tenant that asked first: entries are bounded by tenant.
    pub(crate) tenant: TenantId,
    /// Number of the request that began it; 0: nothing is held.
    pub(crate) number: u64,
    pub(crate) capacity: Amount,
    /// It may be spent from here,
    pub(crate) from: Timestamp,
    /// to before here.
    pub(crate) until: Timestamp,
    /// When its time was last prolonged.
    pub(crate) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) promised: Option<Promised>,
    /// Nothing more can be had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) again: Option<Timestamp>,
    pub(crate) spent: Spent,
    pub(crate) peaks: Peaks,
    /// Of `count_distinct_within`: values by their last use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) members: BTreeMap<Member, Timestamp>,
    /// Stamp of the last spend.
    pub(crate) last: Timestamp,
    /// Jobs whose end is awaited.
    pub(crate) open: u32,
    /// Of a breaker: only probes pass, as many as its capacity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) probe: bool,
}

impl Holding {
    pub(crate) fn new(definition: Arc<LimitDefinition>, tenant: TenantId) -> Self {
        Self {
            definition,
            tenant,
            number: 0,
            capacity: Amount::ZERO,
            from: Timestamp(0),
            until: Timestamp(0),
            since: Timestamp(0),
            asked: None,
            promised: None,
            again: None,
            spent: Spent::default(),
            peaks: Peaks::default(),
            members: BTreeMap::new(),
            last: Timestamp(0),
            open: 0,
            probe: false,
        }
    }

    /// The whole limit, for ever: of an account that nobody else shares.
    #[must_use]
    pub fn whole(definition: Arc<LimitDefinition>, tenant: TenantId) -> Self {
        let capacity = definition.effective().0;
        Self { number: 1, capacity, until: Timestamp(u64::MAX), ..Self::new(definition, tenant) }
    }

    /// The tenant that asked first.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// How much is held.
    #[must_use]
    pub const fn capacity(&self) -> Amount {
        self.capacity
    }

    /// Jobs that took of it and whose end is awaited.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// Stamp of the last spend.
    #[must_use]
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// How long a spend counts here. A place is free again when its job has ended; where that is not told it is time that
    /// frees it, and a shard's time may jump by the clocks' allowance (`skew`) when its owner changes, so it waits as
    /// much longer. Windows of stamps alone need no allowance.
    #[must_use]
    pub fn window(&self, skew: Duration) -> Duration {
        let window = self.definition.effective().1;
        match self.definition.kind {
            LimitKind::Concurrency => window + skew,
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::CountDistinctWithin
            | LimitKind::Budget
            | LimitKind::Rate
            | LimitKind::Breaker => window,
        }
    }

    /// Whether it may be spent at `at`.
    pub(crate) fn is_live(&self, at: Timestamp) -> bool {
        self.number != 0 && self.from <= at && at < self.until
    }

    /// What counts at `at`; `window` is the limit's, or shorter where a bug is planted.
    #[must_use]
    pub fn counted(&self, at: Timestamp, window: Duration) -> Amount {
        match self.definition.kind {
            LimitKind::CountDistinctWithin => {
                let used = self.members.values().filter(|last| at < **last + window).count();
                Amount::units(u64::try_from(used).unwrap_or(u64::MAX)).unwrap_or(Amount(u64::MAX))
            }
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::Concurrency
            | LimitKind::Budget
            | LimitKind::Rate
            | LimitKind::Breaker => self.spent.counted(at, window),
        }
    }

    /// When the next of what counts at `at` does no longer.
    pub(crate) fn next_to_pass(&self, at: Timestamp, window: Duration) -> Option<Timestamp> {
        let values = self.members.values().map(|last| *last + window).filter(|passes| *passes > at).min();
        let spent = self.spent.next_to_pass(at, window);
        [values, spent].into_iter().flatten().min()
    }

    /// Whether a spend at `at` adds nothing: the value is counted already.
    #[must_use]
    pub fn is_member(&self, member: Option<Member>, at: Timestamp, window: Duration) -> bool {
        member.and_then(|member| self.members.get(&member)).is_some_and(|last| at < *last + window)
    }

    /// Takes a spend in. `skew` is the clocks' allowance.
    pub fn spend(&mut self, at: Timestamp, amount: Amount, member: Option<Member>, skew: Duration) {
        let window = self.window(skew);
        self.last = at;
        if let Some(promised) = &mut self.promised {
            promised.amount = promised.amount.less(amount);
        }
        self.promised = self.promised.filter(|promised| !promised.amount.is_zero() && at < promised.until);
        if self.definition.kind == LimitKind::Breaker {
            if self.probe {
                self.capacity = self.capacity.less(amount);
            }
            return;
        }
        match member {
            Some(member) => {
                // Values are dropped once they count nowhere; looked for when as many as may be are there.
                let most = self.capacity.0 / Amount::ONE.0;
                if u64::try_from(self.members.len()).unwrap_or(u64::MAX) >= most {
                    self.members.retain(|_, last| at < *last + window);
                }
                self.members.insert(member, at);
            }
            None => self.spent.add(at, amount, window),
        }
        self.peaks.add(at, self.counted(at, window), window + skew);
    }

    /// What must stay here: used within any window of late.
    pub(crate) fn bound(&self, at: Timestamp, skew: Duration) -> Amount {
        let now = self.counted(at, self.window(skew));
        match self.definition.kind {
            // A released place was free before anybody else takes it.
            LimitKind::Concurrency => now,
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::CountDistinctWithin
            | LimitKind::Budget
            | LimitKind::Rate
            | LimitKind::Breaker => now.max(self.peaks.highest(at)),
        }
    }

    /// What can be given back.
    pub(crate) fn free(&self, at: Timestamp, skew: Duration) -> Amount {
        match self.definition.kind {
            // It holds no capacity, only leave.
            LimitKind::Breaker => Amount::ZERO,
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::CountDistinctWithin
            | LimitKind::Concurrency
            | LimitKind::Budget
            | LimitKind::Rate => {
                let taken = self.counted(at, self.window(skew)).plus(self.promised(at));
                self.capacity.less(self.bound(at, skew).max(taken))
            }
        }
    }

    /// What somebody here waits for no longer than until now.
    pub(crate) fn promised(&self, at: Timestamp) -> Amount {
        self.promised.filter(|promised| at < promised.until).map_or(Amount::ZERO, |promised| promised.amount)
    }

    /// When, after `at`, time alone may make more of it free to be given back.
    pub(crate) fn frees_at(&self, at: Timestamp, skew: Duration) -> Option<Timestamp> {
        let counts = self.next_to_pass(at, self.window(skew));
        let promised = self.promised.map(|promised| promised.until).filter(|until| *until > at);
        counts.into_iter().chain(self.peaks.next_to_pass(at)).chain(promised).min()
    }

    /// From which stamp on others may spend what is given back at `at`.
    pub(crate) fn freed_from(&self, at: Timestamp, skew: Duration) -> Timestamp {
        match self.definition.kind {
            LimitKind::Concurrency => Timestamp(0),
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::CountDistinctWithin
            | LimitKind::Budget
            | LimitKind::Rate
            | LimitKind::Breaker => Timestamp(at.0.saturating_sub(u64::try_from(skew.as_micros()).unwrap_or(u64::MAX))),
        }
    }

    /// What still counts when it is given up.
    pub(crate) fn residue(&self, at: Timestamp, skew: Duration) -> Residue {
        Residue { amount: self.bound(at, skew), last: self.last }
    }

    /// Nothing is held any more.
    pub(crate) fn empty(&mut self) {
        self.number = 0;
        self.capacity = Amount::ZERO;
        self.spent.clear();
        self.peaks.clear();
        self.members.clear();
        self.promised = None;
        self.probe = false;
        self.open = 0;
    }

    /// When time alone changes something, and what.
    pub(crate) fn next_due(&self) -> Option<(Due, Timestamp)> {
        match (self.number, self.asked) {
            // The answer to a request must meet the holding it was made for.
            (_, Some(asked)) => Some((Due::Again, asked.next())),
            (0, None) => Some((Due::Idle, self.again.unwrap_or(Timestamp(0)))),
            // What is open keeps it; the last one to end lets it go.
            _ if self.open > 0 => None,
            _ => Some((Due::Over, self.until)),
        }
    }

    /// What it has, as its requests say it.
    pub(crate) fn has(&self) -> Option<Amount> {
        (self.number != 0 && self.definition.kind != LimitKind::Breaker).then_some(self.capacity)
    }
}
