//! The consumers of a process: one for each topic, shared by all readers of it.
//!
//! A consumer has one fetch on its way to each broker, over all its partitions. With one for each reader, a process of
//! many shards sends a fetch for every few records of every shard, and each of those asks about the shard's quiet inputs
//! too, which the broker looks up every time. By topic, one fetch brings what came for all shards meanwhile, and quiet
//! topics are asked about only as often as their wait ends. A consumer can have a partition assigned only once, so one
//! that is opened twice at the same time brings a second consumer of its topic.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::ReadError;

use crate::KafkaOptions;
use crate::keeper::{Keeper, Serve};
use crate::settings;
use crate::threads::Threads;
use crate::watch::Watch;

pub(crate) type Client = Arc<BaseConsumer<Watch>>;

/// Finds the consumers of a topic.
#[derive(Default)]
pub(crate) struct Consumers(Mutex<HashMap<TopicName, Weak<OfTopic>>>);

/// The consumers of one topic; they go with the last reader that holds this.
pub(crate) struct OfTopic {
    topic: TopicName,
    threads: Threads,
    /// With the partitions each has got.
    clients: Mutex<Vec<(Client, HashSet<u32>)>>,
}

impl Consumers {
    pub(crate) fn of(&self, topic: &TopicName, threads: &Threads) -> Arc<OfTopic> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(topic).and_then(Weak::upgrade) {
            return known;
        }
        topics.retain(|_, gone| gone.strong_count() > 0);
        let made = Arc::new(OfTopic { topic: topic.clone(), threads: threads.clone(), clients: Mutex::default() });
        topics.insert(topic.clone(), Arc::downgrade(&made));
        made
    }
}

impl OfTopic {
    pub(crate) fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// A consumer that has not got `partition` yet; it counts as assigned until it is given back.
    pub(crate) fn take(
        &self,
        partition: &TopicPartition,
        options: &KafkaOptions,
        keeper: &Keeper,
    ) -> Result<Client, ReadError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        for (client, has) in clients.iter_mut() {
            if has.insert(partition.partition) {
                return Ok(Arc::clone(client));
            }
        }
        let client = client(options, keeper, self.topic.as_str())
            .map_err(|reason| ReadError::Fatal { reason: format!("no consumer for `{partition}`: {reason}") })?;
        clients.push((Arc::clone(&client), HashSet::from([partition.partition])));
        Ok(client)
    }

    /// `partition` is no longer assigned to `client`. Further consumers go with their last partition.
    pub(crate) fn give_back(&self, client: &Client, partition: &TopicPartition) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = clients.iter().position(|(own, _)| Arc::ptr_eq(own, client)) else { return };
        let further = clients.len() > 1;
        let Some((_, has)) = clients.get_mut(at) else { return };
        has.remove(&partition.partition);
        if further && has.is_empty() {
            let gone = clients.swap_remove(at);
            self.threads.detach(move || drop(gone));
        }
    }
}

impl Drop for OfTopic {
    fn drop(&mut self) {
        // Closing a consumer waits for librdkafka's threads, so not here.
        let clients = std::mem::take(&mut *self.clients.lock().unwrap_or_else(PoisonError::into_inner));
        self.threads.detach(move || drop(clients));
    }
}

fn client(options: &KafkaOptions, keeper: &Keeper, name: &str) -> Result<Client, String> {
    let config = settings::reading(options, name);
    let client = BaseConsumer::from_config_and_context(&config, Watch::new(name)).map_err(|error| error.to_string())?;
    let client = Arc::new(client);
    let weak: Weak<BaseConsumer<Watch>> = Arc::downgrade(&client);
    keeper.reconnect(weak, options);
    let served: Arc<dyn Serve> = client.clone();
    let served: Weak<dyn Serve> = Arc::downgrade(&served);
    keeper.keep(served);
    Ok(client)
}
