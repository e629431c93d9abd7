//! The ledger of places: who had which lease from when to when, by the facts of all shards alone.
//!
//! A lease **counts** from the time at which the broker appended the valid group that grants it, until the append of the valid
//! group that ends it: by its job's end, a retry, or an expiry. A job that was lost with its worker therefore counts until its
//! lease has expired, whatever became of the worker. Groups of former owners, and those behind a gap, are no facts.
//!
//! Order: within a shard that of its log, without any clock. Between shards the times of one broker, in whole milliseconds: a
//! place that goes from one shard to another crosses three logs on its way, each append of which follows the one before, so a
//! lease that takes it is never older than the end that freed it. Within a millisecond ends stand before leases, since the
//! order is not known; a lease that began and ended within one does not count.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, bail};

use crate::broker::Met;
use crate::ledger::facts::{Counted, Fact, FactsLog, Token};
use crate::ledger::position::Position;

/// A lease, as it stands in the facts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// The job.
    pub(super) of: Position,
    /// Its token.
    pub(super) token: Token,
    /// The pool's shard.
    shard: u32,
    /// Where its grant stands among all facts of its shard.
    begins: u64,
    /// And its end.
    ends: Option<u64>,
    /// When its grant landed, milliseconds.
    pub(super) from_ms: i64,
    /// When its end landed.
    until_ms: Option<i64>,
    /// Its result ended the job.
    pub(super) settled: bool,
}

/// Everything read so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    logs: BTreeMap<u32, FactsLog>,
    /// Facts met, and the last append's time, of each shard.
    met: BTreeMap<u32, (u64, i64)>,
    leases: Vec<Lease>,
    open: HashMap<Position, usize>,
    /// Jobs that have ended since they were last asked for.
    ended: Vec<Position>,
}

impl Places {
    /// Takes the next record of a shard's facts.
    ///
    /// # Errors
    /// When no right owner can have written it.
    pub(super) fn meet(&mut self, met: &Met) -> anyhow::Result<()> {
        let counted = self.logs.entry(met.partition).or_default().meet(met)?;
        let (_, last_ms) = self.met.entry(met.partition).or_default();
        *last_ms = met.at_ms.max(*last_ms);
        let Counted::Valid(facts) = counted else { return Ok(()) };
        let stands = || format!("{}/{}@{}", met.topic, met.partition, met.offset);
        facts.into_iter().try_for_each(|said| self.take(met, said.fact).with_context(stands))
    }

    fn take(&mut self, met: &Met, fact: Fact) -> anyhow::Result<()> {
        let (number, _) = self.met.entry(met.partition).or_default();
        *number += 1;
        let number = *number;
        match fact {
            Fact::LeaseGranted { source, token, .. } => {
                let lease = Lease {
                    of: source,
                    token,
                    shard: met.partition,
                    begins: number,
                    ends: None,
                    from_ms: met.at_ms,
                    until_ms: None,
                    settled: false,
                };
                if let Some(before) = self.open.insert(source, self.leases.len()) {
                    bail!("{source} is leased under {token:?} while {:?} has it", self.leases.get(before));
                }
                self.leases.push(lease);
            }
            Fact::LeaseExpired { source, .. } | Fact::JobRetried { source } | Fact::JobReturned { source } => {
                self.end(source, number, met, None);
            }
            Fact::JobFinished { source, by, .. } => {
                self.end(source, number, met, by.map(|by| by.token));
                self.ended.push(source);
            }
            Fact::PolicyAdopted(_)
            | Fact::SliceRequested(_)
            | Fact::SliceGranted(_)
            | Fact::SliceReturned(_)
            | Fact::SpendSettled(_)
            | Fact::OutcomePassedOn(_)
            | Fact::JobDecided { .. }
            | Fact::JobRepeated { .. }
            | Fact::RecordRejected { .. }
            | Fact::WorkerWelcomed(_)
            | Fact::WorkerOutrun(_)
            | Fact::CancelAsked(_)
            | Fact::WithdrawalKept(_)
            | Fact::JobDelayed(_)
            | Fact::WithdrawalMoved(_)
            | Fact::JobDue(_)
            | Fact::ResultRepeated(_)
            | Fact::ResultRefused { .. }
            | Fact::JobDuplicate { .. }
            | Fact::JobMoved(_)
            | Fact::WorkRefused { .. }
            | Fact::WorkerForgotten(_)
            | Fact::WorkerCordoned(_)
            | Fact::WorkerUncordoned(_)
            | Fact::PoolCommandRefused(_) => {}
        }
        Ok(())
    }

