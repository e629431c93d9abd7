//! What running jobs say of themselves, for whoever watches one: signs of progress and partial output, from `reports.<pool>`.
//!
//! Nothing is read while nobody watches. The first watcher of a pool begins to follow its reports from where they end then; what was
//! said before is not told. Of each watched job the last signs are kept, within bounds, and numbered, so that a watcher can ask for what
//! came since, and sees when something is missing.
//!
//! Reports are workers' own words and not signed: a sign is told only if the scheduler's facts say that this worker had this very
//! lease. It is for people; nothing is decided by it.

use std::collections::{BTreeMap, HashMap, VecDeque, btree_map};
use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Partial, Report};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_spine::{Record, Spine, SpineError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::reports::Reading;
use crate::view::{Attempt, JobKey, Story, TooManyWait, View};

/// Streams of events at once.
const FOLLOWING: usize = 1_000;
/// Jobs watched at once.
const WATCHED: usize = 1_000;
/// Signs kept of a job, and bytes of their texts.
const KEPT: (usize, usize) = (1_000, 256 << 10);
/// A job is watched for so long after it was last asked for.
const FORGET: Duration = Duration::from_secs(60);
/// Longest wait for what a job said last, and for its verdict, once it has ended.
pub(crate) const LAST: Duration = Duration::from_secs(2);
/// How a report of progress begins: most reports are none, and are not parsed.
const BEGINS: &[u8] = br#"{"progress":"#;

/// One sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// Its number among those of this job, from 1; what is missing was dropped.
    pub number: u64,
    /// The attempt that said it.
    pub attempt: u32,
    /// 0 to 1 when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// A piece of what it will give back, or of what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Partial>,
}

/// Signs of a job, and from where to ask on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signs {
    /// The job's story, so that a watcher sees its end.
    pub job: Story,
    /// What it said, in order.
    pub signs: Vec<Sign>,
    /// Everything up to this number is in here or was before.
    pub next: u64,
    /// Whose numbers they are: they begin anew, with another generation, when a job is watched again after a while or by another
    /// process. 0: it is not watched.
    #[serde(skip)]
    pub(crate) generation: u64,
}

/// What a watcher has seen of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The last sign.
    pub sign: u64,
    /// The last change of its story ([`Story::change`]); `None` when changes are not what is waited for.
    pub change: Option<u64>,
}

/// A job cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWatched {
    /// Too many are.
    #[error("{WATCHED} jobs are watched already")]
    TooMany,
    /// The spine does not answer.
    #[error("the spine does not answer: {0}")]
    Away(SpineError),
    /// Too many follow jobs.
    #[error("{FOLLOWING} streams of events are open already")]
    TooManyFollow,
    /// Too many requests wait.
    #[error(transparent)]
    Waits(#[from] TooManyWait),
}

#[derive(Debug)]
struct Watched {
    pool: PoolName,
    asked: Instant,
    said: VecDeque<(WorkerId, Token, Sign)>,
    bytes: usize,
    /// Random, never 0.
    generation: u64,
    /// Number of the last sign; whoever waits for one of this job is told of it.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Where reports of pools stand.
    reports: BTreeMap<PoolName, TopicName>,
    jobs: HashMap<SourcePosition, Watched>,
    /// Pools that are followed, with where their reports stood then: a pool may be gone when it is left.
    followed: BTreeMap<PoolName, TopicName>,
    /// How far their reports are read.
    read: HashMap<TopicPartition, Offset>,
}

/// See the module. Shared as `Arc`.
pub struct Progress {
    spine: Arc<dyn Spine>,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    /// Something was read.
    turned: watch::Sender<()>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("pools", &self.state().reports.keys()).finish_non_exhaustive()
    }
}

