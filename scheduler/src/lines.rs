//! Jobs with an ordering key: of those of one tenant and key at most one is leased at a time, in their order.
//!
//! *Their order* is that of their records in their partition of the source: all that a submitter can know of it. Jobs of one key
//! from several partitions exclude each other and have no order among them. A job keeps its place in the line while it is
//! delayed, pauses between attempts or waits in `overflow` (which the state remembers, [`crate::state`]); those behind it wait.
//! It leaves the line when it ends, and when it goes back to its kernel because its ticket has expired: nothing is known of it
//! here from then on, so what comes back is at its place again, but those behind may have gone ahead meanwhile.
//!
//! Soft: a new owner makes it anew, from the state and from what it reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::job::SourcePosition;

/// Tenant and ordering key.
pub(crate) type LineKey = (TenantId, Arc<str>);

#[derive(Debug, Default)]
struct Line {
    /// All its jobs, those in `overflow` too.
    jobs: BTreeSet<SourcePosition>,
    leased: Option<SourcePosition>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Looked up, never walked through.
    lines: HashMap<LineKey, Line>,
}

impl Lines {
    /// A job takes its place.
    pub(crate) fn join(&mut self, key: &LineKey, source: &SourcePosition) {
        self.lines.entry(key.clone()).or_default().jobs.insert(source.clone());
    }

    /// A job leaves its line.
    pub(crate) fn leave(&mut self, key: &LineKey, source: &SourcePosition) {
        if let Some(line) = self.lines.get_mut(key) {
            line.jobs.remove(source);
            if line.leased.as_ref() == Some(source) {
                line.leased = None;
            }
            if line.jobs.is_empty() {
                self.lines.remove(key);
            }
        }
    }

    /// A job of the line is leased, or no job of it (`None`).
    pub(crate) fn lease(&mut self, key: &LineKey, source: Option<&SourcePosition>) {
        if let Some(line) = self.lines.get_mut(key) {
            line.leased = source.cloned();
        }
    }

    /// Whether it is a job's turn.
    pub(crate) fn may_go(&self, key: &LineKey, source: &SourcePosition) -> bool {
        let Some(line) = self.lines.get(key) else { return true };
        let first = SourcePosition { offset: 0, ..source.clone() };
        line.leased.is_none() && line.jobs.range(first..).next().is_none_or(|first| first == source)
    }

    /// The job at the front of a job's line, of those of its partition; itself, perhaps.
    pub(crate) fn first(&self, key: &LineKey, source: &SourcePosition) -> Option<&SourcePosition> {
        self.lines.get(key)?.jobs.range(SourcePosition { offset: 0, ..source.clone() }..).next()
    }

    /// The jobs at the front of the line: one of each partition of a source, none while one is leased.
    pub(crate) fn front(&self, key: &LineKey) -> Vec<SourcePosition> {
        let Some(line) = self.lines.get(key).filter(|line| line.leased.is_none()) else { return Vec::new() };
        let mut front = Vec::new();
        let mut next = line.jobs.first();
        while let Some(source) = next {
            front.push(source.clone());
            let last = SourcePosition { offset: u64::MAX, ..source.clone() };
            next = line
                .jobs
                .range(last..)
                .find(|other| (&other.source, other.partition) != (&source.source, source.partition));
        }
        front
    }

    /// The job right behind the first of a partition, when `source` is that first.
    pub(crate) fn behind(&self, key: &LineKey, source: &SourcePosition) -> Option<SourcePosition> {
        let line = self.lines.get(key)?;
        let first = SourcePosition { offset: 0, ..source.clone() };
        let mut same = line.jobs.range(first..).take(2);
        let is_first = same.next()? == source;
        let next = same.next().filter(|next| (&next.source, next.partition) == (&source.source, source.partition))?;
        is_first.then(|| next.clone())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::position;

    fn key() -> LineKey {
        (TenantId::new("t").unwrap(), "k".into())
    }

    #[test]
    fn it_is_the_turn_of_the_first_of_each_partition_and_of_nobody_while_one_is_leased() {
        let mut lines = Lines::default();
        let other = SourcePosition { partition: 1, ..position(3) };
        for source in [&position(7), &position(5), &other] {
            lines.join(&key(), source);
        }
        assert_eq!(lines.front(&key()), [position(5), other.clone()]);
        assert!(lines.may_go(&key(), &position(5)) && lines.may_go(&key(), &other));
        assert!(!lines.may_go(&key(), &position(7)));
        lines.lease(&key(), Some(&other));
        assert!(lines.front(&key()).is_empty() && !lines.may_go(&key(), &position(5)));
        lines.leave(&key(), &other);
        assert_eq!(lines.front(&key()), [position(5)]);
        lines.leave(&key(), &position(5));
        lines.leave(&key(), &position(7));
        assert_eq!(lines.len(), 0);
        assert!(lines.may_go(&key(), &position(1)), "nobody else is in line");
    }
}
