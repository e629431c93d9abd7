//! Reading a keyed topic back whole.

use std::collections::BTreeMap;
use std::future::poll_fn;

use bytes::Bytes;
use tidegate_protocol::address::{TopicName, TopicPartition};

use crate::{ReadError, Record, Spine, SpineError, Start};

/// A keyed topic could not be read whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadWholeError {
    /// Its ends could not be learnt, or it does not exist.
    #[error("keyed topic `{topic}` could not be looked up")]
    LookUp {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: SpineError,
    },
    /// Reading stopped.
    #[error("keyed topic `{topic}` could not be read")]
    Read {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: ReadError,
    },
}

/// The latest record of every key as of an end fetched by this call, in key order; keys whose latest record is a
/// tombstone are left out, records without a key are skipped. Works whether or not the broker has compacted yet.
///
/// # Errors
/// [`ReadWholeError`]; a partial result is never returned.
pub async fn read_whole(spine: &dyn Spine, topic: &TopicName) -> Result<Vec<Record>, ReadWholeError> {
    let look_up = |source| ReadWholeError::LookUp { topic: topic.clone(), source };
    let state = spine.describe(std::slice::from_ref(topic)).await.map_err(look_up)?;
    let partitions = match state.into_iter().next().flatten() {
        Some(state) => state.partitions,
        None => return Err(look_up(SpineError::UnknownTopic { topic: topic.clone() })),
    };
    let all: Vec<TopicPartition> = (0..partitions).map(|p| topic.partition(p)).collect();
    let ends = spine.ends(&all).await.map_err(look_up)?;
    let mut reader = spine.reader("keyed").await.map_err(look_up)?;
    let mut latest: BTreeMap<Bytes, Record> = BTreeMap::new();
    for (partition, ends) in all.iter().zip(ends) {
        if ends.start >= ends.end {
            continue;
        }
        let handle = reader.open(partition, Start::Earliest);
        let mut batch = Vec::new();
        let mut position = 0;
        while position < ends.end {
            position = poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut batch))
                .await
                .map_err(|source| ReadWholeError::Read { topic: topic.clone(), source })?
                .position;
            for record in batch.drain(..) {
                let Some(key) = record.key.clone() else { continue };
                if record.value.is_some() {
                    latest.insert(key, record);
                } else {
                    latest.remove(&key);
                }
            }
        }
        reader.close(handle);
    }
    Ok(latest.into_values().collect())
}
