//! Listens to workers while somebody asks, and answers.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_spine::{Ends, ReadError, Spine, SpineError, Start};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::heard::Heard;
use super::standing::{self, PoolStanding, Waiting, WorkerStanding};
use crate::leasing::WorkerKeys;
use crate::reports::Reading;
use crate::view::View;

/// Reading ends so long after the last question.
const IDLE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Records before the end from which reading begins: in a quiet pool the last heartbeats are among them.
const BACK: u64 = 2_000;
/// Longest wait for the age of a record.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before reading is tried again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A pool that is asked about.
#[derive(Debug, Clone)]
pub struct FleetPool {
    /// Its name.
    pub pool: PoolName,
    /// Its shards.
    pub shards: u32,
    /// Partitions of its topic of orders.
    pub lanes: u32,
    /// Jobs one worker is said to run at once, at least 1.
    pub worker_slots: u32,
    /// `reports.<pool>`.
    pub reports: TopicName,
    /// `commands.<pool>`.
    pub commands: TopicName,
    /// `approved.<pool>` and `overflow.<pool>`.
    pub backlog: Vec<TopicName>,
    /// A worker that was not heard for so long is silent.
    pub lease: Duration,
    /// How often workers speak at least.
    pub heartbeat: Duration,
}

/// Answers questions about pools and workers. Shared as `Arc`.
pub struct Fleet {
    pub(super) spine: Arc<dyn Spine>,
    pub(super) view: Arc<View>,
    /// Told of when they change.
    pools: watch::Sender<Arc<[FleetPool]>>,
    /// How many jobs crews may have.
    keys: WorkerKeys,
    heard: Mutex<Heard>,
    /// When somebody asked last; `None` while nobody listens.
    asked: Mutex<Option<Instant>>,
    /// Whether every worker that speaks has been heard.
    settled: watch::Sender<bool>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("pools", &self.all().len()).finish_non_exhaustive()
    }
}

/// One partition of reports.
struct Listened {
    pool: PoolName,
    shard: u32,
    heartbeat: Duration,
    /// Where the partition ended when reading began.
    goal: Offset,
    /// When the first record that was read was taken by the broker; 0 when reading began at the log's start.
    since_ms: Option<i64>,
}

