//! Reads the logs a view is made of, from their start, and goes on for as long as the process lives.
//!
//! One reader for all partitions. An outage is waited out by the reader; what retention has taken is skipped with a
//! warning, the view then knows less. Nothing here can stop a stage.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::ids::{PoolName, SourceName};
use tidegate_protocol::signature::Trust;
use tidegate_spine::{Ends, ReadError, ReadHandle, Reader, Record, Spine, SpineError, Start};
use tokio::sync::watch;

use super::View;
use super::believe::Follower;

/// Records taken of one partition before the next has its turn.
const TURN: usize = 512;
/// How often the ends of the logs are asked for, to tell how far behind them the view is.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before reading is tried again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The topics a view reads.
#[derive(Debug, Clone)]
pub struct ViewTopics {
    /// `decisions.<source>` of each source.
    pub decisions: Vec<(SourceName, TopicName)>,
    /// `leases.<pool>` of each pool.
    pub leases: Vec<(PoolName, TopicName)>,
    /// `limits.facts`, when limits are to be shown.
    pub limits: Option<TopicName>,
    /// `dead`.
    pub dead: TopicName,
    /// Whose facts are believed; `None`: what the logs say is shown unverified.
    pub trust: Option<Arc<dyn Trust>>,
}

/// What a partition holds.
#[derive(Debug, Clone)]
pub(super) enum Holds {
    Decisions,
    Leases(PoolName),
    Limits,
    Dead,
}

struct Followed {
    partition: TopicPartition,
    follower: Follower,
    /// Where reading goes on; `None` at the log's start.
    position: Option<Offset>,
    /// What was there when reading began.
    goal: Offset,
    /// Whether its topic is read now. What is not is kept: read from its start again it would be counted twice.
    wanted: bool,
    /// `None` where it is not wanted.
    handle: Option<ReadHandle>,
}

impl ViewTopics {
    fn all(&self) -> Vec<(String, TopicName, Holds)> {
        let decisions = self.decisions.iter().map(|(s, t)| (format!("kernel.{s}"), t.clone(), Holds::Decisions));
        let leases = self.leases.iter().map(|(p, t)| (format!("scheduler.{p}"), t.clone(), Holds::Leases(p.clone())));
        let dead = (String::new(), self.dead.clone(), Holds::Dead);
        let limits = self.limits.iter().map(|topic| ("limits".to_owned(), topic.clone(), Holds::Limits));
        decisions.chain(leases).chain(limits).chain([dead]).collect()
    }
}

