//! The bare client of Kafka: rdkafka as it comes, with the settings of our adapter.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::headers::SOURCE;

use super::bare::{Bare, BareNew, BareReader, BareRecord, BareSender};

/// Connects where our adapter does.
pub(crate) struct BareKafka {
    brokers: String,
    /// How one connects, as our adapter is told.
    settings: BTreeMap<String, String>,
}

impl BareKafka {
    pub(crate) fn new(brokers: String, settings: BTreeMap<String, String>) -> Self {
        Self { brokers, settings }
    }

    fn config(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("socket.nagle.disable", "true");
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        for (name, value) in own {
            config.set(*name, *value);
        }
        config
    }
}

impl Bare for BareKafka {
    fn reader<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, anyhow::Result<Box<dyn BareReader>>> {
        async move {
            let consumer: StreamConsumer = self
                .config(&[
                    ("group.id", "tidegate-floor"),
                    ("enable.auto.commit", "false"),
                    ("isolation.level", "read_committed"),
                    ("auto.offset.reset", "error"),
                    ("fetch.min.bytes", "1"),
                    ("fetch.wait.max.ms", "50"),
                    ("fetch.queue.backoff.ms", "2"),
                    ("fetch.error.backoff.ms", "20"),
                ])
                .create()?;
            let mut list = TopicPartitionList::new();
            for from in partitions {
                list.add_partition_offset(from.topic.as_str(), i32::try_from(from.partition)?, Offset::Beginning)?;
            }
            consumer.assign(&list)?;
            Ok(Box::new(Reader { consumer }) as Box<dyn BareReader>)
        }
        .boxed()
    }

    fn sender(&self) -> BoxFuture<'_, anyhow::Result<Box<dyn BareSender>>> {
        async move {
            let producer: FutureProducer = self
                .config(&[
                    ("acks", "all"),
                    ("enable.idempotence", "true"),
                    ("message.timeout.ms", "0"),
                    ("queue.buffering.max.messages", "0"),
                    ("queue.buffering.max.kbytes", "2147483647"),
                    ("batch.size", "1000000"),
                    ("linger.ms", "0"),
                ])
                .create()?;
            Ok(Box::new(Sender { producer }) as Box<dyn BareSender>)
        }
        .boxed()
    }
}

struct Reader {
    consumer: StreamConsumer,
}

fn taken(message: &impl Message) -> BareRecord {
    let source = message.headers().and_then(|headers| {
        headers.iter().find(|h| h.key == SOURCE).and_then(|h| h.value).map(|v| String::from_utf8_lossy(v).into_owned())
    });
    BareRecord {
        partition: u32::try_from(message.partition()).unwrap_or(0),
        offset: u64::try_from(message.offset()).unwrap_or(0),
        source,
        value: message.payload().unwrap_or_default().to_vec(),
    }
}

impl BareReader for Reader {
    fn next<'a>(&'a mut self, into: &'a mut Vec<BareRecord>) -> BoxFuture<'a, anyhow::Result<()>> {
        async move {
            into.push(taken(&self.consumer.recv().await?));
            while into.len() < 512 {
                match self.consumer.recv().now_or_never() {
                    Some(message) => into.push(taken(&message?)),
                    None => break,
                }
            }
            Ok(())
        }
        .boxed()
    }
}

struct Sender {
    producer: FutureProducer,
}

impl BareSender for Sender {
    fn send(&mut self, to: &TopicPartition, records: Vec<BareNew>) -> BoxFuture<'static, anyhow::Result<()>> {
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let new: FutureRecord<'_, (), Vec<u8>> = FutureRecord::to(to.topic.as_str())
                .partition(i32::try_from(to.partition).unwrap_or(0))
                .payload(&record.value)
                .headers(headers);
            match self.producer.send_result(new) {
                Ok(delivery) => deliveries.push(delivery),
                Err((error, _)) => return async move { Err(error.into()) }.boxed(),
            }
        }
        async move {
            for delivered in try_join_all(deliveries).await? {
                delivered.map_err(|(error, _)| error)?;
            }
            Ok(())
        }
        .boxed()
    }
}
