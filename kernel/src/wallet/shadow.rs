//! The account of a source that is only observed: what its jobs would have taken of limits, had they run.
//!
//! Nothing of it is real. Nobody is asked for capacity, nothing is lent and nothing spent: each limit is counted here as if this
//! shard alone had the whole of it, so a verdict says what would have happened as far as this partition knows. Nothing runs, so
//! no end is ever told: a place counts for its window, a budget what would have been reserved, and no breaker opens. It is kept
//! apart from what a shard holds ([`Wallet`](super::Wallet)), so that a source that is observed no longer spends nothing of it.
//!
//! Durable, changed by facts alone (I7). Bounded like the wallet (I10); beyond a bound a limit counts as exceeded (I3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_policy::{LimitView, Standing};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{Amount, LimitId, LimitKind, LimitUse, WouldTake};
use tidegate_protocol::time::Timestamp;

use tidegate_wallet::{Holding, WalletBounds};

type Name = (LimitId, Box<str>);

/// Entries forgotten with a fact.
const AT_ONCE: usize = 8;

/// One key of one limit, as a snapshot has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry(Name, Holding);

/// See the module.
#[derive(Debug)]
pub(crate) struct Shadow {
    bounds: WalletBounds,
    entries: BTreeMap<Name, Holding>,
    /// Derived: entries of each tenant.
    tenants: BTreeMap<TenantId, usize>,
    /// Derived: when nothing of an entry counts any more.
    idle: BTreeSet<(Timestamp, Name)>,
}

impl Shadow {
    /// One in which nothing was taken.
    pub(crate) const fn new(bounds: WalletBounds) -> Self {
        Self { bounds, entries: BTreeMap::new(), tenants: BTreeMap::new(), idle: BTreeSet::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A look at `at`, for a job of `tenant`.
    pub(crate) const fn view<'a>(&'a self, tenant: &'a TenantId, at: Timestamp) -> ShadowView<'a> {
        ShadowView { shadow: self, tenant, at }
    }

    /// A job would have been let run, and would have taken this.
    pub(crate) fn take(&mut self, taken: &[WouldTake], tenant: &TenantId, at: Timestamp) {
        for WouldTake { spend, definition } in taken {
            if definition.kind == LimitKind::Breaker {
                continue;
            }
            let name: Name = (spend.limit.clone(), spend.key.clone());
            let holding = self.entries.entry(name.clone()).or_insert_with(|| {
                *self.tenants.entry(tenant.clone()).or_default() += 1;
                Holding::whole(Arc::new(definition.clone()), tenant.clone())
            });
            self.idle.remove(&(holding.last() + holding.window(Duration::ZERO), name.clone()));
            holding.spend(at, spend.amount, spend.member, Duration::ZERO);
            self.idle.insert((at + holding.window(Duration::ZERO), name));
        }
        for _ in 0..AT_ONCE {
            if self.idle.first().is_none_or(|(idle, _)| *idle > at) {
                break;
            }
            let Some((_, name)) = self.idle.pop_first() else { break };
            let Some(holding) = self.entries.remove(&name) else { continue };
            if let Some(count) = self.tenants.get_mut(holding.tenant()) {
                *count -= 1;
                if *count == 0 {
                    self.tenants.remove(holding.tenant());
                }
            }
        }
    }

    /// Replaces everything by what was written.
    pub(crate) fn replace(&mut self, read: Vec<Entry>) {
        let mut shadow = Self::new(self.bounds);
        for Entry(name, holding) in read {
            *shadow.tenants.entry(holding.tenant().clone()).or_default() += 1;
            shadow.idle.insert((holding.last() + holding.window(Duration::ZERO), name.clone()));
            shadow.entries.insert(name, holding);
        }
        *self = shadow;
    }
}

impl Serialize for Shadow {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.entries.iter())
    }
}

/// One judgement's look at it.
#[derive(Debug)]
pub(crate) struct ShadowView<'a> {
    shadow: &'a Shadow,
    tenant: &'a TenantId,
    at: Timestamp,
}

