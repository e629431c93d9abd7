//! The adapter's front: [`Spine`] by the parts beside it.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::consumer::BaseConsumer;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{
    Ends, MemberOptions, Membership, Producer, ProducerOptions, Reader, Rights, Spine, SpineError, TopicSpec,
    TopicState,
};

use crate::KafkaOptions;
use crate::asking::{Asking, Side};
use crate::connection::{self, Connection};
use crate::consumers::Consumers;
use crate::failure::Failure;
use crate::keeper::{Keeper, Serve};
use crate::membership::KafkaMembership;
use crate::producer::KafkaProducer;
use crate::reader::KafkaReader;
use crate::threads::Threads;
use crate::topics;
use crate::watch::Watch;

/// A spine on a Kafka cluster.
pub struct KafkaSpine {
    connection: Arc<Connection>,
}

impl KafkaSpine {
    /// Connects. Checks the settings, and that a broker answers and takes the credentials.
    ///
    /// # Errors
    /// `Invalid` for a setting that breaks a promise or that librdkafka does not take, `Denied` when a broker refuses
    /// the credentials, `Unavailable` when none has answered within [`KafkaOptions::request_timeout`].
    pub async fn open(options: KafkaOptions) -> Result<Self, SpineError> {
        let url = options.url();
        let failed = |failure| connection::error(&url, &options, failure);
        options.check().map_err(|error| failed(Failure::Invalid(error.to_string())))?;
        let threads = Threads::new();
        let asked = options.clone();
        let asking = threads
            .run(move || Asking::open(&asked))
            .await
            .unwrap_or_else(|_| Err(Failure::Fatal("no thread to ask with".into())))
            .map_err(failed)?;
        let keeper = Keeper::start().map_err(|error| failed(Failure::Fatal(format!("no thread: {error}"))))?;
        let served: Arc<dyn Serve> = asking.client().clone();
        let served: Weak<dyn Serve> = Arc::downgrade(&served);
        keeper.keep(served);
        let weak: Weak<BaseConsumer<Watch>> = Arc::downgrade(asking.client());
        keeper.reconnect(weak, &options);
        let admin = Arc::default();
        keeper.keep(topics::kept(&admin));
        let (limits, consumers, asking) = (Arc::default(), Consumers::default(), Arc::new(asking));
        let connection = Connection { url, options, threads, keeper, limits, consumers, asking, admin };
        Ok(Self { connection: Arc::new(connection) })
    }
}

impl std::fmt::Debug for KafkaSpine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSpine").field("options", &self.connection.options).finish()
    }
}

impl Spine for KafkaSpine {
    fn url(&self) -> &str {
        &self.connection.url
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        let connection = Arc::clone(&self.connection);
        let start = move || KafkaProducer::start(&connection, &options);
        async { Ok(Box::new(self.connection.ask(start).await?) as Box<dyn Producer>) }.boxed()
    }

    fn reader(&self, _name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        let connection = Arc::clone(&self.connection);
        let start = move || KafkaReader::start(connection);
        async { Ok(Box::new(self.connection.ask(start).await?) as Box<dyn Reader>) }.boxed()
    }

    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        let connection = Arc::clone(&self.connection);
        let join = move || KafkaMembership::join(connection, &options);
        async { Ok(Box::new(self.connection.ask(join).await?) as Box<dyn Membership>) }.boxed()
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>> {
        async move {
            if of.is_empty() {
                return Ok(Vec::new());
            }
            let of: Arc<[TopicPartition]> = of.into();
            // Both sides at once, each one request to each leader.
            let ask = |side| {
                let (asking, of) = (Arc::clone(&self.connection.asking), Arc::clone(&of));
                self.connection.ask(move || {
                    asking.exist(&of)?;
                    asking.side(side, &of)
                })
            };
            let (starts, ends) = futures::future::try_join(ask(Side::Start), ask(Side::End)).await?;
            // A trim may come between the two.
            Ok(starts.into_iter().zip(ends).map(|(start, end)| Ends { start: start.min(end), end }).collect())
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        self.connection.describe(topics).boxed()
    }

    fn rights<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        self.connection.rights(topics).boxed()
    }

    fn group_rights<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        self.connection.group_rights(groups).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<TopicName>, SpineError>> {
        let asking = Arc::clone(&self.connection.asking);
        async move {
            let mut names = self.connection.ask(move || asking.names()).await?;
            names.retain(|name| name.as_str().starts_with(prefix));
            Ok(names)
        }
        .boxed()
    }

    fn create<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.connection.create(topic).boxed()
    }

    fn alter<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.connection.alter(topic).boxed()
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), SpineError>> {
        self.connection.delete(topic).boxed()
    }

    fn trim<'a>(&'a self, partition: &'a TopicPartition, before: Offset) -> BoxFuture<'a, Result<(), SpineError>> {
        self.connection.trim(partition, before).boxed()
    }
}