    fn end(&mut self, of: Position, number: u64, met: &Met, by: Option<Token>) {
        let open = self.open.remove(&of).and_then(|at| self.leases.get_mut(at));
        if let Some(lease) = open {
            (lease.ends, lease.until_ms) = (Some(number), Some(met.at_ms));
            lease.settled = by == Some(lease.token);
        }
    }

    /// Jobs that have ended since this was last asked.
    pub(super) fn take_ended(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.ended)
    }

    /// All leases.
    pub(super) fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// Shards whose facts have a lease since `ms`.
    pub(super) fn shards_since(&self, ms: i64) -> usize {
        let since = self.leases.iter().rev().take_while(|lease| lease.from_ms > ms);
        since.map(|lease| lease.shard).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Everything up to this time has been read, whatever the shard.
    pub(super) fn known_until(&self, shards: usize) -> i64 {
        let all = self.met.len() >= shards;
        self.met.values().map(|(_, last_ms)| *last_ms).min().filter(|_| all).unwrap_or(i64::MIN)
    }

    /// How many of `whose` leases counted at once, from time to time.
    pub(super) fn counted(&self, whose: impl Fn(Position) -> bool) -> Counts {
        let mut changes: Vec<(i64, i64)> = Vec::new();
        for lease in self.leases.iter().filter(|lease| whose(lease.of)) {
            changes.push((lease.from_ms, 1));
            changes.extend(lease.until_ms.map(|until| (until.max(lease.from_ms), -1)));
        }
        Counts::of(changes)
    }

    /// The most of `whose` leases that one shard had at once, in the order of its log.
    pub(super) fn most_of_a_shard(&self, whose: impl Fn(Position) -> bool) -> u64 {
        let mut changes: BTreeMap<(u32, u64), i64> = BTreeMap::new();
        for lease in self.leases.iter().filter(|lease| whose(lease.of)) {
            changes.insert((lease.shard, lease.begins), 1);
            changes.extend(lease.ends.map(|ends| ((lease.shard, ends), -1)));
        }
        let (mut most, mut now, mut of) = (0, 0, None);
        for ((shard, _), change) in changes {
            now = if of == Some(shard) { now + change } else { change };
            (of, most) = (Some(shard), most.max(now));
        }
        u64::try_from(most).unwrap_or(0)
    }
}

/// How many there were, from time to time: each from its time until the next one's.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<(i64, u64)>);

impl Counts {
    /// Of beginnings (1) and ends (-1) at their times; of one time, ends come before.
    pub(super) fn of(mut changes: Vec<(i64, i64)>) -> Self {
        changes.sort_unstable();
        let (mut counts, mut now): (Vec<(i64, u64)>, i64) = (vec![(i64::MIN, 0)], 0);
        for (at, change) in changes {
            now += change;
            let count = u64::try_from(now).unwrap_or(0);
            match counts.last_mut() {
                Some((last, known)) if *last == at => *known = count,
                _ => counts.push((at, count)),
            }
        }
        Self(counts)
    }

    /// The spans of time in `from..until` with what counted in each.
    fn within(&self, from: i64, until: i64) -> impl Iterator<Item = (i64, u64)> {
        let begin = self.0.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let rest = self.0.get(begin..).unwrap_or_default();
        let ends = rest.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
        let spans = rest.iter().zip(ends).take_while(move |((at, _), _)| *at < until);
        spans.map(move |((at, count), end)| (end.min(until).saturating_sub((*at).max(from)), *count))
    }