impl LimitView for ShadowView<'_> {
    fn standing(&mut self, wanted: &LimitUse) -> Standing {
        let Shadow { bounds, entries, tenants, .. } = self.shadow;
        let whole = wanted.definition.effective().0;
        if wanted.definition.kind == LimitKind::Breaker {
            return Standing::Within;
        }
        let after = match entries.get(&(wanted.limit.clone(), wanted.key.clone())) {
            Some(holding) => {
                let window = holding.window(Duration::ZERO);
                let again = holding.is_member(wanted.member, self.at, window);
                holding.counted(self.at, window).plus(if again { Amount::ZERO } else { wanted.amount })
            }
            None => {
                let theirs = tenants.get(self.tenant).copied().unwrap_or_default();
                if entries.len() >= bounds.entries || theirs >= bounds.tenant_entries {
                    return Standing::Exceeded;
                }
                wanted.amount
            }
        };
        if after <= whole { Standing::Within } else { Standing::Exceeded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_protocol::limits::{LimitDefinition, Member};

    fn wanted(kind: LimitKind, limit: u64, amount: u64) -> LimitUse {
        let definition = LimitDefinition::new(kind, Amount::units(limit).unwrap(), Duration::from_mins(1));
        LimitUse {
            limit: LimitId::new("rule#0:0011223344556677").unwrap(),
            definition: Arc::new(definition),
            key: "4:acme".into(),
            amount: Amount::units(amount).unwrap(),
            member: None,
        }
    }

    fn acme() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    /// How many jobs in a row pass, a second apart, and what is left of the account after two windows and one more.
    fn passing(of: impl Fn(u64) -> LimitUse) -> (u64, usize) {
        let (mut shadow, mut at) = (Shadow::new(WalletBounds::default()), Timestamp(1_000_000_000));
        let mut passed = 0;
        for n in 0..10 {
            let wanted = of(n);
            if shadow.view(&acme(), at).standing(&wanted) == Standing::Within {
                passed += 1;
                shadow.take(&[WouldTake::of(&wanted)], &acme(), at);
            }
            at = at + Duration::from_secs(1);
        }
        let mut again = Shadow::new(WalletBounds::default());
        again.replace(serde_json::from_str(&serde_json::to_string(&shadow).unwrap()).unwrap());
        assert_eq!(format!("{again:?}"), format!("{shadow:?}"), "what is derived is derived again");
        let other = LimitUse { key: "6:globex".into(), ..wanted(LimitKind::CountWithin, 5, 1) };
        shadow.take(&[WouldTake::of(&other)], &acme(), at + Duration::from_mins(2));
        (passed, shadow.entries.len())
    }

    #[test]
    fn each_kind_counts_as_if_this_shard_alone_had_the_whole_limit() {
        assert_eq!(passing(|_| wanted(LimitKind::CountWithin, 4, 1)), (4, 1));
        assert_eq!(passing(|_| wanted(LimitKind::SumWithin, 20, 6)), (3, 1));
        assert_eq!(passing(|_| wanted(LimitKind::Concurrency, 2, 1)), (2, 1));
        assert_eq!(passing(|_| wanted(LimitKind::Budget, 5, 5)), (1, 1));
        assert_eq!(passing(|_| wanted(LimitKind::Budget, 5, 6)), (0, 1));
        let values =
            |n: u64| LimitUse { member: Some(Member((n % 5).into())), ..wanted(LimitKind::CountDistinctWithin, 3, 1) };
        assert_eq!(passing(values), (6, 1), "of five values three, each twice");
        assert_eq!(passing(|_| wanted(LimitKind::Breaker, 1, 1)), (10, 1), "nothing fails");
    }

    #[test]
    fn what_was_taken_counts_for_its_window_and_bounds_count_as_exceeded() {
        let bounds = WalletBounds { entries: 2, tenant_entries: 1, ..WalletBounds::default() };
        let (mut shadow, at) = (Shadow::new(bounds), Timestamp(1_000_000_000));
        let one = wanted(LimitKind::CountWithin, 1, 1);
        shadow.take(&[WouldTake::of(&one)], &acme(), at);
        let look = |shadow: &Shadow, wanted: &LimitUse, seconds| {
            shadow.view(&acme(), at + Duration::from_secs(seconds)).standing(wanted)
        };
        assert_eq!(look(&shadow, &one, 59), Standing::Exceeded);
        assert_eq!(look(&shadow, &one, 60), Standing::Within);
        let other = LimitUse { key: "4:acme1:x".into(), ..one };
        assert_eq!(look(&shadow, &other, 1), Standing::Exceeded, "a second entry of the tenant");
    }
}
