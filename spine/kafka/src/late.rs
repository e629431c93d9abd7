//! Appends to a partition that is being looked up, kept in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_protocol::address::TopicPartition;
use tidegate_spine::NewRecord;

use crate::delivery::Append;

/// An append that has not been sent.
pub(crate) type Waiting = (Vec<NewRecord>, Arc<Append>);

/// What waits, by partition; a partition is in it from [`Self::begin`] to the end of [`Self::end`].
#[derive(Default)]
pub(crate) struct Late {
    /// Spares the lock while nothing waits, which is nearly always.
    any: AtomicBool,
    queues: Mutex<HashMap<TopicPartition, Vec<Waiting>>>,
}

impl Late {
    fn queues(&self) -> MutexGuard<'_, HashMap<TopicPartition, Vec<Waiting>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the append back unless its partition is being looked up; then it waits.
    pub(crate) fn join(&self, append: Waiting) -> Option<Waiting> {
        if !self.any.load(Ordering::Acquire) {
            return Some(append);
        }
        match self.queues().get_mut(append.1.to()) {
            Some(queue) => {
                queue.push(append);
                None
            }
            None => Some(append),
        }
    }

    /// The look-up of this append's partition begins.
    pub(crate) fn begin(&self, append: Waiting) {
        self.any.store(true, Ordering::Release);
        self.queues().entry(append.1.to().clone()).or_default().push(append);
    }

    /// The look-up is over: sends what waits, in order, before anything newer can be.
    pub(crate) fn end(&self, partition: &TopicPartition, mut send: impl FnMut(Waiting)) {
        let mut queues = self.queues();
        for waiting in queues.remove(partition).into_iter().flatten() {
            send(waiting);
        }
        self.any.store(!queues.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::channel::oneshot;
    use tidegate_protocol::address::TopicName;

    fn waiting(partition: u32, value: u8) -> Waiting {
        let to = TopicName::new("t").unwrap().partition(partition);
        let record = NewRecord { value: Some(Bytes::from(vec![value])), ..NewRecord::default() };
        (vec![record], Arc::new(Append::new(to, 1, 1, 1, Arc::default(), oneshot::channel().0)))
    }

    #[test]
    fn what_follows_waits_behind_and_others_do_not() {
        let late = Late::default();
        assert!(late.join(waiting(0, 0)).is_some());
        late.begin(waiting(0, 1));
        assert!(late.join(waiting(0, 2)).is_none());
        assert!(late.join(waiting(1, 9)).is_some());
        let mut sent = Vec::new();
        late.end(waiting(0, 0).1.to(), |(records, _)| sent.push(records[0].value.clone().unwrap()[0]));
        assert_eq!(sent, [1, 2]);
        assert!(late.join(waiting(0, 3)).is_some());
        assert!(!late.any.load(Ordering::Acquire));
    }
}