/// Feeds `view` for ever; dropped to stop. Failures are logged and tried again. Topics that come are read from their start, and of
/// those that go nothing more is read; what is known stays, and one that comes back is read on from where it was left.
pub async fn run(spine: Arc<dyn Spine>, mut topics: watch::Receiver<ViewTopics>, view: Arc<View>) {
    let mut known: BTreeMap<TopicPartition, Followed> = BTreeMap::new();
    loop {
        let now = topics.borrow_and_update().clone();
        match look_up(&*spine, &now, &mut known).await {
            Ok(()) => tokio::select! {
                Err(error) = follow(&*spine, &view, &mut known) => {
                    tracing::warn!(error = %error, "the view of jobs stopped reading; it starts again");
                }
                () = changed(&mut topics) => continue,
            },
            Err(error) => tracing::warn!(error = %error, "the view of jobs cannot read its topics; it tries again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Resolves when other topics are to be read.
async fn changed(topics: &mut watch::Receiver<ViewTopics>) {
    if topics.changed().await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
}

/// Learns which partitions there are and where they end.
async fn look_up(
    spine: &dyn Spine,
    topics: &ViewTopics,
    known: &mut BTreeMap<TopicPartition, Followed>,
) -> Result<(), SpineError> {
    let all = topics.all();
    let names: Vec<TopicName> = all.iter().map(|(_, topic, _)| topic.clone()).collect();
    let states = spine.describe(&names).await?;
    for (partition, followed) in known.iter_mut() {
        followed.wanted &= names.contains(&partition.topic);
    }
    for ((sender, topic, holds), state) in all.into_iter().zip(states) {
        let state = state.ok_or_else(|| SpineError::UnknownTopic { topic: topic.clone() })?;
        let partitions: Vec<TopicPartition> = (0..state.partitions).map(|p| topic.partition(p)).collect();
        for (partition, Ends { start, end }) in partitions.iter().zip(spine.ends(&partitions).await?) {
            let sender = format!("{sender}/{}", partition.partition);
            if let Some(followed) = known.get_mut(partition) {
                followed.wanted = true;
                continue;
            }
            let follower = Follower::new(holds.clone(), &sender, partition.clone(), topics.trust.as_ref(), start > 0);
            let (partition, handle) = (partition.clone(), None);
            let followed =
                Followed { partition: partition.clone(), follower, position: None, goal: end, wanted: true, handle };
            known.insert(partition, followed);
        }
    }
    Ok(())
}

async fn follow(
    spine: &dyn Spine,
    view: &View,
    known: &mut BTreeMap<TopicPartition, Followed>,
) -> Result<Infallible, FollowError> {
    let mut reader = spine.reader("view").await.map_err(FollowError::Open)?;
    for followed in known.values_mut() {
        let start = followed.position.map_or(Start::Earliest, Start::At);
        followed.handle = followed.wanted.then(|| reader.open(&followed.partition, start));
    }
    let read: Vec<TopicPartition> = known.values().filter(|f| f.wanted).map(|f| f.partition.clone()).collect();
    let mut looking = Box::pin(ends_after(Duration::ZERO, spine, &read));
    let mut batch: Vec<Record> = Vec::with_capacity(TURN);
    loop {
        tokio::select! {
            read = poll_fn(|cx| read_some(&mut *reader, view, known, &mut batch, cx)) => read?,
            ends = &mut looking => {
                // With the spine away the last figure stands.
                if let Ok(ends) = ends {
                    metrics::gauge!(crate::metrics::VIEW_LAG).set(behind(known, &read, &ends));
                }
                looking.set(ends_after(LOOK, spine, &read));
            }
        }
        metrics::gauge!(crate::metrics::VIEW_JOBS).set(count(view.len()));
        if !view.is_caught_up() && known.values().all(|f| !f.wanted || f.position.unwrap_or(0) >= f.goal) {
            view.caught_up.send_replace(true);
        }
        // A view that has much to read must not keep a thread from a shard.
        tokio::task::yield_now().await;
    }
}

async fn ends_after(pause: Duration, spine: &dyn Spine, of: &[TopicPartition]) -> Result<Vec<Ends>, SpineError> {
    tokio::time::sleep(pause).await;
    spine.ends(of).await
}

/// Records of these partitions that have not been read.
fn behind(known: &BTreeMap<TopicPartition, Followed>, of: &[TopicPartition], ends: &[Ends]) -> f64 {
    let unread = of.iter().zip(ends).map(|(partition, Ends { start, end })| {
        let position = known.get(partition).and_then(|followed| followed.position).unwrap_or(*start);
        end.saturating_sub(position.max(*start))
    });
    count(usize::try_from(unread.sum::<u64>()).unwrap_or(usize::MAX))
}

/// One turn for every partition that has something.
fn read_some(
    reader: &mut dyn Reader,
    view: &View,
    known: &mut BTreeMap<TopicPartition, Followed>,
    batch: &mut Vec<Record>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), FollowError>> {
    let mut moved = false;
    for followed in known.values_mut() {
        let Some(handle) = followed.handle else { continue };
        match reader.poll_read(handle, TURN, cx, batch) {
            Poll::Pending => {}
            Poll::Ready(Ok(progress)) => {
                moved = true;
                for record in batch.drain(..) {
                    followed.follower.take(view, followed.partition.partition, &record);
                }
                followed.position = Some(progress.position);
            }
            Poll::Ready(Err(error)) => {
                batch.clear();
                if let ReadError::Truncated { .. } = error {
                    followed.position = None;
                    followed.follower.start_late();
                }
                return Poll::Ready(Err(FollowError::Read(error)));
            }
        }
    }
    if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("{0}")]
    Open(SpineError),
    #[error("{0}")]
    Read(ReadError),
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs and records are below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}
