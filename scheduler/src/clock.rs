//! A set of things that fall due. Soft: nothing here outlives an owner.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::time::Timestamp;

/// One due time for each key.
#[derive(Debug)]
pub(crate) struct Clock<K> {
    due: BTreeMap<K, Timestamp>,
    order: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Clock<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Clock<K> {
    /// Sets or moves the due time of `key`.
    pub(crate) fn set(&mut self, key: &K, due: Timestamp) {
        if let Some(before) = self.due.get_mut(key) {
            self.order.remove(&(*before, key.clone()));
            *before = due;
        } else {
            self.due.insert(key.clone(), due);
        }
        self.order.insert((due, key.clone()));
    }

    /// Sets the due time of `key` when it has none.
    pub(crate) fn begin(&mut self, key: &K, due: Timestamp) {
        if !self.due.contains_key(key) {
            self.set(key, due);
        }
    }

    /// Stops the clock of `key`.
    pub(crate) fn stop(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
    }

    /// Gives every key the same due time.
    pub(crate) fn set_all(&mut self, due: Timestamp) {
        self.order.clear();
        for (key, at) in &mut self.due {
            *at = due;
            self.order.insert((due, key.clone()));
        }
    }

    /// Nothing is due before that.
    pub(crate) fn put_off(&mut self, until: Timestamp) {
        let sooner: Vec<K> =
            self.order.iter().take_while(|(due, _)| *due < until).map(|(_, key)| key.clone()).collect();
        sooner.iter().for_each(|key| self.set(key, until));
    }

    /// Keys with a due time.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether `key` is due at or before `now`.
    pub(crate) fn is_due(&self, key: &K, now: Timestamp) -> bool {
        self.due.get(key).is_some_and(|due| *due <= now)
    }

    /// The earliest due time.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(due, _)| *due)
    }

    /// What is due at or before `now`, earliest first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &K> {
        self.order.iter().take_while(move |(due, _)| *due <= now).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_falls_due_in_order_and_once_moved_only_at_its_new_time() {
        let mut clock = Clock::default();
        clock.set(&"a", Timestamp(5));
        clock.set(&"b", Timestamp(3));
        clock.set(&"c", Timestamp(4));
        clock.set(&"b", Timestamp(9));
        clock.stop(&"c");
        assert_eq!(clock.next(), Some(Timestamp(5)));
        assert_eq!(clock.due(Timestamp(9)).copied().collect::<Vec<_>>(), ["a", "b"]);
        clock.put_off(Timestamp(6));
        assert_eq!(clock.due(Timestamp(9)).copied().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(clock.next(), Some(Timestamp(6)));
        clock.set_all(Timestamp(20));
        assert_eq!(clock.due(Timestamp(19)).count(), 0);
        assert_eq!(clock.due(Timestamp(20)).count(), 2);
    }
}