    /// The most at once in `from..until`.
    pub(super) fn most(&self, from: i64, until: i64) -> u64 {
        self.within(from, until).map(|(_, count)| count).max().unwrap_or(0)
    }

    /// What counted at least, for half of the time of these spans.
    pub(super) fn median(&self, spans: &[(i64, i64)]) -> u64 {
        let mut lasted: BTreeMap<u64, i64> = BTreeMap::new();
        for (time, count) in spans.iter().flat_map(|(from, until)| self.within(*from, *until)) {
            *lasted.entry(count).or_default() += time;
        }
        let (all, mut so_far) = (lasted.values().sum::<i64>(), 0);
        let middle = lasted.into_iter().find(|(_, time)| {
            so_far += time;
            so_far * 2 >= all
        });
        middle.map_or(0, |(count, _)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { partition: 0, offset: 0 };

    fn of(offset: u64) -> Position {
        Position { offset, ..AT }
    }

    /// Facts of a shard, each in a group of its own.
    fn tell(places: &mut Places, shard: u32, said: &[(i64, u64, &str)]) {
        for (at_ms, job, what) in said {
            let met = Met { partition: shard, at_ms: *at_ms, ..Met::default() };
            let token = Token { epoch: 1, attempt: u32::try_from(*at_ms).unwrap() };
            let fact = match *what {
                "lease" => Fact::LeaseGranted { source: of(*job), token, worker: "w".into() },
                "expire" => Fact::LeaseExpired { source: of(*job), token, end: "silent".into() },
                _ => Fact::JobFinished { source: of(*job), outcome: "succeeded".into(), by: None },
            };
            places.take(&met, fact).unwrap();
        }
    }

    #[test]
    fn leases_of_all_shards_count_until_their_end_is_a_fact() {
        let mut places = Places::default();
        tell(&mut places, 0, &[(10, 1, "lease"), (20, 2, "lease"), (40, 1, "end"), (90, 2, "expire")]);
        tell(&mut places, 1, &[(30, 3, "lease"), (40, 4, "lease"), (80, 3, "end"), (80, 4, "end")]);
        let counts = places.counted(|_| true);
        assert_eq!(counts.most(i64::MIN, i64::MAX), 3, "at 30, and at 40 when one had ended: {counts:?}");
        assert_eq!(counts.most(80, 90), 1, "2 was lost and counts until its lease has expired");
        assert_eq!(counts.most(90, 100), 0);
        assert_eq!((counts.median(&[(0, 90)]), counts.median(&[(0, 29), (85, 90)])), (3, 1));
        assert_eq!(places.counted(|job| job == of(3)).most(i64::MIN, i64::MAX), 1);
        assert_eq!((places.most_of_a_shard(|_| true), places.take_ended().len()), (2, 3));
    }

    #[test]
    fn a_place_too_many_is_seen_in_a_shard_by_order_alone_and_over_shards_by_time() {
        let mut places = Places::default();
        tell(&mut places, 0, &[(10, 1, "lease"), (10, 2, "lease"), (10, 1, "end")]);
        assert_eq!(places.most_of_a_shard(|_| true), 2, "although it is of one millisecond");
        tell(&mut places, 1, &[(11, 3, "lease")]);
        assert_eq!(places.counted(|_| true).most(i64::MIN, i64::MAX), 2);
    }

    #[test]
    fn a_job_that_is_leased_while_it_is_leased_is_an_error() {
        let mut places = Places::default();
        tell(&mut places, 0, &[(10, 1, "lease")]);
        let (met, token) = (Met { partition: 1, ..Met::default() }, Token { epoch: 2, attempt: 1 });
        assert!(places.take(&met, Fact::LeaseGranted { source: of(1), token, worker: "w".into() }).is_err());
    }
}
