//! Waiting for a job to end: called up by the change that ends it, never by looking again.

use std::time::Duration;

use tokio::sync::oneshot;

use super::shelf::Waiting;
use super::story::Story;
use super::{JobKey, View};

/// Too many requests wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} requests wait already; ask without `wait`, or later")]
pub struct TooManyWait {
    /// The bound.
    pub limit: usize,
}

impl View {
    /// The story of a job once it has ended, or as it stands after `wait`; `None` when it is not known then either.
    ///
    /// # Errors
    /// [`TooManyWait`].
    pub async fn ended(&self, key: &JobKey, wait: Duration) -> Result<Option<Story>, TooManyWait> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let call = {
                let mut shelf = self.shelf();
                match shelf.find(key) {
                    Some(story) if story.is_told() || wait.is_zero() => return Ok(Some(story.clone())),
                    None if wait.is_zero() => return Ok(None),
                    Some(_) | None => {}
                }
                if shelf.waiting >= self.bounds.waiters {
                    return Err(TooManyWait { limit: self.bounds.waiters });
                }
                let (called, call) = oneshot::channel();
                let number = shelf.next_waiter;
                shelf.next_waiter += 1;
                shelf.waiting += 1;
                let by = called_by(key, shelf.find(key));
                shelf.waiters.entry(by.clone()).or_default().push((number, called));
                metrics::gauge!(crate::metrics::WAITERS).increment(1.0);
                Call { view: self, by, number, call }
            };
            let mut call = call;
            if tokio::time::timeout_at(deadline, &mut call.call).await.is_err() {
                return Ok(self.get(key));
            }
        }
    }
}

/// What calls a waiter of `key` up: the record that stands for it when known, else what was asked for.
fn called_by(key: &JobKey, story: Option<&Story>) -> Waiting {
    match (story, key) {
        (Some(story), _) => Waiting::Position(story.source.clone()),
        (None, JobKey::Position(position)) => Waiting::Position(position.clone()),
        (None, JobKey::Id { id, .. }) => Waiting::Id(id.clone()),
    }
}

/// A waiting request; leaves nothing behind when it is dropped.
struct Call<'a> {
    view: &'a View,
    by: Waiting,
    number: u64,
    call: oneshot::Receiver<()>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut shelf = self.view.shelf();
        shelf.waiting = shelf.waiting.saturating_sub(1);
        if let Some(waiters) = shelf.waiters.get_mut(&self.by) {
            waiters.retain(|(number, _)| *number != self.number);
            if waiters.is_empty() {
                shelf.waiters.remove(&self.by);
            }
        }
        metrics::gauge!(crate::metrics::WAITERS).decrement(1.0);
    }
}
