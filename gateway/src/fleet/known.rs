//! What the facts of pools say of their workers and their pace.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::Place;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::ids::{CommandId, PersonId, PoolName, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::pool_command::{AHEAD, PoolRefusal};
use tidegate_protocol::time::Timestamp;

use super::standing::Quantiles;

/// Latest times of a pool that are kept.
pub const SAMPLES: usize = 2_048;
/// Older ones do not count, milliseconds.
const RECENT_MS: u64 = 60_000;
/// Rates are taken over so many whole seconds.
const RATE_S: u32 = 10;
/// Seconds that are kept: shards' clocks may differ by some.
const KEPT_S: usize = 30;
/// Latest answers to operators' commands that are kept of a pool.
const ANSWERS: usize = 1_000;
/// Most ranges of settled records above a position; beyond that what waits is counted too high.
const RANGES: usize = 50_000;

/// All pools.
#[derive(Debug, Default)]
pub struct Known {
    pools: BTreeMap<PoolName, Pool>,
    /// Of all inputs of all stages: each has one reader.
    places: HashMap<TopicPartition, Settled>,
}

/// One of them.
#[derive(Debug, Default)]
pub struct Pool {
    /// By worker and shard.
    pub(super) workers: BTreeMap<WorkerId, BTreeMap<u32, Member>>,
    leases: HashMap<SourcePosition, Lease>,
    /// Jobs that stand in no log and that nobody has: they were leased, or delayed. Until when, where that was said. As many as
    /// their schedulers keep.
    aside: HashMap<SourcePosition, Option<Timestamp>>,
    pub(super) granted: Pace,
    pub(super) ended: Pace,
    /// Jobs ended, by outcome.
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    /// Leases that ended without result.
    pub(super) lost: u64,
    waited: Times,
    ran: Times,
    /// Workers that get no further job, by shard.
    pub(super) cordons: BTreeMap<WorkerId, BTreeMap<u32, Cordon>>,
    /// What became of operators' commands, the oldest first.
    answers: VecDeque<Answer>,
    /// All of them so far.
    answers_so_far: u64,
}

/// An operator's word about a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// It is to leave as well.
    pub drain: bool,
    /// By whom.
    pub by: PersonId,
    /// When, by their clock, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a shard said of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// Its number among those of the pool.
    number: u64,
    command: CommandId,
    shard: u32,
    refused: Option<(PoolRefusal, String)>,
    /// What stands for it when the command is given once more, and how long.
    holds: Holds,
}

/// How long a shard's word about a command holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// It says nothing more of it.
    Always,
    /// Until this time, milliseconds since the Unix epoch: the command is ahead of its time.
    Until(u64),
    /// Given once more it is answered anew.
    Once,
}

/// What shards have said of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Shards in which it counts.
    pub(super) given: usize,
    /// Shards in which there was nothing to end.
    pub(super) idle: usize,
    /// The first word of one where it does not count.
    pub(super) refused: Option<(PoolRefusal, String)>,
}

/// A worker in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) incarnation: u64,
    pub(super) lane: u32,
    /// Number of its highest assignment, and the epoch it counts in.
    pub(super) assigned: (u64, u64),
}

#[derive(Debug)]
struct Lease {
    worker: WorkerId,
    shard: u32,
    since: Timestamp,
}

impl Known {
    /// What a pool's facts say; `None` when there were none.
    #[must_use]
    pub fn pool(&self, pool: &PoolName) -> Option<&Pool> {
        self.pools.get(pool)
    }

