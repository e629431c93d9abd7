//! How far shards are behind the ends of their inputs, in records and in time, and how near that is to what the broker keeps.
//!
//! What stands unread for as long as its log is kept is lost, and nobody has been asked. Topics of ours that hold backlog have no
//! limit of age; others have one, and a source's own topic has whichever its owner gave it: so the broker is asked, and half of
//! it is an alarm ([`is_near`]), while there is as much time left to act in.
//!
//! A foreign topic may also lose records by size (`retention.bytes`), or be `compact,delete`. No client can ask how many bytes a partition
//! has: so where its start has moved while we look, the share of its records that is unread tells ([`unread_share`]), and more than
//! half of them is the alarm.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Cleanup, CleanupFound, Ends, ReadError, Spine, SpineError, Start, TopicState};
use tidegate_stage::Reached;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::metrics;

/// How often the ends are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is asked how long records are kept.
const ASK: Duration = Duration::from_secs(60);
/// Of a log that shrinks, more than this unread is an alarm.
const HALF: f64 = 0.5;
/// Longest wait for the oldest record of a partition.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far the shards of one holder have read, by input.
pub(super) type Latest = Arc<Mutex<BTreeMap<TopicPartition, Reached>>>;

/// How far behind an input was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The input.
    pub(crate) input: TopicPartition,
    /// Records that are not settled.
    pub(crate) unsettled: u64,
    /// How long the first of them has been there; `None` when it could not be read soon.
    pub(crate) oldest: Option<Duration>,
}

/// The same, published as lag.
pub(super) struct Positions {
    latest: Latest,
    looking: JoinHandle<()>,
}

fn locked(latest: &Latest) -> MutexGuard<'_, BTreeMap<TopicPartition, Reached>> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Positions {
    /// `looked` is told of all inputs after each look.
    pub(super) fn new(spine: Arc<dyn Spine>, looked: impl Fn(&[Behind]) + Send + 'static) -> Self {
        let latest = Latest::default();
        let mut looking = Looking::new(spine, Arc::clone(&latest));
        let looking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                // With the spine away the last figures stand; readiness says that it is away.
                if let Ok(found) = looking.look().await {
                    looked(&found);
                }
            }
        });
        Self { latest, looking }
    }

    pub(super) fn latest(&self) -> Latest {
        Arc::clone(&self.latest)
    }

    pub(super) fn moved(&self, reached: Vec<Reached>) {
        locked(&self.latest).extend(reached.into_iter().map(|of| (of.input.clone(), of)));
    }

    /// These are somebody else's to tell now.
    pub(super) fn forget(&self, inputs: &[TopicPartition]) {
        let mut latest = locked(&self.latest);
        for input in inputs {
            if latest.remove(input).is_some() {
                let name = input.to_string();
                metrics::lag(&name, 0);
                metrics::oldest(&name, Duration::ZERO);
                metrics::unread(&name, 0.0);
            }
        }
    }

    /// Stops looking; when it returns nothing of it holds the spine.
    pub(super) async fn stop(self) {
        self.looking.abort();
        // Aborted.
        let _ = self.looking.await;
    }
}

/// Looks again and again.
struct Looking {
    spine: Arc<dyn Spine>,
    latest: Latest,
    /// How long records of topics are kept, as the broker said.
    kept: BTreeMap<TopicName, Option<Duration>>,
    /// Topics that lose records otherwise too.
    shrink: BTreeSet<TopicName>,
    /// Of their partitions, where each began at the first look.
    began: BTreeMap<TopicPartition, Offset>,
    asked: Option<Instant>,
    /// Inputs whose alarm was told.
    near: BTreeSet<TopicPartition>,
    /// Those of whose older half it was told.
    old: BTreeSet<TopicPartition>,
}

impl Looking {
    fn new(spine: Arc<dyn Spine>, latest: Latest) -> Self {
        Self {
            spine,
            latest,
            kept: BTreeMap::new(),
            shrink: BTreeSet::new(),
            began: BTreeMap::new(),
            asked: None,
            near: BTreeSet::new(),
            old: BTreeSet::new(),
        }
    }

    async fn look(&mut self) -> Result<Vec<Behind>, SpineError> {
        let all: Vec<Reached> = locked(&self.latest).values().cloned().collect();
        let inputs: Vec<TopicPartition> = all.iter().map(|reached| reached.input.clone()).collect();
        let ends = self.spine.ends(&inputs).await?;
        self.ask_how_long(&inputs).await;
        let (mut found, mut unread) = (Vec::with_capacity(all.len()), BTreeMap::new());
        for (reached, ends) in all.into_iter().zip(ends) {
            let unsettled = reached.unsettled(ends);
            unread.insert(reached.input.clone(), self.unread(&reached, ends));
            let oldest = match unsettled {
                0 => Some(Duration::ZERO),
                _ => age(&*self.spine, &reached.input, reached.position.max(ends.start)).await,
            };
            found.push(Behind { input: reached.input, unsettled, oldest });
        }
        {
            let latest = locked(&self.latest);
            // Its shard may have gone meanwhile.
            found.retain(|behind| latest.contains_key(&behind.input));
            self.near.retain(|input| latest.contains_key(input));
            self.old.retain(|input| latest.contains_key(input));
            self.began.retain(|input, _| latest.contains_key(input));
            for behind in &found {
                let name = behind.input.to_string();
                metrics::lag(&name, behind.unsettled);
                metrics::unread(&name, unread.get(&behind.input).copied().unwrap_or_default());
                if let Some(oldest) = behind.oldest {
                    metrics::oldest(&name, oldest);
                }
                if let Some(kept) = self.kept.get(&behind.input.topic) {
                    metrics::retention(&name, *kept);
                }
            }
        }
        for behind in &found {
            self.warn(behind);
        }
        Ok(found)
    }

