//! How far shards are behind the ends of their inputs, in records and in time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{ReadError, Spine, Start};
use tokio::task::JoinHandle;

use crate::metrics;

/// How often the ends are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait for the oldest record of a partition.
const PATIENCE: Duration = Duration::from_secs(1);

/// The latest positions of the shards of one holder, published as lag.
pub(super) struct Positions {
    latest: Arc<Mutex<BTreeMap<TopicPartition, Offset>>>,
    looking: JoinHandle<()>,
}

impl Positions {
    pub(super) fn new(spine: Arc<dyn Spine>) -> Self {
        let latest = Arc::new(Mutex::new(BTreeMap::new()));
        let looking = tokio::spawn(look(spine, Arc::clone(&latest)));
        Self { latest, looking }
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

async fn look(spine: Arc<dyn Spine>, latest: Arc<Mutex<BTreeMap<TopicPartition, Offset>>>) {
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