impl Fleet {
    /// About these pools, in which workers with these keys pull over HTTP. Nothing is read before somebody asks.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, view: Arc<View>, pools: Vec<FleetPool>, keys: WorkerKeys) -> Arc<Self> {
        let settled = watch::Sender::new(false);
        Arc::new(Self {
            spine,
            view,
            pools: watch::Sender::new(pools.into()),
            keys,
            heard: Mutex::default(),
            asked: Mutex::default(),
            settled,
            listening: Mutex::default(),
        })
    }

    /// Always taken before the view's own lock.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on about these pools.
    pub fn shows(&self, pools: Vec<FleetPool>) {
        self.pools.send_replace(pools.into());
        if self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            // Those of further pools are to be heard first, by whoever asks from now on.
            self.settled.send_replace(false);
        }
    }

    /// The pools as they are now.
    pub(super) fn all(&self) -> Arc<[FleetPool]> {
        Arc::clone(&self.pools.borrow())
    }

    /// Whether there is such a pool.
    #[must_use]
    pub fn has(&self, pool: &PoolName) -> bool {
        self.all().iter().any(|one| one.pool == *pool)
    }

    /// All pools, or that one.
    ///
    /// # Errors
    /// [`SpineError`] when the ends of logs cannot be had.
    pub async fn pools(self: &Arc<Self>, only: Option<&PoolName>) -> Result<Vec<PoolStanding>, SpineError> {
        self.listen().await;
        let mut all = Vec::new();
        for of in self.all().iter().filter(|of| only.is_none_or(|only| of.pool == *only)) {
            let waiting = self.waiting(of).await?;
            let now = now_ms();
            let heard = self.heard();
            all.push(self.view.fleet(&of.pool, |pool| {
                let workers = standing::workers(of, pool, &heard, &self.keys, now);
                standing::pool(of, pool, &workers, waiting, now)
            }));
        }
        Ok(all)
    }

    /// The workers of all pools, or of that one.
    pub async fn workers(self: &Arc<Self>, only: Option<&PoolName>) -> Vec<WorkerStanding> {
        self.listen().await;
        let (now, heard) = (now_ms(), self.heard());
        let pools = self.all();
        let asked = pools.iter().filter(|of| only.is_none_or(|only| of.pool == *only));
        let workers =
            asked.map(|of| self.view.fleet(&of.pool, |pool| standing::workers(of, pool, &heard, &self.keys, now)));
        workers.flatten().collect()
    }

    /// That worker with its jobs, in each pool where there is one of the name.
    pub async fn worker(self: &Arc<Self>, only: Option<&PoolName>, worker: &WorkerId) -> Vec<WorkerStanding> {
        let mut found = self.workers(only).await;
        found.retain(|standing| standing.worker == *worker);
        for standing in &mut found {
            standing.jobs = self.view.fleet(&standing.pool, |pool| {
                pool.jobs_of(worker).into_iter().map(|(_, source)| source.clone()).collect()
            });
            standing.jobs.sort();
        }
        found
    }

    /// Begins to listen, or goes on; waits until every worker that speaks has had the time to.
    async fn listen(self: &Arc<Self>) {
        let longest = self.all().iter().map(|of| enough(of.heartbeat)).max().unwrap_or_default();
        let begin = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = asked.replace(Instant::now()).is_none();
            if begin {
                // Before anybody else can ask.
                self.settled.send_replace(false);
            }
            begin
        };
        if begin {
            let listening = Arc::downgrade(self);
            let spine = Arc::clone(&self.spine);
            let task = tokio::spawn(async move {
                while let Some(fleet) = listening.upgrade() {
                    match follow(&fleet, &*spine).await {
                        Ok(Ended::Unasked) => return,
                        Ok(Ended::PoolsChanged) => {
                            // It may have been said of the pools before.
                            fleet.settled.send_replace(false);
                            continue;
                        }
                        Err(error) => tracing::warn!(%error, "workers' reports cannot be read; it is tried again"),
                    }
                    if fleet.idle() {
                        return;
                    }
                    drop(fleet);
                    tokio::time::sleep(PAUSE).await;
                }
            });
            *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
        let mut settled = self.settled.subscribe();
        // What was not heard by then is shown as unheard.
        let _late = tokio::time::timeout(longest + LOOK, settled.wait_for(|settled| *settled)).await;
    }

    /// Listens no more; when it returns nothing of it holds the spine's logs open.
    pub async fn stop(&self) {
        let task = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            // Aborted, or ended before.
            let _ = task.await;
        }
    }

    /// Whether nobody has asked for long; then listening is over.
    fn idle(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|asked| asked.elapsed() < IDLE) {
            return false;
        }
        *asked = None;
        *self.heard() = Heard::default();
        true
    }

    /// What waits in a pool's logs.
    async fn waiting(&self, of: &FleetPool) -> Result<Waiting, SpineError> {
        let mut waiting = Waiting::default();
        let mut partitions = Vec::new();
        for (topic, state) in of.backlog.iter().zip(self.spine.describe(&of.backlog).await?) {
            let state = state.ok_or_else(|| SpineError::UnknownTopic { topic: topic.clone() })?;
            partitions.extend((0..state.partitions).map(|number| topic.partition(number)));
        }
        for (partition, Ends { start, end }) in partitions.iter().zip(self.spine.ends(&partitions).await?) {
            let (position, above) = self.view.place(partition).unwrap_or((start, 0));
            let waits = end.saturating_sub(position.max(start)).saturating_sub(above);
            waiting.backlog += waits;
            if waits > 0 {
                waiting.oldest_ms = waiting.oldest_ms.max(age(&*self.spine, partition, position.max(start)).await);
            }
        }
        Ok(waiting)
    }
}

