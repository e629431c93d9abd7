//! A spine in front of a real one that withholds acknowledgements or ends producers, as an outage does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{AppendError, Landing, Layer, NewRecord, Producer, ProducerOptions, Spine, SpineError};
use tokio::sync::watch;

pub(crate) struct Faulty {
    inner: Arc<dyn Spine>,
    faults: Faults,
}

/// What goes wrong.
#[derive(Clone)]
pub(crate) struct Faults {
    away: Arc<watch::Sender<bool>>,
    fatal: Arc<AtomicU32>,
}

impl Faults {
    /// While away, what is appended lands but nobody hears of it.
    pub(crate) fn away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// The next `n` appends are lost and end their producer.
    pub(crate) fn fatal(&self, n: u32) {
        self.fatal.store(n, Ordering::SeqCst);
    }

    pub(crate) fn fatal_left(&self) -> u32 {
        self.fatal.load(Ordering::SeqCst)
    }
}

impl Faulty {
    pub(crate) fn before(inner: Arc<dyn Spine>) -> (Arc<Self>, Faults) {
        let faults = Faults { away: Arc::new(watch::channel(false).0), fatal: Arc::default() };
        (Arc::new(Self { inner, faults: faults.clone() }), faults)
    }
}

struct FaultyProducer {
    inner: Box<dyn Producer>,
    faults: Faults,
}

impl Producer for FaultyProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        let left = |n: u32| n.checked_sub(1);
        if self.faults.fatal.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return async { Err(AppendError::Fatal { reason: "a planned fault".into() }) }.boxed();
        }
        let landing = self.inner.append(to, records);
        let mut away = self.faults.away.subscribe();
        async move {
            let landed = landing.await;
            let _closed = away.wait_for(|away| !away).await;
            landed
        }
        .boxed()
    }
}

impl Layer for Faulty {
    fn behind(&self) -> &dyn Spine {
        &*self.inner
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        async move {
            let inner = self.inner.producer(options).await?;
            let producer: Box<dyn Producer> = Box::new(FaultyProducer { inner, faults: self.faults.clone() });
            Ok(producer)
        }
        .boxed()
    }
}
