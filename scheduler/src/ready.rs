//! Jobs that could be leased, in the order they should be: by class (same requirement), then rank.
//!
//! The order now: what was leased before comes first, then priority, then arrival. Weighted fair queueing across
//! tenants changes [`Rank`] and nothing else.

use std::collections::BTreeMap;

use tidegate_protocol::job::SourcePosition;

use crate::place::ClassId;

/// A job's place in the order; lower is sooner. No two jobs have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// False for a job that was leased before.
    first_time: bool,
    /// 9 minus priority.
    patience: u8,
    /// When it became ready, counted.
    arrival: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    entries: BTreeMap<SourcePosition, (ClassId, Rank)>,
    queues: BTreeMap<ClassId, BTreeMap<Rank, SourcePosition>>,
    arrivals: u64,
}

impl Ready {
    /// Adds a job behind those of its rank. One that is already in is left where it is.
    pub(crate) fn insert(&mut self, source: &SourcePosition, class: ClassId, leased_before: bool, priority: u8) {
        if self.entries.contains_key(source) {
            return;
        }
        self.arrivals += 1;
        let rank = Rank { first_time: !leased_before, patience: 9_u8.saturating_sub(priority), arrival: self.arrivals };
        self.entries.insert(source.clone(), (class, rank));
        self.queues.entry(class).or_default().insert(rank, source.clone());
    }

    /// Adds a job at that place among those of its priority.
    #[cfg(test)]
    pub(crate) fn insert_at(&mut self, source: &SourcePosition, class: ClassId, priority: u8, arrival: u64) {
        let before = std::mem::replace(&mut self.arrivals, arrival - 1);
        self.insert(source, class, false, priority);
        self.arrivals = before.max(arrival);
    }

    /// Takes a job out; its class, when it was in.
    pub(crate) fn remove(&mut self, source: &SourcePosition) -> Option<ClassId> {
        let (class, rank) = self.entries.remove(source)?;
        if let Some(queue) = self.queues.get_mut(&class) {
            queue.remove(&rank);
            if queue.is_empty() {
                self.queues.remove(&class);
            }
        }
        Some(class)
    }

    /// The first job of a class.
    pub(crate) fn head(&self, class: ClassId) -> Option<(Rank, &SourcePosition)> {
        self.queues.get(&class)?.first_key_value().map(|(rank, source)| (*rank, source))
    }

    /// Every job, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Rank, &SourcePosition)> {
        self.entries.iter().map(|(source, (_, rank))| (*rank, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::position;

    const CLASS: ClassId = ClassId(1);

    fn drain(ready: &mut Ready) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(source) = ready.head(CLASS).map(|(_, source)| source.clone()) {
            ready.remove(&source);
            order.push(source.offset);
        }
        order
    }

    #[test]
    fn requeued_jobs_come_first_then_the_urgent_then_the_early() {
        let mut ready = Ready::default();
        for (offset, before, priority) in
            [(1, false, 5), (2, false, 9), (3, true, 0), (4, false, 5), (5, true, 1), (6, false, 9), (7, false, 200)]
        {
            ready.insert(&position(offset), CLASS, before, priority);
        }
        assert_eq!(drain(&mut ready), [5, 3, 2, 6, 7, 1, 4]);
        assert!(ready.queues.is_empty() && ready.entries.is_empty());
    }

    #[test]
    fn classes_have_queues_of_their_own() {
        let mut ready = Ready::default();
        ready.insert(&position(1), ClassId(2), false, 9);
        ready.insert(&position(2), CLASS, false, 1);
        assert_eq!(ready.head(CLASS).map(|(_, source)| source.offset), Some(2));
        assert_eq!(ready.remove(&position(1)), Some(ClassId(2)));
        assert_eq!(ready.remove(&position(1)), None);
    }
}
