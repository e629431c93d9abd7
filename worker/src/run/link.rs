//! What a worker says to one shard: its session, and the producer that carries the reports.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{
    AppendError, ErrorClass, Gathered, Landing, NewRecord, Producer, ProducerOptions, Spine, SpineError,
};
use tokio::time::Sleep;
use tracing::{error, warn};

use super::backoff::Backoff;
use crate::context::Doubt;
use crate::measures::Measures;
use crate::session::Session;

enum State {
    /// Only within a change of state.
    Changing,
    /// Nothing under way.
    Ready(Box<dyn Producer>),
    /// One append under way.
    Sending(Box<dyn Producer>, Landing),
    /// After a failure; the producer is kept if it can still be used.
    Waiting(Option<Box<dyn Producer>>, Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Box<dyn Producer>, SpineError>>),
}

pub(super) struct Link {
    pub(super) session: Session,
    /// What its jobs see of whether their leases are in doubt.
    pub(super) doubt: Doubt,
    to: TopicPartition,
    key: Bytes,
    spine: Arc<dyn Spine>,
    state: State,
    backoff: Backoff,
}

impl Link {
    pub(super) fn new(session: Session, to: TopicPartition, key: Bytes, spine: Arc<dyn Spine>) -> Self {
        let state = State::Opening(open(Arc::clone(&spine), &to));
        Self { session, doubt: Doubt::default(), to, key, spine, state, backoff: Backoff::new() }
    }

    /// Hands over what the session has to say, if nothing is under way.
    pub(super) fn send(&mut self, now: Timestamp) {
        if !self.is_ready() {
            return;
        }
        let reports = self.session.tick(now);
        if reports.is_empty() {
            return;
        }
        let records = reports.iter().filter_map(|report| encode(report, &self.key)).collect();
        if let State::Ready(mut producer) = std::mem::replace(&mut self.state, State::Changing) {
            let landing = producer.append(&self.to, records);
            self.state = State::Sending(producer, landing);
        }
    }

    /// Whether a report could be handed over now.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// `Ready` when something changed, so that `send` is worth a call.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, measures: &Measures) -> Poll<()> {
        match std::mem::replace(&mut self.state, State::Changing) {
            unchanged @ (State::Ready(_) | State::Changing) => self.state = unchanged,
            State::Sending(producer, mut landing) => match landing.poll_unpin(cx) {
                Poll::Pending => self.state = State::Sending(producer, landing),
                Poll::Ready(Ok(_)) => {
                    self.session.landed();
                    self.backoff.reset();
                    self.state = State::Ready(producer);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(failed)) => {
                    measures.append_failures.increment(1);
                    self.failed(producer, &failed);
                    return self.poll(cx, measures);
                }
            },
            State::Waiting(producer, mut pause) => match pause.poll_unpin(cx) {
                Poll::Pending => self.state = State::Waiting(producer, pause),
                Poll::Ready(()) => {
                    if let Some(producer) = producer {
                        self.state = State::Ready(producer);
                        return Poll::Ready(());
                    }
                    self.state = State::Opening(open(Arc::clone(&self.spine), &self.to));
                    return self.poll(cx, measures);
                }
            },
            State::Opening(mut opening) => match opening.poll_unpin(cx) {
                Poll::Pending => self.state = State::Opening(opening),
                Poll::Ready(Ok(producer)) => {
                    self.state = State::Ready(producer);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(error)) => {
                    warn!(to = %self.to, %error, "no producer for reports; trying again");
                    self.state = State::Waiting(None, Box::pin(self.backoff.pause()));
                    return self.poll(cx, measures);
                }
            },
        }
        Poll::Pending
    }

    fn failed(&mut self, producer: Box<dyn Producer>, failed: &AppendError) {
        if let AppendError::TooLarge { .. } = failed
            && self.session.too_large(&format!("the output could not be sent: {failed}")) > 0
        {
            warn!(to = %self.to, error = %failed, "a result was too large and is now a failure");
            self.state = State::Ready(producer);
            return;
        }
        self.session.not_landed();
        let keep = match failed.class() {
            ErrorClass::Fatal => None,
            ErrorClass::Wait | ErrorClass::Retry | ErrorClass::Refuse => Some(producer),
        };
        error!(to = %self.to, error = %failed, "reports could not be appended; leases end if this lasts");
        self.state = State::Waiting(keep, Box::pin(self.backoff.pause()));
    }
}

fn open(spine: Arc<dyn Spine>, to: &TopicPartition) -> BoxFuture<'static, Result<Box<dyn Producer>, SpineError>> {
    let name = format!("worker-{to}");
    let options = ProducerOptions { name, gathered: Gathered::Whole, ..ProducerOptions::default() };
    Box::pin(async move { spine.producer(options).await })
}

/// Most reports are results, and most results are no longer than this, bytes.
const REPORT: usize = 384;

fn encode(report: &Report, key: &Bytes) -> Option<NewRecord> {
    let mut value = Vec::with_capacity(REPORT);
    match serde_json::to_writer(&mut value, report) {
        Ok(()) => Some(NewRecord { key: Some(key.clone()), value: Some(value.into()), ..NewRecord::default() }),
        Err(error) => {
            error!(%error, "a report could not be written as JSON and is left out");
            None
        }
    }
}
