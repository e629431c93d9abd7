//! What this shard has of one key of one limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{Amount, LimitDefinition, LimitKind, Member, Residue};
use tidegate_protocol::time::Timestamp;

use super::window::{Peaks, Spent};

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) at: Timestamp,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holding {
    pub(super) definition: Arc<LimitDefinition>,
    /// The tenant that asked first: entries are bounded by tenant.
    pub(super) tenant: TenantId,
    /// Number of the request that began it; 0: nothing is held.
    pub(super) number: u64,
    pub(super) capacity: Amount,
    /// It may be spent from here,
    pub(super) from: Timestamp,
    /// to before here.
    pub(super) until: Timestamp,
    /// When its time was last prolonged.
    pub(super) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<Asked>,
    /// Nothing more can be had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) again: Option<Timestamp>,
    pub(super) spent: Spent,
    pub(super) peaks: Peaks,
    /// Of `count_distinct_within`: values by their last use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) members: BTreeMap<Member, Timestamp>,
    /// Stamp of the last spend.
    pub(super) last: Timestamp,
    /// Jobs whose end is awaited.
    pub(super) open: u32,
    /// Of a breaker: only probes pass, as many as its capacity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) probe: bool,
}

impl Holding {
    pub(super) fn new(definition: Arc<LimitDefinition>, tenant: TenantId) -> Self {
        Self {
            definition,
            tenant,
            number: 0,
            capacity: Amount::ZERO,
            from: Timestamp(0),
            until: Timestamp(0),
            since: Timestamp(0),
            asked: None,
            again: None,
            spent: Spent::default(),
            peaks: Peaks::default(),
            members: BTreeMap::new(),
            last: Timestamp(0),
            open: 0,
            probe: false,
        }
    }

    /// How long a spend counts here. A place is free again when its job has ended; where that is not told it is time that
    /// frees it, and a shard's time may jump by the clocks' allowance (`skew`) when its owner changes, so it waits as
    /// much longer. Windows of stamps alone need no allowance.
    pub(super) fn window(&self, skew: Duration) -> Duration {
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
    pub(super) fn is_live(&self, at: Timestamp) -> bool {
        self.number != 0 && self.from <= at && at < self.until
    }

    /// What counts at `at`; `window` is the limit's, or shorter where a bug is planted.
    pub(super) fn counted(&self, at: Timestamp, window: Duration) -> Amount {
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

    /// Whether a spend at `at` adds nothing: the value is counted already.
    pub(super) fn is_member(&self, member: Option<Member>, at: Timestamp, window: Duration) -> bool {
        member.and_then(|member| self.members.get(&member)).is_some_and(|last| at < *last + window)
    }

    /// Takes a spend in. `skew` is the clocks' allowance.
    pub(super) fn spend(&mut self, at: Timestamp, amount: Amount, member: Option<Member>, skew: Duration) {
        let window = self.window(skew);
        self.last = at;
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
    pub(super) fn bound(&self, at: Timestamp, skew: Duration) -> Amount {
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
    pub(super) fn free(&self, at: Timestamp, skew: Duration) -> Amount {
        match self.definition.kind {
            // It holds no capacity, only leave.
            LimitKind::Breaker => Amount::ZERO,
            LimitKind::CountWithin
            | LimitKind::SumWithin
            | LimitKind::CountDistinctWithin
            | LimitKind::Concurrency
            | LimitKind::Budget
            | LimitKind::Rate => self.capacity.less(self.bound(at, skew)),
        }
    }

    /// From which stamp on others may spend what is given back at `at`.
    pub(super) fn freed_from(&self, at: Timestamp, skew: Duration) -> Timestamp {
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
    pub(super) fn residue(&self, at: Timestamp, skew: Duration) -> Residue {
        Residue { amount: self.bound(at, skew), last: self.last }
    }

    /// Nothing is held any more.
    pub(super) fn empty(&mut self) {
        self.number = 0;
        self.capacity = Amount::ZERO;
        self.spent.clear();
        self.peaks.clear();
        self.members.clear();
        self.probe = false;
        self.open = 0;
    }

    /// When time alone changes something: its time is over, or nothing is left to remember.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        match (self.number, self.asked) {
            (0, Some(_)) => None,
            (0, None) => Some(self.again.unwrap_or(Timestamp(0))),
            // The answer to a request must meet the holding it was made for.
            (_, Some(_)) => None,
            // What is open keeps it; the last one to end lets it go.
            _ if self.open > 0 => None,
            _ => Some(self.until),
        }
    }
}