    /// Takes a fact of a shard. `decided_ms`: when the job it is about was decided, where that is known.
    pub fn take(&mut self, pool: &PoolName, shard: u32, at: Timestamp, fact: &SchedulerFact, decided_ms: Option<f64>) {
        if !self.pools.contains_key(pool) {
            self.pools.insert(pool.clone(), Pool::default());
        }
        let Some(pool) = self.pools.get_mut(pool) else { return };
        match fact {
            SchedulerFact::WorkerWelcomed { worker, incarnation, epoch, lane } => {
                let known = pool.workers.entry(worker.clone()).or_default();
                known.insert(shard, Member { incarnation: *incarnation, lane: *lane, assigned: (*epoch, 0) });
            }
            SchedulerFact::WorkerForgotten { worker } => pool.forget(worker, shard),
            SchedulerFact::WorkerCordoned { worker, drain, command, by, at_ms, reason, .. } => {
                let cordon = Cordon { drain: *drain, by: by.clone(), at_ms: *at_ms, reason: reason.clone() };
                pool.cordons.entry(worker.clone()).or_default().insert(shard, cordon);
                pool.answer(command, shard, None, Holds::Always);
            }
            SchedulerFact::WorkerUncordoned { worker, command, .. } => {
                if let Some(shards) = pool.cordons.get_mut(worker) {
                    shards.remove(&shard);
                    if shards.is_empty() {
                        pool.cordons.remove(worker);
                    }
                }
                pool.answer(command, shard, None, Holds::Always);
            }
            SchedulerFact::PoolCommandRefused { command, why, detail, at_ms, .. } => {
                let ahead = u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX);
                let holds = match why {
                    PoolRefusal::OutOfTime if at.millis() < *at_ms => Holds::Until(at_ms.saturating_sub(ahead)),
                    PoolRefusal::NotNow => Holds::Once,
                    PoolRefusal::OutOfTime | PoolRefusal::NotCordoned | PoolRefusal::TooMany => Holds::Always,
                };
                pool.answer(command, shard, Some((*why, detail.clone())), holds);
            }
            SchedulerFact::LeaseGranted { source, worker, incarnation, token, number, lane, .. } => {
                pool.aside.remove(source);
                let member = Member { incarnation: *incarnation, lane: *lane, assigned: (token.epoch, *number) };
                pool.workers.entry(worker.clone()).or_default().insert(shard, member);
                pool.leases.insert(source.clone(), Lease { worker: worker.clone(), shard, since: at });
                pool.granted.count(at);
                if let Some(decided) = decided_ms.filter(|_| token.attempt == 1) {
                    pool.waited.add(at, millis(at) - decided);
                }
            }
            SchedulerFact::LeaseExpired { source, until, .. } => {
                pool.leases.remove(source);
                pool.aside.insert(source.clone(), *until);
                pool.lost += 1;
            }
            SchedulerFact::JobFinished { source, outcome, .. } => {
                pool.aside.remove(source);
                *pool.outcomes.entry(*outcome).or_default() += 1;
                pool.ended.count(at);
                if let Some(lease) = pool.leases.remove(source) {
                    pool.ran.add(at, at.since(lease.since).as_secs_f64() * 1_000.0);
                }
            }
            SchedulerFact::JobRetried { source, until, .. } | SchedulerFact::JobDelayed { source, until, .. } => {
                pool.leases.remove(source);
                pool.aside.insert(source.clone(), Some(*until));
            }
            SchedulerFact::JobDue { source } => {
                pool.aside.insert(source.clone(), None);
            }
            SchedulerFact::JobReturned { source, .. } => {
                pool.leases.remove(source);
                pool.aside.remove(source);
            }
            SchedulerFact::WorkerOutrun { .. }
            | SchedulerFact::CancelAsked { .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::WithdrawalMoved { .. }
            | SchedulerFact::ResultRepeated { .. }
            | SchedulerFact::ResultRefused { .. }
            | SchedulerFact::JobDuplicate { .. }
            | SchedulerFact::SliceRequested { .. }
            | SchedulerFact::SliceGranted { .. }
            | SchedulerFact::SliceReturned { .. }
            | SchedulerFact::JobMoved { .. }
            | SchedulerFact::WorkRefused { .. } => {}
        }
    }

    /// Takes what a group of a stage says of its shard's places.
    pub fn moved(&mut self, inputs: &[TopicPartition], places: &[Place]) {
        for place in places {
            let Some(input) = usize::try_from(place.input).ok().and_then(|number| inputs.get(number)) else { continue };
            self.places.entry(input.clone()).or_default().moved(place);
        }
    }

    /// The lowest offset of an input that is not settled, and how many records above it are.
    #[must_use]
    pub fn place(&self, input: &TopicPartition) -> Option<(Offset, u64)> {
        let settled = self.places.get(input)?;
        Some((settled.position, settled.ranges.iter().map(|(from, to)| to - from).sum()))
    }