/// Time within which a worker that speaks has been heard.
fn enough(heartbeat: Duration) -> Duration {
    heartbeat + heartbeat / 2
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default()
}

/// How long ago the first record at or above `position` was appended, milliseconds; `None` when it cannot be read soon.
async fn age(spine: &dyn Spine, partition: &TopicPartition, position: Offset) -> Option<u64> {
    let mut reader = spine.reader("age").await.ok()?;
    let handle = reader.open(partition, Start::At(position));
    let mut batch = Vec::new();
    let read = async {
        while batch.is_empty() {
            poll_fn(|cx| reader.poll_read(handle, 1, cx, &mut batch)).await?;
        }
        Ok::<_, ReadError>(())
    };
    tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    Some(now_ms().saturating_sub(u64::try_from(batch.first()?.timestamp_ms).ok()?))
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("{0}")]
    Spine(#[from] SpineError),
    #[error("{0}")]
    Read(#[from] ReadError),
}

/// Why reading is over.
enum Ended {
    /// Nobody asks any more.
    Unasked,
    /// Others are to be read.
    PoolsChanged,
}

/// Reads the pools as they are now.
async fn follow(fleet: &Arc<Fleet>, spine: &dyn Spine) -> Result<Ended, FollowError> {
    let mut pools = fleet.pools.subscribe();
    let now = Arc::clone(&pools.borrow_and_update());
    let began = (Instant::now(), i64::try_from(now_ms()).unwrap_or(i64::MAX));
    let (mut all, mut places) = (Vec::new(), Vec::new());
    for of in &*now {
        let partitions: Vec<_> = (0..of.shards).map(|shard| of.reports.partition(shard)).collect();
        for (partition, Ends { start, end }) in partitions.iter().zip(spine.ends(&partitions).await?) {
            let from = end.saturating_sub(BACK).max(start);
            places.push((partition.clone(), from));
            all.push(Listened {
                pool: of.pool.clone(),
                shard: partition.partition,
                heartbeat: of.heartbeat,
                goal: end,
                since_ms: (from == start).then_some(0),
            });
        }
    }
    let mut reading = Reading::begin(spine, "fleet", places).await?;
    let mut looked = Instant::now();
    loop {
        let some = reading.turn(|number, record| {
            let Some(one) = all.get_mut(number) else { return };
            one.since_ms.get_or_insert(record.timestamp_ms);
            let known = |worker: &WorkerId| fleet.view.fleet(&one.pool, |pool| pool.workers.contains_key(worker));
            fleet.heard().take(&one.pool, one.shard, record, known);
        });
        if let Ok(read) = tokio::time::timeout(LOOK, some).await {
            read?;
        }
        if !*fleet.settled.borrow() && !pools.has_changed().unwrap_or(false) {
            let mut read = all.iter().zip(reading.positions());
            if read.all(|(one, (_, position))| one.is_settled(position, began)) {
                fleet.settled.send_replace(true);
            }
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if fleet.idle() {
                return Ok(Ended::Unasked);
            }
            if pools.has_changed().unwrap_or(false) {
                return Ok(Ended::PoolsChanged);
            }
            let mut heard = fleet.heard();
            heard.retain(|pool, worker| fleet.view.fleet(pool, |pool| pool.workers.contains_key(worker)));
        }
        tokio::task::yield_now().await;
    }
}

impl Listened {
    /// Whether every worker that speaks to it has been heard.
    fn is_settled(&self, position: Offset, (began, began_ms): (Instant, i64)) -> bool {
        let enough = enough(self.heartbeat);
        let back = began_ms.saturating_sub(i64::try_from(enough.as_millis()).unwrap_or(i64::MAX));
        let read = position >= self.goal && self.since_ms.is_some_and(|since| since <= back);
        read || began.elapsed() >= enough
    }
}
