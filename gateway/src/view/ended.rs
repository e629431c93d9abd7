//! Waiting for a job to change or to end: called up by the change that does it, never by looking again, and by no other job's.

use std::time::Duration;

use tidegate_protocol::ids::JobId;
use tidegate_protocol::job::SourcePosition;
use tokio::sync::oneshot;

use super::shelf::{Shelf, Waiting};
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
                let by = match target(key, shelf.find(key)) {
                    Ok(position) => Waiting::Position(position),
                    Err(id) => Waiting::Id(id),
                };
                self.call(&mut shelf, by)?
            };
            let mut call = call;
            if tokio::time::timeout_at(deadline, &mut call.call).await.is_err() {
                return Ok(self.get(key));
            }
        }
    }

    /// The story of a job as it stands, and a call at its next change: nothing that happens in between is missed.
    ///
    /// # Errors
    /// [`TooManyWait`].
    pub(crate) fn followed(&self, key: &JobKey) -> Result<(Option<Story>, Call<'_>), TooManyWait> {
        let mut shelf = self.shelf();
        let story = shelf.find(key).cloned();
        let by = match target(key, story.as_ref()) {
            Ok(position) => Waiting::Change(position),
            Err(id) => Waiting::ChangeOf(id),
        };
        let call = self.call(&mut shelf, by)?;
        Ok((story, call))
    }

    fn call(&self, shelf: &mut Shelf, by: Waiting) -> Result<Call<'_>, TooManyWait> {
        if shelf.waiting >= self.bounds.waiters {
            return Err(TooManyWait { limit: self.bounds.waiters });
        }
        let (called, call) = oneshot::channel();
        let number = shelf.next_waiter;
        shelf.next_waiter += 1;
        shelf.waiting += 1;
        shelf.waiters.entry(by.clone()).or_default().push((number, called));
        metrics::gauge!(crate::metrics::WAITERS).increment(1.0);
        Ok(Call { view: self, by, number, call })
    }
}

/// Whose change is waited for: the record that stands for `key` when known, else what was asked for.
fn target(key: &JobKey, story: Option<&Story>) -> Result<SourcePosition, JobId> {
    match (story, key) {
        (Some(story), _) => Ok(story.source.clone()),
        (None, JobKey::Position(position)) => Ok(position.clone()),
        (None, JobKey::Id { id, .. }) => Err(id.clone()),
    }
}

/// A waiting request; leaves nothing behind when it is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    view: &'a View,
    by: Waiting,
    number: u64,
    call: oneshot::Receiver<()>,
}

impl Call<'_> {
    /// Resolves when it is called.
    pub(crate) async fn comes(&mut self) {
        // Without a caller there is nothing more to wait for.
        let _gone = (&mut self.call).await;
    }
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
