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
    use std::time::Duration;

    use tidegate_protocol::facts::SchedulerFact;
    use tidegate_stage::{Signal, Stage as _};

    use super::*;
    use crate::Tuning;
    use crate::driver::{Says, Shard, Way, approved, job, layout, position};

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

    fn of_the_line(offset: u64, not_before: Option<u64>) -> bytes::Bytes {
        let mut job = job(&format!("j{offset}"), offset);
        (job.ordering_key, job.not_before) = (Some("k".into()), not_before);
        approved(&job, "1")
    }

    /// Job 2 was delayed and is due, so the state has it: then the owner changes, and one input is to be read again.
    fn due_while_an_input_is_read_again(way: Way) -> Shard {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let soon = shard.at.millis() + 1_000;
        shard.approved(of_the_line(2, Some(soon)));
        shard.wait(Duration::from_secs(2));
        assert!(matches!(&shard.tick().facts[..], [SchedulerFact::JobDue { .. }]));
        shard.takeover(way, 2);
        shard.stage.observe(Signal::ReadAgain { left: 1 }, shard.at);
        shard
    }

    fn leased(shard: &mut Shard) -> Vec<u64> {
        let says = Says { epoch: 2, credit: 99, capacity: 9, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        let granted = shard.poll().facts.into_iter().filter_map(|fact| {
            if let SchedulerFact::LeaseGranted { source, .. } = fact { Some(source.offset) } else { None }
        });
        granted.collect()
    }

    #[test]
    fn what_the_state_has_does_not_go_before_those_ahead_of_it_are_read_again() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = due_while_an_input_is_read_again(way);
            assert!(leased(&mut shard).is_empty(), "what is ahead of it may not be read yet");
            shard.approved(of_the_line(1, None));
            shard.stage.observe(Signal::ReadAgain { left: 0 }, shard.at);
            assert_eq!(leased(&mut shard), [1], "{way:?}");
        }
    }

    #[test]
    fn where_nothing_stands_ahead_it_goes_when_all_is_read_again_and_after_a_lease_in_any_case() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = due_while_an_input_is_read_again(way);
            shard.stage.observe(Signal::ReadAgain { left: 0 }, shard.at);
            assert_eq!(leased(&mut shard), [2], "{way:?}");
            let mut shard = due_while_an_input_is_read_again(way);
            shard.wait(Duration::from_millis(Tuning::default().lease_ms));
            // Another input is read to its end only now: that begins nothing anew.
            shard.report(&Says { epoch: 2, ..Says::of("v") }.hello());
            shard.stage.observe(Signal::ReadAgain { left: 1 }, shard.at);
            assert_eq!(leased(&mut shard), [2], "{way:?}");
        }
    }
}
