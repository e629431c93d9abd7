//! One key of one limit: who holds how much of it, what still counts, who waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::control::term;
use tidegate_protocol::ids::{SenderId, TenantId};
use tidegate_protocol::limits::{Amount, LimitDefinition, LimitId, LimitKind, LimitRequest, RequestId};
use tidegate_protocol::time::Timestamp;

use crate::answer::{Ask, Shown, is_places};
use crate::breaker::Breaker;
use crate::config::LimitsConfig;
use crate::residue::Residues;

/// The longest that the lease of a pool may be told to last (`lease_ms`).
const LONGEST_LEASE: Duration = Duration::from_hours(24);

/// Names a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct KeyName {
    pub(crate) limit: LimitId,
    pub(crate) key: Box<str>,
}

/// What one shard of a kernel or a scheduler has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    /// Number of the request that began it.
    pub(crate) number: u64,
    pub(crate) capacity: Amount,
    /// It may be spent before.
    pub(crate) until: Timestamp,
    /// It was asked to give back at this time and has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recalled: Option<Timestamp>,
    /// The last request of its shard that was heard of it; of one from before this was kept, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heard: Option<RequestId>,
}

impl Holding {
    /// Whether a request was heard before: it is a copy.
    pub(crate) fn has_heard(&self, id: RequestId) -> bool {
        self.heard.is_some_and(|heard| id <= heard)
    }
}

/// A request that waits for others to give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) to: SenderId,
    pub(crate) request: Box<LimitRequest>,
    pub(crate) until: Timestamp,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) definition: Arc<LimitDefinition>,
    /// Whose bound it counts towards.
    pub(crate) tenant: TenantId,
    pub(crate) holders: BTreeMap<SenderId, Holding>,
    #[serde(default, skip_serializing_if = "Residues::is_empty")]
    pub(crate) residue: Residues,
    /// What moved may be spent from this stamp on.
    pub(crate) floor: Timestamp,
    /// Oldest first; one a shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) asks: Vec<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) breaker: Option<Breaker>,
}

impl Key {
    pub(crate) fn new(definition: Arc<LimitDefinition>, tenant: TenantId) -> Self {
        let breaker = (definition.kind == LimitKind::Breaker).then(Breaker::default);
        Self {
            definition,
            tenant,
            holders: BTreeMap::new(),
            residue: Residues::default(),
            floor: Timestamp(0),
            asks: Vec::new(),
            breaker,
        }
    }

    /// All of it, and its window.
    pub(crate) fn whole(&self) -> (Amount, Duration) {
        self.definition.effective()
    }

    /// Whether only whole units are of use.
    pub(crate) fn in_units(&self) -> bool {
        self.whole().0.0.is_multiple_of(Amount::ONE.0)
    }

    /// What is lent out.
    pub(crate) fn lent(&self) -> Amount {
        self.holders.values().fold(Amount::ZERO, |sum, holding| sum.plus(holding.capacity))
    }

    /// What may be lent at `at`.
    pub(crate) fn free(&self, at: Timestamp) -> Amount {
        self.whole().0.less(self.lent()).less(self.residue.counted(at))
    }

    /// From which stamp what is lent at `at` may be spent.
    pub(crate) fn from(&self, at: Timestamp, config: &LimitsConfig) -> Timestamp {
        let stopped = self.residue.stopped(at).map_or(Timestamp(0), |until| before(until, config.skew));
        self.floor.max(stopped)
    }

    /// Drops residue that no longer counts; what stood for it may be spent from then on.
    pub(crate) fn prune(&mut self, at: Timestamp, config: &LimitsConfig) {
        self.floor = self.from(at, config);
        self.residue.prune(at);
    }

    /// When a holding ends that nobody speaks for any more: all it could spend is out of every window by then.
    pub(crate) fn lapses(&self, holding: &Holding, config: &LimitsConfig) -> Timestamp {
        match self.breaker {
            Some(_) => holding.until,
            None => holding.until + self.whole().1 + config.skew,
        }
    }