    /// Every input of a stage.
    pub fn inputs(&self) -> impl Iterator<Item = &TopicPartition> {
        self.places.keys()
    }
}

impl Pool {
    fn forget(&mut self, worker: &WorkerId, shard: u32) {
        if let Some(shards) = self.workers.get_mut(worker) {
            shards.remove(&shard);
            if shards.is_empty() {
                self.workers.remove(worker);
            }
        }
    }

    fn answer(&mut self, command: &CommandId, shard: u32, refused: Option<(PoolRefusal, String)>, holds: Holds) {
        if self.answers.len() >= ANSWERS {
            self.answers.pop_front();
        }
        self.answers_so_far += 1;
        let (number, command) = (self.answers_so_far, command.clone());
        self.answers.push_back(Answer { number, command, shard, refused, holds });
    }

    /// Answers to all commands so far.
    pub(super) const fn answers_so_far(&self) -> u64 {
        self.answers_so_far
    }

    /// What shards have said of a command that was given at `now_ms`, behind so many answers: of what they had said of it before
    /// what still holds.
    pub(super) fn answered(&self, command: &CommandId, behind: u64, now_ms: u64) -> Answered {
        let holds = |answer: &&Answer| {
            answer.number > behind
                || match answer.holds {
                    Holds::Always => true,
                    Holds::Until(until) => now_ms < until,
                    Holds::Once => false,
                }
        };
        let own = self.answers.iter().filter(|answer| answer.command == *command).filter(holds);
        let latest: BTreeMap<u32, &Answer> = own.map(|answer| (answer.shard, answer)).collect();
        let mut answered = Answered::default();
        for answer in latest.into_values() {
            match &answer.refused {
                None => answered.given += 1,
                Some((PoolRefusal::NotCordoned, _)) => answered.idle += 1,
                Some(refused) => {
                    answered.refused.get_or_insert_with(|| refused.clone());
                }
            }
        }
        answered
    }

    /// An operator's latest word about a worker, and in how many shards one counts. The same command goes to every shard.
    pub(super) fn cordon(&self, worker: &WorkerId) -> Option<(&Cordon, u32)> {
        let shards = self.cordons.get(worker)?;
        let latest = shards.values().max_by_key(|cordon| cordon.at_ms)?;
        Some((latest, u32::try_from(shards.len()).unwrap_or(u32::MAX)))
    }

    /// Whether an operator wants a worker to leave, by the latest word of a shard.
    pub(crate) fn is_to_leave(&self, worker: &WorkerId) -> bool {
        self.cordons.get(worker).is_some_and(|shards| shards.values().any(|cordon| cordon.drain))
    }

    /// Whether an operator lets a worker have no further job of that shard.
    pub(super) fn is_cordoned_in(&self, worker: &WorkerId, shard: u32) -> bool {
        self.cordons.get(worker).is_some_and(|shards| shards.contains_key(&shard))
    }

    /// What a worker has, by shard.
    pub(super) fn jobs_of(&self, worker: &WorkerId) -> Vec<(u32, &SourcePosition)> {
        let own = self.leases.iter().filter(|(_, lease)| lease.worker == *worker);
        own.map(|(source, lease)| (lease.shard, source)).collect()
    }

    /// How many jobs each worker has.
    pub(super) fn running(&self) -> BTreeMap<&WorkerId, u64> {
        let mut running = BTreeMap::new();
        for lease in self.leases.values() {
            *running.entry(&lease.worker).or_default() += 1;
        }
        running
    }

    /// Jobs that stand in no log, that nobody has, and that may be leased: what their next lease waited for is over.
    pub(super) fn requeued(&self, now_ms: u64) -> u64 {
        self.aside.values().filter(|until| until.is_none_or(|until| until.millis() <= now_ms)).count() as u64
    }

    /// From verdict to the first lease.
    pub(super) fn waited(&self, now_ms: u64) -> Quantiles {
        self.waited.quantiles(now_ms)
    }

    /// From lease to end.
    pub(super) fn ran(&self, now_ms: u64) -> Quantiles {
        self.ran.quantiles(now_ms)
    }
}

/// How far an input is settled.
#[derive(Debug, Default)]
struct Settled {
    position: Offset,
    /// `[from, to)` above it.
    ranges: BTreeMap<Offset, Offset>,
}

