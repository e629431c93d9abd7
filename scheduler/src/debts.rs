//! What this shard owes to others that wait for it, of what it is lent ([`crate::lent`]). Soft.
//!
//! Several may wait for the same key, and each lets the limits stage send a recall. None takes back what another is owed: the
//! largest counts, until the last of them may be expected to have asked again. A debt ends by payment, by time, or with the
//! holding that it is of.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::limits::{Amount, LimitId};
use tidegate_protocol::time::Timestamp;

use crate::clock::Clock;

/// A key of a limit.
pub(crate) type Key = (LimitId, Box<str>);

/// What another shard waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) amount: Amount,
    pub(crate) until: Timestamp,
    /// Of which holding.
    pub(crate) holding: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    owed: BTreeMap<Key, Owed>,
    ends: Clock<Key>,
    /// Of these something was not in use when they were last looked at.
    free: BTreeSet<Key>,
}

impl Debts {
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// What is owed of a key at `at`.
    pub(crate) fn of(&self, limit: &LimitId, key: &str, at: Timestamp) -> Option<Owed> {
        if self.owed.is_empty() {
            return None;
        }
        self.owed.get(&(limit.clone(), key.into())).copied().filter(|owed| owed.until > at)
    }

    /// Somebody waits.
    pub(crate) fn owe(&mut self, key: Key, owed: Owed, at: Timestamp) {
        let before = self.owed.get(&key).filter(|known| known.until > at && known.holding == owed.holding);
        let amount = before.map_or(owed.amount, |known| known.amount.max(owed.amount));
        let until = before.map_or(owed.until, |known| known.until.max(owed.until));
        self.ends.set(&key, until);
        self.owed.insert(key, Owed { amount, until, ..owed });
    }

    /// So much was given back; `all` when the holding ended.
    pub(crate) fn pay(&mut self, key: &Key, free: Amount, all: bool) {
        let Some(owed) = self.owed.get_mut(key) else { return };
        owed.amount = owed.amount.less(free);
        if owed.amount.is_zero() || all {
            self.end(key);
        }
    }

    /// What is held of a key is that holding: of another nothing is owed.
    pub(crate) fn holds(&mut self, key: &Key, holding: u64) {
        if self.owed.get(key).is_some_and(|owed| owed.holding != holding) {
            self.end(key);
        }
    }

    /// Whether something of a key is not in use; of no account when nothing is owed of it.
    pub(crate) fn came_free(&mut self, key: Key, free: bool) {
        if free && self.owed.contains_key(&key) {
            self.free.insert(key);
        } else {
            self.free.remove(&key);
        }
    }

    /// What is owed at `at` and can be paid.
    pub(crate) fn payable(&self, at: Timestamp) -> impl Iterator<Item = (&Key, Owed)> {
        let known = self.free.iter().filter_map(|key| Some((key, *self.owed.get(key)?)));
        known.filter(move |(_, owed)| owed.until > at)
    }

    /// Ends those whose time is over.
    pub(crate) fn forget(&mut self, at: Timestamp) {
        let over: Vec<Key> = self.ends.due(at).cloned().collect();
        over.iter().for_each(|key| self.end(key));
    }

    fn end(&mut self, key: &Key) {
        self.owed.remove(key);
        self.ends.stop(key);
        self.free.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_free_is_looked_at_to_pay_and_nothing_is_kept_of_what_ended() {
        let mut debts = Debts::default();
        let key = |name: &str| (LimitId::new("pool/p/tenant/leased/9").unwrap(), Box::from(name));
        let owed = |until| Owed { amount: Amount::ONE, until: Timestamp(until), holding: 1 };
        for (name, until) in [("a", 5), ("b", 9), ("c", 9)] {
            debts.owe(key(name), owed(until), Timestamp(0));
        }
        let payable =
            |debts: &Debts, at| debts.payable(Timestamp(at)).map(|((_, key), _)| key.clone()).collect::<Vec<_>>();
        assert!(payable(&debts, 0).is_empty());
        for name in ["a", "b", "nobody's"] {
            debts.came_free(key(name), true);
        }
        assert_eq!(payable(&debts, 4), ["a".into(), "b".into()]);
        debts.forget(Timestamp(5));
        assert_eq!(payable(&debts, 4), ["b".into()], "a's time is over");
        debts.came_free(key("b"), false);
        assert!(payable(&debts, 4).is_empty());
        debts.pay(&key("b"), Amount::ONE, false);
        debts.holds(&key("c"), 2);
        assert!(debts.is_empty() && debts.free.is_empty() && debts.ends.len() == 0);
    }
}