impl Progress {
    /// Of these pools, whose reports stand in these topics.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, reports: BTreeMap<PoolName, TopicName>) -> Arc<Self> {
        Arc::new(Self {
            spine,
            state: Mutex::new(State { reports, ..State::default() }),
            places: Arc::new(Semaphore::new(FOLLOWING)),
            turned: watch::Sender::new(()),
        })
    }

    /// From now on of these pools. Jobs of a pool that is gone say nothing more.
    pub fn follows(&self, reports: BTreeMap<PoolName, TopicName>) {
        self.state().reports = reports;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the job said after what was `seen`; waits up to `wait` for the first sign, for its end, and where that is asked for, for a
    /// change of its story. `None`: the job is not known by then.
    ///
    /// # Errors
    /// [`NotWatched`].
    pub async fn of(
        self: &Arc<Self>,
        view: &View,
        key: &JobKey,
        seen: Seen,
        wait: Duration,
    ) -> Result<Option<Signs>, NotWatched> {
        self.further(view, key, (None, seen), wait).await
    }

    /// The same, for one who knows whose number it has seen, or does not (`None`): of another generation it has seen none.
    ///
    /// # Errors
    /// [`NotWatched`].
    pub(crate) async fn further(
        self: &Arc<Self>,
        view: &View,
        key: &JobKey,
        (generation, Seen { sign: since, change }): (Option<u64>, Seen),
        wait: Duration,
    ) -> Result<Option<Signs>, NotWatched> {
        let deadline = Instant::now() + wait;
        let mut told_by = None;
        loop {
            let (job, mut call) = if wait.is_zero() {
                // Who does not wait takes no waiter's place.
                (view.get(key), None)
            } else {
                let (job, call) = view.followed(key)?;
                (job, Some(call))
            };
            let Some(job) = job else {
                let Some(call) = &mut call else { return Ok(None) };
                if tokio::time::timeout_at(deadline, call.comes()).await.is_err() {
                    return Ok(None);
                }
                continue;
            };
            let ended = job.state.is_ended();
            // Nothing follows of an ended job: it takes no place among the watched.
            let watched = |pool: &&PoolName| self.has(pool) && (!ended || self.watches(&job.source));
            let pool = job.pool.as_ref().filter(watched);
            let mut signs = match pool {
                Some(pool) => Some(self.watch(&job.source, pool).await?),
                None => None,
            };
            if ended && let Some(pool) = pool {
                self.catch_up(pool).await;
            }
            let (generation, found) = self.since(&job, generation, since);
            let changed = change.is_some_and(|seen| job.change > seen);
            // An end may be read before its verdict, which follows.
            let until = if ended { *told_by.get_or_insert_with(|| Instant::now() + LAST) } else { deadline };
            let until = until.min(deadline);
            if job.is_told() || changed || !found.is_empty() || Instant::now() >= until {
                let next = found.last().map_or(since, |sign| sign.number);
                return Ok(Some(Signs { job, signs: found, next, generation }));
            }
            let change = async {
                match &mut call {
                    Some(call) => call.comes().await,
                    None => std::future::pending().await,
                }
            };
            let sign = async {
                match &mut signs {
                    // An error means that nobody asked for so long that it is watched no more: it is begun anew.
                    Some(signs) => drop(signs.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = change => {}
                () = sign => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Waits until all is read that the pool's reports hold now: what an ended job said last stands there before its result.
    async fn catch_up(&self, pool: &PoolName) {
        let deadline = Instant::now() + LAST;
        let Ok(Ok(ends)) = tokio::time::timeout_at(deadline, self.open(pool)).await else { return };
        let mut turned = self.turned.subscribe();
        loop {
            turned.borrow_and_update();
            let behind = {
                let state = self.state();
                ends.iter().any(|(partition, end)| state.read.get(partition).is_some_and(|read| read < end))
            };
            if !behind || tokio::time::timeout_at(deadline, turned.changed()).await.is_err() {
                return;
            }
        }
    }

    /// A place among those who follow a job for long; it is free again when what is returned is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, NotWatched> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| NotWatched::TooManyFollow)
    }

    /// Whether reports of that pool can be followed.
    fn has(&self, pool: &PoolName) -> bool {
        self.state().reports.contains_key(pool)
    }

    fn watches(&self, job: &SourcePosition) -> bool {
        self.state().jobs.contains_key(job)
    }

    /// Has the job's signs kept from now on, and its pool followed. What is returned is told of each further sign.
    async fn watch(
        self: &Arc<Self>,
        job: &SourcePosition,
        pool: &PoolName,
    ) -> Result<watch::Receiver<u64>, NotWatched> {
        let (begin, signs) = {
            let mut state = self.state();
            let now = Instant::now();
            state.jobs.retain(|_, watched| watched.asked + FORGET > now);
            let signs = if let Some(watched) = state.jobs.get_mut(job) {
                watched.asked = now;
                // Judged again it may go to another.
                watched.pool.clone_from(pool);
                watched.last.subscribe()
            } else if state.jobs.len() >= WATCHED {
                return Err(NotWatched::TooMany);
            } else {
                let (last, signs) = watch::channel(0);
                // Random enough: it is to differ from others, not to be hard to guess.
                let generation = RandomState::new().build_hasher().finish() | 1;
                let said = VecDeque::new();
                let watched = Watched { pool: pool.clone(), asked: now, said, bytes: 0, generation, last };
                state.jobs.insert(job.clone(), watched);
                signs
            };
            let State { reports, followed, .. } = &mut *state;
            let begin = match (reports.get(pool), followed.entry(pool.clone())) {
                (Some(topic), btree_map::Entry::Vacant(place)) => {
                    place.insert(topic.clone());
                    true
                }
                // A pool that has just gone says nothing more.
                (None, _) | (_, btree_map::Entry::Occupied(_)) => false,
            };
            (begin, signs)
        };
        if begin {
            // In a task of its own: whoever asked may hang up meanwhile.
            let (told, begun) = oneshot::channel();
            tokio::spawn(Arc::clone(self).begin(pool.clone(), told));
            // Without an answer the runtime is shutting down.
            begun.await.unwrap_or(Ok(()))?;
        }
        Ok(signs)
    }

    /// Follows the pool's reports from where they end now.
    async fn begin(self: Arc<Self>, pool: PoolName, told: oneshot::Sender<Result<(), NotWatched>>) {
        let opened = match self.open(&pool).await {
            Ok(opened) => opened,
            Err(error) => {
                self.leave(&mut self.state(), &pool);
                // Nobody waits for it any more.
                let _left = told.send(Err(NotWatched::Away(error)));
                return;
            }
        };
        self.state().read.extend(opened.iter().cloned());
        let _left = told.send(Ok(()));
        self.follow(pool, opened).await;
    }

    /// Where the pool's reports end now.
    async fn open(&self, pool: &PoolName) -> Result<Opened, SpineError> {
        let Some(topic) = self.state().reports.get(pool).cloned() else { return Ok(Vec::new()) };
        let states = self.spine.describe(std::slice::from_ref(&topic)).await?;
        let state = states.into_iter().next().flatten();
        let state = state.ok_or_else(|| SpineError::UnknownTopic { topic: topic.clone() })?;
        let partitions: Vec<_> = (0..state.partitions).map(|partition| topic.partition(partition)).collect();
        let ends = self.spine.ends(&partitions).await?;
        Ok(partitions.into_iter().zip(ends).map(|(partition, ends)| (partition, ends.end)).collect())
    }

    /// Reads the pool's reports for as long as one of its jobs is watched.
    async fn follow(self: Arc<Self>, pool: PoolName, opened: Opened) {
        tokio::select! {
            Err(error) = self.read(&pool, &opened) => {
                tracing::warn!(%pool, error, "reports are not followed any more; the next who watches begins again");
                self.leave(&mut self.state(), &pool);
            }
            () = self.unwatched(&pool) => {}
        }
    }

    async fn read(&self, pool: &PoolName, opened: &Opened) -> Result<Infallible, String> {
        let reading = Reading::begin(&*self.spine, "progress", opened.iter().cloned()).await;
        let mut reading = reading.map_err(|error| error.to_string())?;
        loop {
            let turn = reading.turn(|_, record| self.heard(pool, record)).await;
            turn.map_err(|error| error.to_string())?;
            self.state().read.extend(reading.positions().map(|(partition, next)| (partition.clone(), next)));
            self.turned.send_replace(());
            // Watchers must not keep a thread from a shard.
            tokio::task::yield_now().await;
        }
    }

    /// Resolves when no job of the pool is watched any more.
    async fn unwatched(&self, pool: &PoolName) {
        loop {
            tokio::time::sleep(FORGET).await;
            let mut state = self.state();
            let now = Instant::now();
            state.jobs.retain(|_, watched| watched.asked + FORGET > now);
            if !state.jobs.values().any(|watched| watched.pool == *pool) {
                // Under the same lock: whoever watches next begins to follow again.
                self.leave(&mut state, pool);
                return;
            }
        }
    }

    fn leave(&self, state: &mut State, pool: &PoolName) {
        if let Some(topic) = state.followed.remove(pool) {
            state.read.retain(|partition, _| partition.topic != topic);
        }
    }

    /// Only its own pool says anything of a job.
    fn heard(&self, pool: &PoolName, record: &Record) {
        let Some(value) = record.value.as_deref().filter(|value| value.starts_with(BEGINS)) else { return };
        let Ok(Report::Progress { worker, source, token, fraction, note, partial, .. }) =
            serde_json::from_slice::<Report>(value)
        else {
            return;
        };
        let mut state = self.state();
        let Some(watched) = state.jobs.get_mut(&source).filter(|watched| watched.pool == *pool) else { return };
        let number = *watched.last.borrow() + 1;
        let sign = Sign { number, attempt: token.attempt, fraction, note, partial };
        watched.bytes += sign.bytes();
        watched.said.push_back((worker, token, sign));
        while watched.said.len() > KEPT.0 || watched.bytes > KEPT.1 {
            let Some((_, _, dropped)) = watched.said.pop_front() else { break };
            watched.bytes = watched.bytes.saturating_sub(dropped.bytes());
        }
        // Last: who is told finds it.
        watched.last.send_replace(number);
    }

    /// The generation now, and its signs after `since` of whoever had the job, as the scheduler says.
    fn since(&self, job: &Story, generation: Option<u64>, since: u64) -> (u64, Vec<Sign>) {
        let state = self.state();
        let Some(watched) = state.jobs.get(&job.source) else { return (0, Vec::new()) };
        // Numbers begin anew when nobody watched for a while, and are another process's own.
        let other = generation.is_some_and(|generation| generation != watched.generation);
        let since = if other || since > *watched.last.borrow() { 0 } else { since };
        let held = |worker: &WorkerId, token: &Token| {
            let is = |attempt: &Attempt| {
                attempt.worker == *worker && (attempt.epoch, attempt.attempt) == (token.epoch, token.attempt)
            };
            job.attempts.iter().any(is)
        };
        let later = watched.said.iter().filter(|(_, _, sign)| sign.number > since);
        let signs = later.filter(|(worker, token, _)| held(worker, token)).map(|(_, _, sign)| sign.clone()).collect();
        (watched.generation, signs)
    }
}

type Opened = Vec<(TopicPartition, Offset)>;

impl Sign {
    fn bytes(&self) -> usize {
        self.note.len() + self.partial.as_ref().map_or(0, |partial| partial.text.len()) + 64
    }
}

#[cfg(test)]
mod tests {
    use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
    use tidegate_protocol::facts::{KernelFact, SchedulerFact};
    use tidegate_protocol::time::Timestamp;
    use tidegate_spine::{Cleanup, Headers, TopicSpec};

    use super::*;
    use crate::view::Bounds;

    const NOW: Duration = Duration::ZERO;

    fn position() -> SourcePosition {
        "jobs.raw/0@7".parse().unwrap()
    }

    fn key() -> JobKey {
        JobKey::Position(position())
    }

    fn seen(sign: u64) -> Seen {
        Seen { sign, change: None }
    }

    fn decided(view: &View) {
        let text = format!(
            r#"{{"job_decided":{{"job":{{"id":"a","tenant":"t","topic":"x","capability":"c","source":"jobs.raw/0@7",
            "input_hash":"{:064}","submitted_ms":1}},"decision":{{"verdict":"allow","reason":"yes","snapshot":"s"}},"pool":"p",
            "payload":"none"}}}}"#,
            0
        );
        view.kernel_fact(Timestamp(1), serde_json::from_str::<KernelFact>(&text).unwrap());
    }

    fn scheduled(view: &View, pool: &PoolName, text: &str) {
        view.scheduler_fact(pool, Timestamp(2), serde_json::from_str::<SchedulerFact>(text).unwrap());
    }

    fn leased(view: &View, pool: &PoolName) {
        let text = r#"{"lease_granted":{"source":"jobs.raw/0@7","worker":"w","incarnation":1,
            "token":{"epoch":9,"attempt":1},"number":1,"lane":0}}"#;
        scheduled(view, pool, text);
    }

    fn ended(view: &View, pool: &PoolName) {
        let text = r#"{"job_finished":{"source":"jobs.raw/0@7","job_id":"a","tenant":"t","outcome":"succeeded",
            "by":{"worker":"w","token":{"epoch":9,"attempt":1},"lane":0},"attempts":1}}"#;
        scheduled(view, pool, text);
    }

    /// Of the pool `p`, and a view in which nobody may wait.
    async fn progress(folder: &tempfile::TempDir) -> (Arc<Progress>, View, PoolName) {
        let (pool, topic) = (PoolName::new("p").unwrap(), TopicName::new("t.reports.p").unwrap());
        let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder.path())).unwrap());
        let spec = TopicSpec {
            name: topic.clone(),
            partitions: 1,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: 1 << 20,
            broker_time: true,
            replication: None,
        };
        spine.create(&spec).await.unwrap();
        let progress = Progress::new(spine, [(pool.clone(), topic)].into());
        (progress, View::new(Bounds { waiters: 0, ..Bounds::default() }), pool)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_does_not_wait_takes_no_waiters_place_and_an_ended_job_none_among_the_watched() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, view, pool) = progress(&folder).await;
        assert!(progress.of(&view, &key(), seen(0), NOW).await.unwrap().is_none());
        decided(&view);
        ended(&view, &pool);
        assert!(progress.of(&view, &key(), seen(0), NOW).await.unwrap().is_some());
        assert!(!progress.watches(&position()));
        let waits = progress.of(&view, &key(), seen(0), LAST).await;
        assert!(matches!(waits, Err(NotWatched::Waits(_))), "the view has no place");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pool_that_is_gone_leaves_nothing_when_it_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, view, pool) = progress(&folder).await;
        decided(&view);
        leased(&view, &pool);
        assert!(progress.of(&view, &key(), seen(0), NOW).await.unwrap().is_some());
        assert_eq!(progress.state().read.len(), 1, "it is followed");
        progress.follows(BTreeMap::new());
        progress.leave(&mut progress.state(), &pool);
        assert!(progress.state().read.is_empty() && progress.state().followed.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_saw_numbers_of_another_generation_has_seen_none_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, view, pool) = progress(&folder).await;
        decided(&view);
        leased(&view, &pool);
        let generation = progress.of(&view, &key(), seen(0), NOW).await.unwrap().unwrap().generation;
        for note in ["one", "two"] {
            let said = format!(
                r#"{{"progress":{{"worker":"w","incarnation":1,"source":"jobs.raw/0@7","token":{{"epoch":9,"attempt":1}},"note":"{note}"}}}}"#
            );
            let value = Some(said.into());
            progress
                .heard(&pool, &Record { offset: 0, timestamp_ms: 0, key: None, value, headers: Headers::default() });
        }
        for (generation, sign, told) in [
            (Some(generation), 1, vec!["two"]),
            (Some(generation ^ 2), 1, vec!["one", "two"]),
            (Some(0), 2, vec!["one", "two"]),
            (None, 1, vec!["two"]),
            (None, 9, vec!["one", "two"]),
        ] {
            let more = progress.further(&view, &key(), (generation, seen(sign)), NOW).await.unwrap().unwrap();
            let notes: Vec<&str> = more.signs.iter().map(|sign| &*sign.note).collect();
            assert_eq!(notes, told, "{generation:?} {sign}");
        }
    }
}
