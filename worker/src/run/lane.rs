//! The worker's lane, opened again whenever it is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::WorkerId;
use tidegate_spine::inbox::Inbox;
use tidegate_spine::{Record, Spine, SpineError};
use tokio::time::Sleep;
use tracing::{info, warn};

use super::backoff::Backoff;

enum State {
    Open(Inbox),
    Opening(BoxFuture<'static, Result<Inbox, SpineError>>),
    Waiting(Pin<Box<Sleep>>),
}

/// What the lane brought.
pub(super) enum Event {
    /// Records for this worker are in the buffer.
    Records,
    /// It is open on a new place: a new incarnation begins.
    Opened {
        /// The lane.
        lane: u32,
        /// From where it is read.
        position: u64,
    },
}

pub(super) struct Lane {
    spine: Arc<dyn Spine>,
    topic: TopicName,
    worker: WorkerId,
    state: State,
    backoff: Backoff,
    skipped: u64,
}

impl Lane {
    /// An open lane.
    pub(super) fn new(spine: Arc<dyn Spine>, topic: TopicName, worker: WorkerId, inbox: Inbox) -> Self {
        Self { spine, topic, worker, state: State::Open(inbox), backoff: Backoff::new(), skipped: 0 }
    }

    /// Records of others met since the last call.
    pub(super) fn take_skipped(&mut self) -> u64 {
        let total = match &self.state {
            State::Open(inbox) => inbox.skipped(),
            State::Opening(_) | State::Waiting(_) => self.skipped,
        };
        total - std::mem::replace(&mut self.skipped, total).min(total)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Vec<Record>) -> Poll<Event> {
        loop {
            match &mut self.state {
                State::Open(inbox) => match inbox.poll_receive(cx, into) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {
                        self.backoff.reset();
                        return Poll::Ready(Event::Records);
                    }
                    Poll::Ready(Err(error)) => {
                        warn!(worker = %self.worker, topic = %self.topic, %error, "lane lost; opening it anew");
                        self.state = State::Waiting(Box::pin(self.backoff.pause()));
                    }
                },
                State::Opening(opening) => match opening.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(inbox)) => {
                        let (lane, position) = inbox.opened_at();
                        let event = Event::Opened { lane: lane.partition, position };
                        info!(worker = %self.worker, %lane, position, "lane open");
                        self.skipped = 0;
                        self.state = State::Open(inbox);
                        return Poll::Ready(event);
                    }
                    Poll::Ready(Err(error)) => {
                        warn!(worker = %self.worker, topic = %self.topic, %error, "lane could not be opened; trying again");
                        self.state = State::Waiting(Box::pin(self.backoff.pause()));
                    }
                },
                State::Waiting(pause) => match pause.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {
                        let opening = open(Arc::clone(&self.spine), self.topic.clone(), self.worker.clone());
                        self.state = State::Opening(Box::pin(opening));
                    }
                },
            }
        }
    }
}

/// Opens the worker's inbox.
pub(super) async fn open(spine: Arc<dyn Spine>, topic: TopicName, worker: WorkerId) -> Result<Inbox, SpineError> {
    Inbox::open(&*spine, &topic, worker.as_str()).await
}