    /// Asks now and then, and about topics that are new; without an answer what was known stands.
    async fn ask_how_long(&mut self, inputs: &[TopicPartition]) {
        let topics: BTreeSet<&TopicName> = inputs.iter().map(|input| &input.topic).collect();
        let is_old = self.asked.is_none_or(|asked| asked.elapsed() >= ASK);
        if !is_old && topics.iter().all(|topic| self.kept.contains_key(*topic)) {
            return;
        }
        let topics: Vec<TopicName> = topics.into_iter().cloned().collect();
        let Ok(states) = self.spine.describe(&topics).await else { return };
        self.shrink = states.iter().flatten().filter(|state| shrinks(state)).map(|state| state.name.clone()).collect();
        let kept = |state: Option<TopicState>| state.as_ref().and_then(kept);
        self.kept = topics.into_iter().zip(states).map(|(topic, state)| (topic, kept(state))).collect();
        self.asked = Some(Instant::now());
    }

    /// What share of a log whose start moves is unread; of any other 0. Says once that it is more than half, and once that it no longer is.
    fn unread(&mut self, reached: &Reached, ends: Ends) -> f64 {
        let partition = &reached.input;
        if !self.shrink.contains(&partition.topic) {
            self.old.remove(partition);
            return 0.0;
        }
        let began = *self.began.entry(partition.clone()).or_insert(ends.start);
        let share = if reached.unsettled(ends) > 0 { unread_share(reached.position, began, ends) } else { 0.0 };
        let is_old = share > HALF;
        if is_old && self.old.insert(partition.clone()) {
            tracing::error!(
                %partition,
                unsettled = reached.unsettled(ends),
                position = reached.position, start = ends.start, end = ends.end,
                "records of an input are not settled, lie in the older half of what the broker has, and it lets the oldest go (`retention.bytes`, or `compact,delete`): what it lets go unread is lost; see why its reader is behind, or have the topic keep more"
            );
        } else if !is_old && self.old.remove(partition) {
            tracing::info!(%partition, "what is read next of an input is no longer in the older half of what the broker has");
        }
        share
    }

    /// Says once that an input is near what is kept, and once that it no longer is.
    fn warn(&mut self, behind: &Behind) {
        let kept = self.kept.get(&behind.input.topic).copied().flatten();
        let (Some(oldest), partition) = (behind.oldest, &behind.input) else { return };
        match kept.filter(|kept| is_near(oldest, *kept)) {
            Some(kept) if self.near.insert(partition.clone()) => tracing::error!(
                %partition,
                unsettled = behind.unsettled,
                oldest_s = oldest.as_secs(),
                kept_s = kept.as_secs(),
                "records of an input are not settled and half the time that the broker keeps them is over: what is not read in the other half is lost; see why its reader is behind, or have the topic kept longer"
            ),
            None if self.near.remove(partition) => {
                tracing::info!(%partition, "an input is no longer near the end of what is kept")
            }
            Some(_) | None => {}
        }
    }
}

/// How long records of a topic are kept; `None` when age does not end them, or the spine cannot tell.
pub(crate) fn kept(state: &TopicState) -> Option<Duration> {
    match state.settings.as_ref().ok()?.cleanup {
        CleanupFound::Known(Cleanup::Log { retention_ms }) => retention_ms.map(Duration::from_millis),
        CleanupFound::Known(Cleanup::Keyed) | CleanupFound::Other(_) => None,
    }
}

/// Whether records of a topic go for another reason than their age alone.
pub(crate) fn shrinks(state: &TopicState) -> bool {
    state.settings.as_ref().is_ok_and(|settings| {
        let other = match &settings.cleanup {
            CleanupFound::Known(_) => false,
            CleanupFound::Other(word) => word.split(',').any(|part| part.trim() == "delete"),
        };
        other || settings.retention_bytes.is_some()
    })
}

/// What share of the records there, 0 to 1, is at or above `position`, in a log whose start has moved since it was `began`; else 0.
#[expect(clippy::cast_precision_loss, reason = "counts of records")]
fn unread_share(position: Offset, began: Offset, ends: Ends) -> f64 {
    let all = ends.end.saturating_sub(ends.start);
    if ends.start <= began || all == 0 {
        return 0.0;
    }
    ends.end.saturating_sub(position.max(ends.start)) as f64 / all as f64
}

/// Whether more than half of a log that has ever lost records is unread: for who looks once, and cannot know that it still loses them.
pub(crate) fn is_near_by_size(position: Offset, ends: Ends) -> bool {
    unread_share(position, 0, ends) > HALF
}

/// Whether half the time that records are kept is over for one of this age.
pub(crate) fn is_near(age: Duration, kept: Duration) -> bool {
    age.saturating_mul(2) > kept
}

/// Records of these partitions that are not settled; of one of which nothing is known all count.
pub(super) async fn unsettled(
    spine: &dyn Spine,
    latest: &Latest,
    partitions: &[TopicPartition],
) -> Result<u64, SpineError> {
    let ends = spine.ends(partitions).await?;
    let latest = locked(latest);
    let behind = partitions.iter().zip(ends).map(|(partition, ends): (_, Ends)| match latest.get(partition) {
        Some(reached) => reached.unsettled(ends),
        None => ends.end.saturating_sub(ends.start),
    });
    Ok(behind.sum())
}

/// How long ago the first record at or above `position` was appended; `None` when it cannot be read soon.
async fn age(spine: &dyn Spine, partition: &TopicPartition, position: Offset) -> Option<Duration> {
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
    let appended = Duration::from_millis(u64::try_from(batch.first()?.timestamp_ms).ok()?);
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.saturating_sub(appended))
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