    /// Whether an ask changes what is known of its shard's holding.
    pub(crate) fn is_met(&self, ask: &Ask<'_>) -> bool {
        self.holders.get(ask.to).is_some_and(|held| match ask.shows(held) {
            Shown::Same => self.surplus(held, ask).is_some(),
            Shown::Unspent | Shown::Lost => true,
            Shown::Contradiction => false,
        })
    }

    /// Takes in what an ask shows of its shard's holding.
    pub(crate) fn meet(&mut self, ask: &Ask<'_>, config: &LimitsConfig) {
        let Some(held) = self.holders.get(ask.to) else { return };
        match ask.shows(held) {
            Shown::Same => {
                let Some(has) = self.surplus(held, ask) else { return };
                if let Some(held) = self.holders.get_mut(ask.to) {
                    held.capacity = has;
                }
                // It came back by a return at the latest then. A place was free before.
                if self.definition.kind != LimitKind::Concurrency {
                    self.floor = self.floor.max(before(ask.at, config.skew));
                }
            }
            Shown::Unspent => {
                self.holders.remove(ask.to);
            }
            Shown::Lost => self.retire(ask.to, ask.id.epoch, config),
            Shown::Contradiction => {}
        }
    }

    /// What its shard has of a holding that counts for more.
    fn surplus(&self, held: &Holding, ask: &Ask<'_>) -> Option<Amount> {
        ask.has.filter(|has| self.breaker.is_none() && *has < held.capacity)
    }

    /// A shard says, by a request of `epoch`, that it has nothing of its holding any more. What it spent of it counts for as long
    /// as if nobody spoke for it.
    pub(crate) fn retire(&mut self, of: &SenderId, epoch: u64, config: &LimitsConfig) {
        let Some(held) = self.holders.remove(of) else { return };
        if self.breaker.is_some() {
            return;
        }
        let mut longest = self.whole().1 + config.skew;
        if is_places(of, &self.definition) {
            // They have no window. Their holding ends when none of its leases is left; only a log that was made anew does not
            // know them, and they end with their terms.
            if held.heard.is_some_and(|heard| term(heard.epoch) == term(epoch)) {
                return;
            }
            longest = longest.min(LONGEST_LEASE + config.skew);
        }
        self.residue.add(held.until + longest, held.capacity, longest);
    }

    /// What a waiting request needs.
    pub(crate) fn need_of(kept: &Kept) -> Amount {
        match &*kept.request {
            LimitRequest::Ask { need, .. } => *need,
            LimitRequest::Return { .. } | LimitRequest::Ended { .. } => Amount::ZERO,
        }
    }

    /// Whether nobody can be expected any more to give back what the waiting requests wait for.
    pub(crate) fn all_answered(&self, at: Timestamp, config: &LimitsConfig) -> bool {
        self.holders.values().all(|holding| holding.recalled.is_none_or(|recalled| recalled + config.recall <= at))
    }

    /// Whether the oldest waiting request can be answered now.
    pub(crate) fn is_ready(&self, at: Timestamp, config: &LimitsConfig) -> bool {
        let Some(kept) = self.asks.first() else { return false };
        self.free(at) >= Self::need_of(kept) || self.all_answered(at, config)
    }

    /// From when on nothing counts and nobody waits, so that it can be forgotten.
    fn idle_from(&self) -> Option<Timestamp> {
        if !self.holders.is_empty() || !self.asks.is_empty() {
            return None;
        }
        let breaker = self.breaker.as_ref().map(|breaker| breaker.idle_from(&self.definition));
        self.residue.last().max(breaker).or(Some(Timestamp(0)))
    }

    /// Whether it can be forgotten.
    pub(crate) fn is_idle(&self, at: Timestamp) -> bool {
        self.idle_from().is_some_and(|from| from <= at)
    }

    /// When time alone changes something.
    pub(crate) fn next_due(&self, config: &LimitsConfig) -> Option<Timestamp> {
        let holders = self.holders.values().map(|holding| self.lapses(holding, config)).min();
        let asks = self.asks.iter().map(|kept| kept.until).min();
        [holders, asks, self.idle_from()].into_iter().flatten().min()
    }
}

/// `time` less `by`.
pub(crate) fn before(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}
