//! Whoever owns topics: makes and deletes them as they like, looks at them, writes into them in transactions. The bare client.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidegate_processes::broker::Broker;
use tidegate_processes::process::until;

use crate::PATIENCE;

/// The owner of foreign topics.
pub(crate) struct Owner {
    broker: Broker,
    admin: AdminClient<DefaultClientContext>,
}

/// How a topic stands.
#[derive(Debug)]
pub(crate) struct Look {
    /// All of its settings.
    pub(crate) settings: BTreeMap<String, Option<String>>,
    /// Whether the first record of each partition that has any is still there.
    pub(crate) whole: bool,
    /// Records, marks of transactions included.
    pub(crate) records: u64,
}

impl Owner {
    pub(crate) fn new(broker: &Broker) -> Self {
        Self { broker: broker.clone(), admin: Self::config(broker).create().unwrap() }
    }

    fn config(broker: &Broker) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &broker.address);
        config
    }

    /// Makes a topic with settings that none of ours has.
    pub(crate) fn make(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "987654321")
            .set("max.message.bytes", "456789")
            .set("message.timestamp.type", "CreateTime");
        let made = block_on(self.admin.create_topics(&[new], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        // The broker says so before everybody is told of it.
        let told = || Ok(self.broker.topics(topic)?.contains_key(topic).then_some(()));
        until(PATIENCE, "the topic is there", told).unwrap();
    }

    /// Takes topics away, and waits until nobody is told of them any more.
    pub(crate) fn delete(&self, topics: &[String]) {
        let named: Vec<&str> = topics.iter().map(String::as_str).collect();
        let gone = block_on(self.admin.delete_topics(&named, &AdminOptions::new())).unwrap();
        assert!(gone.len() == named.len() && gone.iter().all(Result::is_ok), "{gone:?}");
        let told = || Ok(self.broker.topics("")?.keys().all(|there| !topics.contains(there)).then_some(()));
        until(PATIENCE, "the topics are gone", told).unwrap();
    }

    /// How a topic stands.
    pub(crate) fn look(&self, topic: &str, partitions: u32) -> Look {
        let (asked, options) = ([ResourceSpecifier::Topic(topic)], AdminOptions::new());
        let described = block_on(self.admin.describe_configs(&asked, &options)).unwrap().remove(0).unwrap();
        let settings = described.entries.into_iter().map(|entry| (entry.name, entry.value)).collect();
        assert_eq!(self.broker.topics(topic).unwrap()[topic], partitions);
        let ends: Vec<(u64, u64)> = (0..partitions).map(|number| self.broker.ends(topic, number).unwrap()).collect();
        let (whole, records) = (ends.iter().all(|(low, _)| *low == 0), ends.iter().map(|(_, high)| high).sum());
        Look { settings, whole, records }
    }

    /// Writes these values, one a partition, in one transaction that is committed or aborted.
    pub(crate) fn transaction(&self, topic: &str, values: &[String], commit: bool) {
        let producer: BaseProducer =
            Self::config(&self.broker).set("transactional.id", format!("{topic}-{commit}")).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        for (partition, value) in (0..).zip(values) {
            let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(partition).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        // They stand in the log before it is said what becomes of them.
        producer.flush(PATIENCE).unwrap();
        if commit {
            producer.commit_transaction(PATIENCE).unwrap()
        } else {
            producer.abort_transaction(PATIENCE).unwrap()
        }
    }

    /// Waits until so many values with `text` in them are read by a consumer that does not mind transactions.
    pub(crate) fn lies_in_the_log(&self, topic: &str, partitions: i32, text: &str, times: usize) {
        let consumer: BaseConsumer = Self::config(&self.broker)
            .set("group.id", "owner")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_uncommitted")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut met = 0;
        until(PATIENCE, &format!("`{text}` is in the log {times} times"), || {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                met += usize::from(value.contains(text));
            }
            Ok((met == times).then_some(()))
        })
        .unwrap();
    }
}
