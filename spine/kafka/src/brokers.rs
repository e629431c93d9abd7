//! Gives a client its brokers back.
//!
//! librdkafka forgets brokers (since 2.10) that an answer about the cluster does not name. An answer that names none (a lone
//! broker that the controller has fenced after a pause, a cluster in the middle of an upgrade) leaves the client without
//! any, and it asks nobody ever again (librdkafka #5301, open with 2.13; seen here under `make faults
//! SCENARIO=broker-stop`). What it says then is that all brokers are down. From there on the keeper names the bootstrap
//! brokers to it anew, a second apart, until one is connected. Naming a broker that the client knows adds nothing.

#![expect(unsafe_code, reason = "rdkafka does not wrap `rd_kafka_brokers_add`; the one block says why it is sound")]

use std::ffi::CString;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{ClientContext, bindings as ffi};

use crate::KafkaOptions;
use crate::delivery::Reports;
use crate::keeper::Serve;
use crate::watch::{Watch, Watched};

/// For the question whether a broker is connected, which is answered at once where none is.
const LOOK: Duration = Duration::from_millis(10);
/// Rounds of the keeper between two attempts.
const ROUNDS: u32 = 10;

static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// A client that may lose its brokers.
pub(crate) trait Loses: Send + Sync {
    fn watch(&self) -> &Watch;
    fn is_connected(&self) -> bool;
    fn name_brokers(&self, brokers: &CString);
}

/// Looks after one client for as long as it lives.
pub(crate) struct Brokers {
    client: Weak<dyn Loses>,
    bootstrap: CString,
    rounds: AtomicU32,
}

impl Brokers {
    /// Of `client`, which was opened with these options.
    pub(crate) fn of(client: Weak<dyn Loses>, options: &KafkaOptions) -> Self {
        // Addresses with a zero byte were refused when the client was made.
        let bootstrap = CString::new(options.brokers.join(",")).unwrap_or_default();
        // Not all clients in the same round: each question may take a while.
        Self { client, bootstrap, rounds: AtomicU32::new(CLIENTS.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Whether the client is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.client.strong_count() == 0
    }
}

impl Serve for Brokers {
    fn serve(&self) {
        let Some(client) = self.client.upgrade().filter(|client| client.watch().all_down()) else { return };
        if self.rounds.fetch_add(1, Ordering::Relaxed) % ROUNDS != ROUNDS - 1 {
            return;
        }
        // First: the answer to the question below may be the next that names nobody, and another thread hear of it.
        client.watch().connected();
        if !client.is_connected() {
            client.watch().lost();
            client.name_brokers(&self.bootstrap);
        }
    }
}

impl<C: ConsumerContext + Watched + 'static> Loses for BaseConsumer<C> {
    fn watch(&self) -> &Watch {
        self.context().watch()
    }

    fn is_connected(&self) -> bool {
        is_connected(self.client())
    }

    fn name_brokers(&self, brokers: &CString) {
        name_brokers(self.client(), brokers);
    }
}

impl Loses for BaseProducer<Reports> {
    fn watch(&self) -> &Watch {
        Watched::watch(&**self.context())
    }

    fn is_connected(&self) -> bool {
        is_connected(self.client())
    }

    fn name_brokers(&self, brokers: &CString) {
        name_brokers(self.client(), brokers);
    }
}

/// Without a connection the question is not even sent; an answer that does not come in time was at least asked for.
fn is_connected<C: ClientContext>(client: &Client<C>) -> bool {
    let unsent = |error: &KafkaError| {
        matches!(error, KafkaError::MetadataFetch(Code::BrokerTransportFailure | Code::AllBrokersDown))
    };
    match client.fetch_metadata(None, LOOK) {
        Ok(cluster) => !cluster.brokers().is_empty(),
        Err(error) => !unsent(&error),
    }
}

fn name_brokers<C: ClientContext>(client: &Client<C>, brokers: &CString) {
    // SAFETY: the client lives for as long as this borrow of its owner; the text ends with a zero byte and is copied.
    let named = unsafe { ffi::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
    tracing::debug!(named, "no broker is known to be up; the bootstrap brokers are named again");
}