impl Settled {
    fn moved(&mut self, place: &Place) {
        self.position = place.position;
        for (from, to) in &place.settled {
            if self.ranges.len() < RANGES {
                let end = self.ranges.entry(*from).or_insert(*to);
                *end = (*end).max(*to);
            }
        }
        while let Some(first) = self.ranges.first_entry() {
            if *first.key() >= self.position {
                return;
            }
            let to = first.remove();
            if to > self.position {
                self.ranges.insert(self.position, to);
            }
        }
    }
}

/// How often something happens.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since reading began.
    pub(super) total: u64,
    /// By second of the facts' time, newest last.
    seconds: VecDeque<(u64, u64)>,
}

impl Pace {
    fn count(&mut self, at: Timestamp) {
        self.total += 1;
        let second = at.millis() / 1_000;
        match self.seconds.iter_mut().rev().find(|(of, _)| *of == second) {
            Some((_, count)) => *count += 1,
            None => self.seconds.push_back((second, 1)),
        }
        while self.seconds.len() > KEPT_S {
            self.seconds.pop_front();
        }
    }

    /// Per second, over the last whole seconds.
    pub(super) fn per_s(&self, now_ms: u64) -> f64 {
        let now = now_ms / 1_000;
        let recent = now.saturating_sub(RATE_S.into())..now;
        let count: u64 = self.seconds.iter().filter(|(second, _)| recent.contains(second)).map(|(_, n)| n).sum();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / f64::from(RATE_S)
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century are below 2^53")]
fn millis(at: Timestamp) -> f64 {
    at.0 as f64 / 1_000.0
}

/// The latest times.
#[derive(Debug, Default)]
struct Times(VecDeque<(u64, f64)>);

impl Times {
    fn add(&mut self, at: Timestamp, ms: f64) {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((at.millis(), ms.max(0.0)));
    }

    fn quantiles(&self, now_ms: u64) -> Quantiles {
        let since = now_ms.saturating_sub(RECENT_MS);
        let mut recent: Vec<f64> = self.0.iter().filter(|(at, _)| *at >= since).map(|(_, ms)| *ms).collect();
        recent.sort_by(f64::total_cmp);
        let at = |part: usize| recent.get((recent.len() * part / 100).min(recent.len().saturating_sub(1))).copied();
        Quantiles { n: recent.len(), p50_ms: at(50), p99_ms: at(99), max_ms: recent.last().copied() }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::address::TopicName;
    use tidegate_protocol::facts::{LeaseEnd, Token};

    use super::*;

    fn pool_name() -> PoolName {
        PoolName::new("bank").unwrap()
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000 + ms * 1_000)
    }

    fn job(offset: u64) -> SourcePosition {
        format!("jobs/0@{offset}").parse().unwrap()
    }

    fn granted(worker: &str, offset: u64, number: u64) -> SchedulerFact {
        SchedulerFact::LeaseGranted {
            source: job(offset),
            worker: WorkerId::new(worker).unwrap(),
            incarnation: 7,
            token: Token { epoch: 3, attempt: 1 },
            number,
            lane: 2,
            work: None,
            moved: 0,
            spends: Vec::new(),
        }
    }

    fn finished(offset: u64) -> SchedulerFact {
        let text = format!(
            r#"{{"job_finished":{{"source":"jobs/0@{offset}","job_id":"j","tenant":"acme","outcome":"succeeded","attempts":1}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn leases_rates_and_times_follow_the_facts() {
        let (mut known, bank, worker) = (Known::default(), pool_name(), WorkerId::new("w").unwrap());
        for n in 0..20 {
            let decided = millis(at(n * 100)) - 5.0;
            known.take(&bank, 0, at(n * 100), &granted("w", n, n + 1), Some(decided));
        }
        for n in 0..10 {
            known.take(&bank, 0, at(n * 100 + 40), &finished(n), None);
        }
        let expired = SchedulerFact::LeaseExpired {
            source: job(19),
            token: Token { epoch: 3, attempt: 1 },
            end: LeaseEnd::Silent,
            until: None,
        };
        known.take(&bank, 0, at(2_000), &expired, None);
        let pool = known.pool(&bank).unwrap();
        assert_eq!((pool.jobs_of(&worker).len(), pool.running()[&worker], pool.lost), (9, 9, 1));
        assert_eq!((pool.granted.total, pool.ended.total, pool.outcomes[&Outcome::Succeeded]), (20, 10, 10));
        let now = at(2_500).millis();
        assert!((pool.granted.per_s(now) - 2.0).abs() < 1e-9, "twenty within the last ten whole seconds");
        let (waited, ran) = (pool.waited(now), pool.ran(now));
        assert_eq!((waited.n, ran.n), (20, 10));
        assert!(
            (waited.p99_ms.unwrap() - 5.0).abs() < 0.01 && (ran.p50_ms.unwrap() - 40.0).abs() < 0.01,
            "{waited:?} {ran:?}"
        );
        assert_eq!(pool.ran(now + RECENT_MS + 2_000).n, 0, "times of before count no longer");
        assert_eq!(pool.workers[&worker][&0].assigned, (3, 20));
        known.take(&bank, 0, at(2_000), &SchedulerFact::WorkerForgotten { worker: worker.clone() }, None);
        assert!(known.pool(&bank).unwrap().workers.is_empty());
    }

    #[test]
    fn a_word_about_a_command_counts_for_as_long_as_its_shard_says_no_other() {
        let (mut known, bank) = (Known::default(), pool_name());
        let command = |n: u32| CommandId::new(format!("c{n}")).unwrap();
        let refused = |n: u32, why: &str, signed: u64| -> SchedulerFact {
            serde_json::from_value(serde_json::json!({"pool_command_refused": {
                "worker": "w", "action": "uncordon", "command": command(n), "by": "olga", "at_ms": signed, "why": why, "detail": ""
            }}))
            .unwrap()
        };
        let uncordoned = |n: u32| SchedulerFact::WorkerUncordoned {
            worker: WorkerId::new("w").unwrap(),
            command: command(n),
            by: PersonId::new("olga").unwrap(),
            at_ms: 0,
            reason: String::new(),
        };
        let now = at(0).millis();
        // One a quarter of an hour ahead, one of yesterday, one that came when there were too many.
        known.take(&bank, 0, at(0), &refused(1, "out_of_time", now + 900_000), None);
        known.take(&bank, 0, at(0), &refused(2, "out_of_time", now - 86_400_000), None);
        known.take(&bank, 0, at(0), &refused(3, "not_now", now), None);
        let said = |known: &Known, n: u32, behind: u64, now: u64| {
            known.pool(&bank).unwrap().answered(&command(n), behind, now)
        };
        let is_refused = |known: &Known, n: u32, now: u64| said(known, n, 3, now).refused.is_some();
        assert!(is_refused(&known, 1, now) && is_refused(&known, 2, now) && !is_refused(&known, 3, now));
        assert!(said(&known, 3, 2, now).refused.is_some(), "the answer to this one");
        let later = now + 900_000;
        assert!(!is_refused(&known, 1, later), "it is in time now, and answered anew");
        known.take(&bank, 0, at(900_000), &uncordoned(1), None);
        assert_eq!(said(&known, 1, 3, later), Answered { given: 1, ..Answered::default() });
        // Of two shards one had nothing to end.
        known.take(&bank, 1, at(900_000), &refused(1, "not_cordoned", later), None);
        assert_eq!(said(&known, 1, 3, later), Answered { given: 1, idle: 1, refused: None });
    }

    #[test]
    fn a_place_counts_what_is_settled_above_its_position() {
        let mut known = Known::default();
        let topic = TopicName::new("tidegate.approved.bank").unwrap();
        let inputs = [TopicName::new("tidegate.reports.bank").unwrap().partition(0), topic.partition(1)];
        let place = |position, settled: &[(u64, u64)]| Place {
            input: 1,
            position,
            settled: settled.to_vec(),
            ..Place::default()
        };
        known.moved(&inputs, &[place(4, &[(6, 8), (10, 13)])]);
        let placed = |known: &Known| known.place(&topic.partition(1));
        assert_eq!(placed(&known), Some((4, 5)));
        known.moved(&inputs, &[place(11, &[(20, 21)])]);
        assert_eq!(placed(&known), Some((11, 3)), "11 and 12 of before, and 20");
        assert_eq!(known.place(&topic.partition(0)), None);
    }
}
