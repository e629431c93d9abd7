//! Handing records over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::channel::oneshot;
use futures::{FutureExt, future};
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{AppendError, Landing, NewRecord, Producer, ProducerOptions};

use crate::partition::{Handed, Partition};
use crate::spine::Core;

pub(crate) struct EmbeddedProducer {
    core: Arc<Core>,
    limit: usize,
    in_flight: Arc<AtomicUsize>,
    known: HashMap<TopicPartition, Arc<Partition>>,
}

impl EmbeddedProducer {
    pub(crate) fn new(core: Arc<Core>, options: &ProducerOptions) -> Self {
        Self { core, limit: options.max_in_flight_bytes, in_flight: Arc::default(), known: HashMap::new() }
    }

    fn partition(&mut self, to: &TopicPartition) -> Option<Arc<Partition>> {
        if let Some(known) = self.known.get(to) {
            // A deleted topic may have been made again.
            if !known.unusable.load(Ordering::Acquire) {
                return Some(Arc::clone(known));
            }
            self.known.remove(to);
        }
        let found = self.core.catalog.partition(to)?;
        self.known.insert(to.clone(), Arc::clone(&found));
        Some(found)
    }

    fn take(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Result<Landing, AppendError> {
        if records.is_empty() {
            return Err(AppendError::Refused { to: to.clone(), reason: "an append has at least one record".into() });
        }
        let partition = self.partition(to).ok_or_else(|| AppendError::UnknownTopic { to: to.clone() })?;
        let limit = partition.settings.max_record_bytes.load(Ordering::Relaxed);
        let (mut bytes, mut largest) = (0, 0);
        for record in &records {
            let size = record.bytes();
            bytes += size;
            largest = largest.max(size);
        }
        if largest > limit {
            return Err(AppendError::TooLarge { to: to.clone(), bytes: largest, limit: Some(limit) });
        }
        // Only this producer adds, so what was read cannot have grown meanwhile.
        if self.in_flight.load(Ordering::Acquire).saturating_add(bytes) > self.limit {
            return Err(AppendError::Full { limit: self.limit });
        }
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
        let (landing, landed) = oneshot::channel();
        let handed = Handed { records, bytes, landing, account: Arc::clone(&self.in_flight) };
        if partition.hand_over(handed) {
            self.core.announce(partition);
        }
        let closed = |_| Err(AppendError::Fatal { reason: "the embedded spine was closed".into() });
        Ok(landed.map(move |outcome| outcome.unwrap_or_else(closed)).boxed())
    }
}

impl Producer for EmbeddedProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        self.take(to, records).unwrap_or_else(|error| future::ready(Err(error)).boxed())
    }
}
