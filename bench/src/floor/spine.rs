//! The bare client of the embedded spine: its log as it is, without stages.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::headers::SOURCE;
use tidegate_spine::{NewRecord, Producer, ProducerOptions, ReadHandle, Reader, Record, Spine, Start};

use super::bare::{Bare, BareNew, BareReader, BareRecord, BareSender};

/// A log and nothing else.
pub(crate) struct BareSpine(pub(crate) Arc<dyn Spine>);

struct Logs {
    reader: Box<dyn Reader>,
    handles: Vec<(u32, ReadHandle)>,
    batch: Vec<Record>,
}

impl Bare for BareSpine {
    fn reader<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, anyhow::Result<Box<dyn BareReader>>> {
        async move {
            let mut reader = self.0.reader("floor").await?;
            let handles = partitions.iter().map(|p| (p.partition, reader.open(p, Start::Earliest))).collect();
            Ok(Box::new(Logs { reader, handles, batch: Vec::new() }) as Box<dyn BareReader>)
        }
        .boxed()
    }

    fn sender(&self) -> BoxFuture<'_, anyhow::Result<Box<dyn BareSender>>> {
        async move {
            let options =
                ProducerOptions { name: "floor".into(), max_in_flight_bytes: 256 << 20, ..ProducerOptions::default() };
            Ok(Box::new(Sender(self.0.producer(options).await?)) as Box<dyn BareSender>)
        }
        .boxed()
    }
}

impl BareReader for Logs {
    fn next<'a>(&'a mut self, into: &'a mut Vec<BareRecord>) -> BoxFuture<'a, anyhow::Result<()>> {
        poll_fn(move |cx| {
            let Self { reader, handles, batch } = self;
            for (partition, handle) in handles.iter() {
                if let std::task::Poll::Ready(Err(error)) = reader.poll_read(*handle, 512, cx, batch) {
                    return std::task::Poll::Ready(Err(error.into()));
                }
                into.extend(batch.drain(..).map(|record| BareRecord {
                    partition: *partition,
                    offset: record.offset,
                    source: record.headers.text(SOURCE).map(str::to_owned),
                    value: record.value.map(|v| v.to_vec()).unwrap_or_default(),
                }));
            }
            if into.is_empty() { std::task::Poll::Pending } else { std::task::Poll::Ready(Ok(())) }
        })
        .boxed()
    }
}

struct Sender(Box<dyn Producer>);

impl BareSender for Sender {
    fn send(&mut self, to: &TopicPartition, records: Vec<BareNew>) -> BoxFuture<'static, anyhow::Result<()>> {
        let records = records
            .into_iter()
            .map(|new| NewRecord {
                key: None,
                value: Some(new.value.into()),
                headers: new.headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect(),
            })
            .collect();
        let landing = self.0.append(to, records);
        async move {
            landing.await?;
            Ok(())
        }
        .boxed()
    }
}
