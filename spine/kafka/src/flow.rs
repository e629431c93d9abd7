//! One partition's appends: one wave in librdkafka, the rest waiting here until they are many.
//!
//! Why not hand everything over at once: librdkafka's idempotent producer sends nothing more to a partition while five
//! *messages* are in flight, and until they are acknowledged its broker thread spins (its next wake-up is "now") if
//! more messages wait. On a small machine that takes the very processor the broker needs: at 5,000 records a second
//! it was three quarters of the client's time. So what gathers during a round trip waits here and goes as the next
//! wave: the group commit of DESIGN section 2, for messages. Only once a good part of a batch waits is it handed over
//! early, so that a saturated producer has its next batch ready; there is work for the broker then anyway.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_spine::NewRecord;

use crate::delivery::Append;

/// An append that has not been sent.
pub(crate) type Waiting = (Vec<NewRecord>, Arc<Append>);

/// A wave is one batch: below librdkafka's `batch.size` and `batch.num.messages`.
const WAVE_BYTES: usize = 900_000;
const WAVE_RECORDS: usize = 9_000;
/// From here on what waits is handed over early.
const MANY_BYTES: usize = 256_000;

/// The appends to one partition, in order.
#[derive(Default)]
pub(crate) struct Flow(Mutex<State>);

#[derive(Default)]
struct State {
    /// Appends given out as waves and not ended. With none, librdkafka has taken, and told of, every record of them, although
    /// who handed them over may not have returned.
    sent: usize,
    /// Threads that are handing over right now; nobody may come between with more while `sent` is above 0.
    senders: usize,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

impl State {
    /// The next wave; its caller hands it over and then says [`Flow::handed_over`].
    fn wave(&mut self) -> Vec<Waiting> {
        let (mut wave, mut bytes, mut records) = (Vec::new(), 0, 0);
        while let Some(next) = self.waiting.front() {
            bytes += next.1.bytes();
            records += next.0.len();
            if !wave.is_empty() && (bytes > WAVE_BYTES || records > WAVE_RECORDS) {
                break;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(next.1.bytes());
            wave.extend(self.waiting.pop_front());
        }
        self.sent += wave.len();
        self.senders += usize::from(!wave.is_empty());
        wave
    }
}

impl Flow {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an append in; returns what is to be handed over now, if anything.
    #[must_use]
    pub(crate) fn enter(&self, append: Waiting) -> Vec<Waiting> {
        let mut state = self.state();
        state.waiting_bytes += append.1.bytes();
        state.waiting.push_back(append);
        // Not for senders where all has landed: nobody would come for what waits once they return.
        if state.sent == 0 || (state.senders == 0 && state.waiting_bytes >= MANY_BYTES) {
            return state.wave();
        }
        Vec::new()
    }

    /// A wave has been handed over, whatever became of it.
    pub(crate) fn handed_over(&self) {
        let mut state = self.state();
        state.senders = state.senders.saturating_sub(1);
    }

    /// An append has ended. Returns the next wave when it was the last under way.
    #[must_use]
    pub(crate) fn ended(&self) -> Vec<Waiting> {
        let mut state = self.state();
        state.sent = state.sent.saturating_sub(1);
        if state.sent > 0 { Vec::new() } else { state.wave() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::channel::oneshot;
    use tidegate_protocol::address::TopicName;

    fn append(flow: &Arc<Flow>, name: u8, bytes: usize) -> Waiting {
        let to = TopicName::new("t").unwrap().partition(0);
        let record = NewRecord { value: Some(Bytes::from(vec![name])), ..NewRecord::default() };
        let append = Append::new(to, 1, bytes, 1, Arc::default(), Arc::clone(flow), oneshot::channel().0);
        (vec![record], Arc::new(append))
    }

    fn names(wave: &[Waiting]) -> Vec<u8> {
        wave.iter().map(|(records, _)| records[0].value.as_ref().unwrap()[0]).collect()
    }

    #[test]
    fn one_wave_at_a_time_in_order() {
        let flow = Arc::new(Flow::default());
        assert_eq!(names(&flow.enter(append(&flow, 0, 1))), [0]);
        flow.handed_over();
        for name in 1..4 {
            assert!(flow.enter(append(&flow, name, 1)).is_empty());
        }
        assert_eq!(names(&flow.ended()), [1, 2, 3]);
        flow.handed_over();
        assert!(flow.enter(append(&flow, 4, 1)).is_empty());
        assert!(flow.ended().is_empty());
        assert!(flow.ended().is_empty());
        assert_eq!(names(&flow.ended()), [4]);
        flow.handed_over();
        assert!(flow.ended().is_empty());
        assert_eq!(names(&flow.enter(append(&flow, 5, 1))), [5], "idle again");
    }

    #[test]
    fn what_is_much_goes_early_but_never_beside_another_sender() {
        let flow = Arc::new(Flow::default());
        assert_eq!(names(&flow.enter(append(&flow, 0, 1))), [0]);
        assert!(flow.enter(append(&flow, 1, MANY_BYTES)).is_empty(), "still being handed over");
        flow.handed_over();
        assert!(flow.enter(append(&flow, 2, 1)).len() == 2);
        flow.handed_over();
        assert!(flow.enter(append(&flow, 3, MANY_BYTES - 1)).is_empty());
        assert!(flow.ended().is_empty());
        assert!(flow.ended().is_empty());
        assert_eq!(names(&flow.ended()), [3]);
    }

    #[test]
    fn what_comes_when_all_has_landed_goes_at_once_although_who_sent_that_has_not_returned() {
        let flow = Arc::new(Flow::default());
        assert_eq!(names(&flow.enter(append(&flow, 0, 1))), [0]);
        assert!(flow.ended().is_empty());
        assert_eq!(names(&flow.enter(append(&flow, 1, 1))), [1]);
        flow.handed_over();
        assert!(flow.enter(append(&flow, 2, MANY_BYTES)).is_empty(), "the second still hands over");
        flow.handed_over();
        assert_eq!(names(&flow.ended()), [2]);
    }

    #[test]
    fn a_wave_is_one_batch_but_at_least_one_append() {
        let flow = Arc::new(Flow::default());
        assert_eq!(names(&flow.enter(append(&flow, 0, 1))), [0]);
        for (name, bytes) in [(1, WAVE_BYTES * 2), (2, WAVE_BYTES / 2), (3, WAVE_BYTES / 2), (4, 1)] {
            assert!(flow.enter(append(&flow, name, bytes)).is_empty());
        }
        flow.handed_over();
        assert_eq!(names(&flow.ended()), [1]);
        assert_eq!(names(&flow.ended()), [2, 3]);
    }
}
