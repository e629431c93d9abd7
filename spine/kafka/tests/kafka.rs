//! The conformance suite and this adapter's own promises, against a real Kafka.
//!
//! `TIDEGATE_TEST_KAFKA=host:port` names it; `deploy/local/kafka up --port P --data DIR` starts one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/outages.rs"]
mod outages;
#[path = "kafka/own.rs"]
mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use tidegate_kafka::{KafkaOptions, KafkaSpine};
use tidegate_spine::Spine;
use tidegate_spine::conformance::Fixture;

/// The broker under test.
fn address() -> String {
    std::env::var("TIDEGATE_TEST_KAFKA").unwrap_or_else(|_| {
        panic!(
            "TIDEGATE_TEST_KAFKA=host:port is not set: start a broker with \
             `deploy/local/kafka up --port 9092 --data /tmp/tidegate-kafka` and set it to 127.0.0.1:9092"
        )
    })
}

/// Differs for every test of every run.
fn prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("t{}-{}-{}.", since.as_millis(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

struct OnKafka {
    options: KafkaOptions,
    spine: Option<Arc<dyn Spine>>,
    prefix: String,
}

impl OnKafka {
    async fn new(options: KafkaOptions) -> Self {
        let mut fixture = Self { options, spine: None, prefix: prefix() };
        fixture.reopen().await;
        fixture
    }
}

impl Fixture for OnKafka {
    fn spine(&self) -> Arc<dyn Spine> {
        Arc::clone(self.spine.as_ref().unwrap())
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        async {
            drop(self.spine.take());
            self.spine = Some(Arc::new(KafkaSpine::open(self.options.clone()).await.unwrap()));
        }
        .boxed()
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }
}

async fn fixture() -> OnKafka {
    OnKafka::new(KafkaOptions::new(vec![address()])).await
}

tidegate_spine::conformance!(fixture, block_on);
