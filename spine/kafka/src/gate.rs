//! A partition that is held back in librdkafka while a large wave is handed over, so that the wave goes as one request
//! ([`tidegate_spine::Gathered::Whole`]).
//!
//! Records are handed over one by one, and librdkafka's broker thread wakes with the first: it sends what is there by then. With more than
//! five *messages* of a partition in flight an idempotent producer sends no more to it until they are acknowledged, and its thread spins
//! all that time, since more are waiting (see `flow`). So the rest of a large wave cost a second round trip and a processor. While a
//! partition is paused the thread looks at none of its messages, does not spin, and has all of them when it goes on.
//!
//! It costs two answers of the client's main thread, for which `append` waits: some tens of microseconds, since that thread speaks to no
//! broker and does nothing for long. Small waves are through before the broker's thread is awake.

#![expect(unsafe_code, reason = "rdkafka has pausing for consumers alone; each block names why it is sound")]

use rdkafka::bindings as ffi;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use tidegate_protocol::address::TopicPartition;

use crate::asking::number;
use crate::delivery::Reports;

/// From so many records on. A record takes about a microsecond to be handed over, a thread some thirty to wake.
pub(crate) const LARGE: usize = 32;

/// A partition that is held back as long as this lives. One that this client does not know is not.
pub(crate) struct Held<'a> {
    client: &'a BaseProducer<Reports>,
    partition: TopicPartitionList,
}

impl<'a> Held<'a> {
    /// Holds a partition back: when this returns its messages wait.
    pub(crate) fn back(client: &'a BaseProducer<Reports>, to: &TopicPartition) -> Self {
        let mut partition = TopicPartitionList::with_capacity(1);
        partition.add_partition(to.topic.as_str(), number(to));
        // SAFETY: the client and the list live as long as this call, which keeps neither. It answers for each partition in the list
        // alone; one that is unknown goes on as it is.
        unsafe { ffi::rd_kafka_pause_partitions(client.client().native_ptr(), partition.ptr()) };
        Self { client, partition }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let client = self.client.client().native_ptr();
        // SAFETY: as above. Nothing else wakes the broker's thread: it was told of the first record, when it might not look. A flush
        // that does not wait does no more than wake it.
        unsafe {
            ffi::rd_kafka_resume_partitions(client, self.partition.ptr());
            ffi::rd_kafka_flush(client, 0);
        }
    }
}
