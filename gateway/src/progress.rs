//! What running jobs say of themselves, for whoever watches one: signs of progress and partial output, from `reports.<pool>`.
//!
//! Nothing is read while nobody watches. The first watcher of a pool begins to follow its reports from where they end then; what was
//! said before is not told. Of each watched job the last signs are kept, within bounds, and numbered, so that a watcher can ask for what
//! came since, and sees when something is missing.
//!
//! Reports are workers' own words and not signed: a sign is told only if the scheduler's facts say that this worker had this very
//! lease. It is for people; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
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
/// Longest wait for what a job said last, once it has ended.
const LAST: Duration = Duration::from_secs(2);
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
    /// Number of the last sign; whoever waits for one of this job is told of it.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<SourcePosition, Watched>,
    /// Pools that are followed.
    followed: BTreeSet<PoolName>,
    /// How far their reports are read.
    read: HashMap<TopicPartition, Offset>,
}

/// See the module. Shared as `Arc`.
pub struct Progress {
    spine: Arc<dyn Spine>,
    reports: BTreeMap<PoolName, TopicName>,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    /// Something was read.
    turned: watch::Sender<()>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("pools", &self.reports.keys()).finish_non_exhaustive()
    }
}

impl Progress {
    /// Of these pools, whose reports stand in these topics.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, reports: BTreeMap<PoolName, TopicName>) -> Arc<Self> {
        Arc::new(Self {
            spine,
            reports,
            state: Mutex::default(),
            places: Arc::new(Semaphore::new(FOLLOWING)),
            turned: watch::Sender::new(()),
        })
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
        Seen { sign: since, change }: Seen,
        wait: Duration,
    ) -> Result<Option<Signs>, NotWatched> {
        let deadline = Instant::now() + wait;
        loop {
            let (job, mut call) = view.followed(key)?;
            let Some(job) = job else {
                if tokio::time::timeout_at(deadline, call.comes()).await.is_err() {
                    return Ok(None);
                }
                continue;
            };
            let mut signs = match job.pool.clone().filter(|pool| self.reports.contains_key(pool)) {
                Some(pool) => Some(self.watch(&job.source, &pool).await?),
                None => None,
            };
            let ended = job.state.is_ended();
            if ended && let Some(pool) = &job.pool {
                self.catch_up(pool).await;
            }
            let found = self.since(&job, since);
            let changed = change.is_some_and(|seen| job.change > seen);
            if ended || changed || !found.is_empty() || Instant::now() >= deadline {
                let next = found.last().map_or(since, |sign| sign.number);
                return Ok(Some(Signs { job, signs: found, next }));
            }
            let sign = async {
                match &mut signs {
                    // An error means that nobody asked for so long that it is watched no more: it is begun anew.
                    Some(signs) => drop(signs.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = call.comes() => {}
                () = sign => {}
                () = tokio::time::sleep_until(deadline) => {}
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
                let watched = Watched { pool: pool.clone(), asked: now, said: VecDeque::new(), bytes: 0, last };
                state.jobs.insert(job.clone(), watched);
                signs
            };
            (state.followed.insert(pool.clone()), signs)
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
        let Some(topic) = self.reports.get(pool) else { return Ok(Vec::new()) };
        let states = self.spine.describe(std::slice::from_ref(topic)).await?;
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
        state.followed.remove(pool);
        if let Some(topic) = self.reports.get(pool) {
            state.read.retain(|partition, _| partition.topic != *topic);
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

    /// Signs after `since` of whoever had the job, as the scheduler says.
    fn since(&self, job: &Story, since: u64) -> Vec<Sign> {
        let state = self.state();
        let Some(watched) = state.jobs.get(&job.source) else { return Vec::new() };
        // Numbers begin anew when nobody watched for a while, and are another process's own.
        let since = if since > *watched.last.borrow() { 0 } else { since };
        let held = |worker: &WorkerId, token: &Token| {
            let is = |attempt: &Attempt| {
                attempt.worker == *worker && (attempt.epoch, attempt.attempt) == (token.epoch, token.attempt)
            };
            job.attempts.iter().any(is)
        };
        let later = watched.said.iter().filter(|(_, _, sign)| sign.number > since);
        later.filter(|(worker, token, _)| held(worker, token)).map(|(_, _, sign)| sign.clone()).collect()
    }
}

type Opened = Vec<(TopicPartition, Offset)>;

impl Sign {
    fn bytes(&self) -> usize {
        self.note.len() + self.partial.as_ref().map_or(0, |partial| partial.text.len()) + 64
    }
}
