//! The threads that write.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender};

use crate::keeper::Duty;
use crate::options::Durability;
use crate::partition::Partition;

/// How many partitions one round writes at most, so that the first of them need not wait for all.
const ROUND: usize = 64;

/// Milliseconds since the Unix epoch; 0 for a clock before it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Writes whatever partitions announce until `None` arrives; what was announced before it is written.
pub(crate) fn run(announced: &Receiver<Option<Arc<Partition>>>, keeper: &Sender<Duty>, durability: Durability) {
    let mut buffer = Vec::new();
    let mut evicted = Vec::new();
    let mut round: Vec<Arc<Partition>> = Vec::new();
    let mut again = Vec::new();
    let mut unsynced = Vec::new();
    let mut stopping = false;
    loop {
        if round.is_empty() {
            match announced.recv() {
                Ok(Some(partition)) => round.push(partition),
                _ => return,
            }
        }
        while !stopping && round.len() < ROUND {
            match announced.try_recv() {
                Ok(Some(partition)) => round.push(partition),
                Ok(None) => stopping = true,
                Err(_) => break,
            }
        }
        let now = now_ms();
        for partition in round.drain(..) {
            let mut closed = |segment| {
                // The keeper lives longer than the writers.
                drop(keeper.send(Duty::Seal(Arc::clone(&partition), segment)));
            };
            let (written, more) = partition.write(now, &mut buffer, &mut closed);
            match (written, durability) {
                (Some(written), Durability::Os) => written.show(&mut evicted),
                (Some(written), Durability::Fsync) => unsynced.push(written),
                (None, _) => {}
            }
            if more {
                again.push(partition);
            }
        }
        for written in unsynced.drain(..) {
            if let Some(synced) = written.sync() {
                synced.show(&mut evicted);
            }
        }
        std::mem::swap(&mut round, &mut again);
        if stopping && round.is_empty() {
            return;
        }
        if buffer.capacity() > (8 << 20) {
            buffer = Vec::new();
        }
    }
}
