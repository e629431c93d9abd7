//! From librdkafka's report on each record to the landing of an append.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use futures::channel::oneshot;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{AppendError, Landed};

use crate::failure;
use crate::flow::{Flow, Waiting};
use crate::producer::Sender;
use crate::watch::{Watch, Watched};

/// One append on its way; shared by the reports on its records.
pub(crate) struct Append {
    to: TopicPartition,
    bytes: usize,
    largest: usize,
    in_flight: Arc<AtomicUsize>,
    flow: Arc<Flow>,
    state: Mutex<State>,
}

struct State {
    missing: usize,
    landed: Option<Landed>,
    error: Option<AppendError>,
    done: Option<oneshot::Sender<Result<Landed, AppendError>>>,
}

impl Append {
    /// `bytes` have been added to `in_flight` and leave it when the last of `records` is reported, as the append
    /// itself leaves `flow`.
    pub(crate) fn new(
        to: TopicPartition,
        records: usize,
        bytes: usize,
        largest: usize,
        in_flight: Arc<AtomicUsize>,
        flow: Arc<Flow>,
        done: oneshot::Sender<Result<Landed, AppendError>>,
    ) -> Self {
        let state = State { missing: records, landed: None, error: None, done: Some(done) };
        Self { to, bytes, largest, in_flight, flow, state: Mutex::new(state) }
    }

    pub(crate) fn to(&self) -> &TopicPartition {
        &self.to
    }

    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the largest record.
    pub(crate) fn largest(&self) -> usize {
        self.largest
    }

    /// The fate of `records` more is known. When it was the last, returns what is to be sent to the partition next.
    #[must_use]
    pub(crate) fn report(&self, records: usize, outcome: Result<Offset, AppendError>) -> Vec<Waiting> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(offset) => {
                let (first, last) =
                    state.landed.map_or((offset, offset), |l| (l.first.min(offset), l.last.max(offset)));
                state.landed = Some(Landed { first, last });
            }
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        state.missing = state.missing.saturating_sub(records);
        if state.missing > 0 {
            return Vec::new();
        }
        let Some(done) = state.done.take() else { return Vec::new() };
        let result = match (state.error.take(), state.landed) {
            (None, Some(landed)) => Ok(landed),
            (Some(error), _) => Err(error),
            (None, None) => Err(AppendError::Fatal { reason: "an append ended without a report".into() }),
        };
        drop(state);
        // Before anyone is told, so that who is told finds room.
        self.in_flight.fetch_sub(self.bytes, Ordering::AcqRel);
        let next = self.flow.ended();
        let _ = done.send(result);
        next
    }
}

/// Takes librdkafka's reports.
pub(crate) struct Reports {
    watch: Watch,
    /// Set once the producer is up; weak, since the sender owns the client that owns this.
    sender: OnceLock<Weak<Sender>>,
}

impl Reports {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, sender: OnceLock::new() }
    }

    /// Who sends the next wave of a partition.
    pub(crate) fn send_by(&self, sender: Weak<Sender>) {
        let _ = self.sender.set(sender);
    }
}

impl Watched for Reports {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.watch.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Append>;

    fn delivery(&self, result: &DeliveryResult<'_>, append: Arc<Append>) {
        let outcome = match result {
            // A duplicate the broker no longer remembers has landed, but nobody knows where.
            Ok(message) => Offset::try_from(message.offset()).map_err(|_| AppendError::Fatal {
                reason: format!("a record landed in `{}` at an offset the broker no longer tells", append.to),
            }),
            Err((error, _)) => {
                let code = failure::code(error);
                let dropped = matches!(code, Code::PurgeQueue | Code::PurgeInflight);
                let reason = if dropped { "the producer was dropped".to_owned() } else { error.to_string() };
                Err(failure::append(code, reason, &append.to, append.largest))
            }
        };
        let next = append.report(1, outcome);
        if next.is_empty() {
            return;
        }
        match self.sender.get().and_then(Weak::upgrade) {
            Some(sender) => Sender::send(&sender, append.flow(), next),
            None => fail(next),
        }
    }
}

/// Ends all of these, and what waits behind them: the producer is gone.
pub(crate) fn fail(mut waiting: Vec<Waiting>) {
    while let Some((records, append)) = waiting.pop() {
        let error = AppendError::Fatal { reason: "the producer was dropped".into() };
        waiting.extend(append.report(records.len(), Err(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tidegate_protocol::address::TopicName;

    fn append(records: usize) -> (Append, Arc<AtomicUsize>, oneshot::Receiver<Result<Landed, AppendError>>) {
        let to = TopicName::new("t").unwrap().partition(0);
        let (in_flight, (done, answer)) = (Arc::new(AtomicUsize::new(10)), oneshot::channel());
        (Append::new(to, records, 10, 9, Arc::clone(&in_flight), Arc::default(), done), in_flight, answer)
    }

    #[test]
    fn it_lands_with_its_last_record() {
        let (append, in_flight, mut answer) = append(3);
        for offset in [8, 7] {
            let _ = append.report(1, Ok(offset));
            assert!((&mut answer).now_or_never().is_none());
            assert_eq!(in_flight.load(Ordering::Acquire), 10);
        }
        let _ = append.report(1, Ok(11));
        assert_eq!(in_flight.load(Ordering::Acquire), 0);
        assert_eq!(answer.now_or_never(), Some(Ok(Ok(Landed { first: 7, last: 11 }))));
    }

    #[test]
    fn one_failure_is_the_appends_but_only_when_all_are_known() {
        let (append, _, mut answer) = append(4);
        let _ = append.report(1, Ok(1));
        let _ = append.report(2, Err(AppendError::Fatal { reason: "first".into() }));
        assert!((&mut answer).now_or_never().is_none());
        let _ = append.report(1, Err(AppendError::Fatal { reason: "second".into() }));
        assert_eq!(answer.now_or_never(), Some(Ok(Err(AppendError::Fatal { reason: "first".into() }))));
    }
}
