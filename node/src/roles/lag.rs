//! How far shards are behind the ends of their inputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::Spine;
use tokio::task::JoinHandle;

use crate::metrics;

/// How often the ends are asked for.
const LOOK: Duration = Duration::from_secs(5);

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
            metrics::lag(&partition.to_string(), ends.end.saturating_sub(position.max(ends.start)));
        }
    }
}
