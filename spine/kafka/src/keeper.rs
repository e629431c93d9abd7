//! Serves the clients that nobody polls: their log lines, errors and token refreshes; and looks after readers that wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use crate::KafkaOptions;
use crate::brokers::{Brokers, Loses};

/// A client whose own queue brings nothing but events, or a reader that waits to be rung for.
pub(crate) trait Serve: Send + Sync {
    /// Takes what has gathered, or counts the round.
    fn serve(&self);
}

impl<C: ConsumerContext + 'static> Serve for BaseConsumer<C> {
    fn serve(&self) {
        for _ in 0..32 {
            // The context hears of it; records come by partition queues, not here.
            let _ = self.poll(Duration::ZERO);
        }
    }
}

/// How often; log lines wait for it, and records only where the client did not tell of them.
const PERIOD: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Kept {
    clients: Vec<Weak<dyn Serve>>,
    brokers: Vec<Arc<Brokers>>,
}

/// One thread for all clients of a spine; ends with it.
pub(crate) struct Keeper {
    clients: Arc<Mutex<Kept>>,
}

impl Keeper {
    pub(crate) fn start() -> std::io::Result<Self> {
        let clients = Arc::<Mutex<Kept>>::default();
        let all = Arc::downgrade(&clients);
        std::thread::Builder::new().name("kafka-keep".into()).spawn(move || {
            while let Some(clients) = all.upgrade() {
                let mut living: Vec<Arc<dyn Serve>> = Vec::new();
                let mut kept = clients.lock().unwrap_or_else(PoisonError::into_inner);
                kept.clients.retain(|client| {
                    living.extend(client.upgrade());
                    client.strong_count() > 0
                });
                kept.brokers.retain(|brokers| !brokers.is_over());
                living.extend(kept.brokers.iter().map(|brokers| Arc::clone(brokers) as Arc<dyn Serve>));
                drop(kept);
                // Without the lock: serving may take a while.
                for client in living.drain(..) {
                    client.serve();
                }
                drop(clients);
                std::thread::sleep(PERIOD);
            }
        })?;
        Ok(Self { clients })
    }

    /// Serves `client` for as long as it lives.
    pub(crate) fn keep(&self, client: Weak<dyn Serve>) {
        self.kept().clients.push(client);
    }

    /// Sees to it that `client` finds its brokers again, for as long as it lives.
    pub(crate) fn reconnect(&self, client: Weak<dyn Loses>, options: &KafkaOptions) {
        self.kept().brokers.push(Arc::new(Brokers::of(client, options)));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
