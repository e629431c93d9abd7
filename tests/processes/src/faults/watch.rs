//! The ledger reads along on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;

use crate::broker::{Broker, Tail};
use crate::ledger::Ledger;

/// A ledger that is kept up to date.
pub(super) struct Watch {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    reading: Option<JoinHandle<anyhow::Result<Tail>>>,
}

impl Watch {
    /// Begins to read the topics of `prefix` from their start.
    pub(super) fn begin(broker: &Broker, prefix: &str) -> anyhow::Result<Self> {
        let ledger = Ledger::new(prefix);
        let mut topics = broker.topics(prefix)?;
        topics.retain(|topic, _| ledger.reads(topic));
        let mut tail = broker.tail(&topics)?;
        let (ledger, stop) = (Arc::new(Mutex::new(ledger)), Arc::new(AtomicBool::new(false)));
        let (keeps, stopped) = (Arc::clone(&ledger), Arc::clone(&stop));
        let reading = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(met) = tail.next(Duration::from_millis(50))? {
                    lock(&keeps).meet(&met);
                }
            }
            Ok(tail)
        });
        Ok(Self { ledger, stop, reading: Some(reading) })
    }

    /// The ledger as it is.
    ///
    /// # Errors
    /// When it can no longer read.
    pub(super) fn look(&mut self) -> anyhow::Result<MutexGuard<'_, Ledger>> {
        if self.reading.as_ref().is_none_or(JoinHandle::is_finished) {
            self.end()?;
            return Err(anyhow!("the ledger stopped reading"));
        }
        Ok(lock(&self.ledger))
    }

    fn end(&mut self) -> anyhow::Result<Tail> {
        self.stop.store(true, Ordering::Relaxed);
        let reading = self.reading.take().ok_or_else(|| anyhow!("the ledger has stopped reading"))?;
        reading.join().map_err(|_| anyhow!("the ledger panicked"))?.map_err(|e| e.context("the ledger cannot read on"))
    }

    /// Reads to the present ends, when everybody who writes is gone; the ledger.
    pub(super) fn close(mut self) -> anyhow::Result<Ledger> {
        let mut tail = self.end()?;
        tail.to_the_ends(&mut |met| lock(&self.ledger).meet(&met))?;
        Ok(std::mem::take(&mut *lock(&self.ledger)))
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
