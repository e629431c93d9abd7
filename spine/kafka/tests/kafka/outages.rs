//! The broker is killed and started again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use tidegate_kafka::KafkaOptions;
use tidegate_spine::Spine;
use tidegate_spine::conformance::{Fixture, Outages};

use crate::OnKafka;
use crate::broker::Broker;

struct Bounced {
    kafka: OnKafka,
    broker: Broker,
}

impl Fixture for Bounced {
    fn spine(&self) -> Arc<dyn Spine> {
        self.kafka.spine()
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        self.kafka.reopen()
    }

    fn prefix(&self) -> &str {
        self.kafka.prefix()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Outages for Bounced {
    fn break_connection(&mut self) -> BoxFuture<'_, ()> {
        async { self.broker.run(&["kill"]) }.boxed()
    }

    fn restore(&mut self) -> BoxFuture<'_, ()> {
        async { self.broker.run(&["up", "--heap", "512m"]) }.boxed()
    }
}

async fn bounced() -> Bounced {
    let broker = Broker::start(&[]);
    let mut options = KafkaOptions::new(vec![broker.address()]);
    options.request_timeout = Duration::from_secs(2);
    Bounced { kafka: OnKafka::new(options).await, broker }
}

tidegate_spine::conformance_outages!(bounced, block_on);
