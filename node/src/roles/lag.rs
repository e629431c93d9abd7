//! How far shards are behind the ends of their inputs, in records and in time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{ReadError, Spine, SpineError, Start};
use tokio::task::JoinHandle;

use crate::metrics;

/// How often the ends are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait for the oldest record of a partition.
const PATIENCE: Duration = Duration::from_secs(1);

/// The latest positions of the shards of one holder.
pub(super) type Latest = Arc<Mutex<BTreeMap<TopicPartition, Offset>>>;

/// The same, published as lag.
pub(super) struct Positions {
    latest: Latest,
    looking: JoinHandle<()>,
}

impl Positions {
    pub(super) fn new(spine: Arc<dyn Spine>) -> Self {
        let latest = Latest::default();
        let looking = tokio::spawn(look(spine, Arc::clone(&latest)));
        Self { latest, looking }
    }

    pub(super) fn latest(&self) -> Latest {
        Arc::clone(&self.latest)
    }

    pub(super) fn moved(&self, positions: Vec<(TopicPartition, Offset)>) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).extend(positions);
    }

    /// Stops looking; when it returns nothing of it holds the spine.
    pub(super) async fn stop(self) {
        self.looking.abort();
        // Aborted.
        let _ = self.looking.await;
    }
}

async fn look(spine: Arc<dyn Spine>, latest: Latest) {
    loop {
        tokio::time::sleep(LOOK).await;
        let (partitions, positions): (Vec<_>, Vec<_>) = {
            let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.iter().map(|(partition, offset)| (partition.clone(), *offset)).unzip()
        };
        // With the spine away the last figures stand; readiness says that it is away.
        let Ok(ends) = spine.ends(&partitions).await else { continue };
        for ((partition, position), ends) in partitions.iter().zip(positions).zip(ends) {
            let position = position.max(ends.start);
            metrics::lag(&partition.to_string(), ends.end.saturating_sub(position));
            let age = if position < ends.end { age(&*spine, partition, position).await } else { Some(Duration::ZERO) };
            if let Some(age) = age {
                metrics::oldest(&partition.to_string(), age);
            }
        }
    }
}

/// Records of these partitions that are not settled; what no position is known of counts whole.
pub(super) async fn unsettled(
    spine: &dyn Spine,
    latest: &Latest,
    partitions: &[TopicPartition],
) -> Result<u64, SpineError> {
    let ends = spine.ends(partitions).await?;
    let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
    let behind = partitions.iter().zip(ends).map(|(partition, ends)| {
        let position = latest.get(partition).map_or(ends.start, |position| ends.start.max(*position));
        ends.end.saturating_sub(position)
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
