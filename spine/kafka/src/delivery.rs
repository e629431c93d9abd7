//! From librdkafka's report on each record to the landing of an append.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{AppendError, Landed};

use crate::failure;
use crate::watch::Watch;

/// One append on its way; shared by the reports on its records.
pub(crate) struct Append {
    to: TopicPartition,
    bytes: usize,
    largest: usize,
    in_flight: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    missing: usize,
    landed: Option<Landed>,
    error: Option<AppendError>,
    done: Option<oneshot::Sender<Result<Landed, AppendError>>>,
}

impl Append {
    /// `bytes` have been added to `in_flight` and leave it when the last of `records` is reported.
    pub(crate) fn new(
        to: TopicPartition,
        records: usize,
        bytes: usize,
        largest: usize,
        in_flight: Arc<AtomicUsize>,
        done: oneshot::Sender<Result<Landed, AppendError>>,
    ) -> Self {
        let state = State { missing: records, landed: None, error: None, done: Some(done) };
        Self { to, bytes, largest, in_flight, state: Mutex::new(state) }
    }

    pub(crate) fn to(&self) -> &TopicPartition {
        &self.to
    }

    /// Bytes of the largest record.
    pub(crate) fn largest(&self) -> usize {
        self.largest
    }

    /// The fate of `records` more is known.
    pub(crate) fn report(&self, records: usize, outcome: Result<Offset, AppendError>) {
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
            return;
        }
        let Some(done) = state.done.take() else { return };
        let result = match (state.error.take(), state.landed) {
            (None, Some(landed)) => Ok(landed),
            (Some(error), _) => Err(error),
            (None, None) => Err(AppendError::Fatal { reason: "an append ended without a report".into() }),
        };
        drop(state);
        // Before anyone is told, so that who is told finds room.
        self.in_flight.fetch_sub(self.bytes, Ordering::AcqRel);
        let _ = done.send(result);
    }
}

/// Takes librdkafka's reports.
pub(crate) struct Reports(Watch);

impl Reports {
    pub(crate) fn new(watch: Watch) -> Self {
        Self(watch)
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.0
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
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
        append.report(1, outcome);
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
        (Append::new(to, records, 10, 9, Arc::clone(&in_flight), done), in_flight, answer)
    }

    #[test]
    fn it_lands_with_its_last_record() {
        let (append, in_flight, mut answer) = append(3);
        for offset in [8, 7] {
            append.report(1, Ok(offset));
            assert!((&mut answer).now_or_never().is_none());
            assert_eq!(in_flight.load(Ordering::Acquire), 10);
        }
        append.report(1, Ok(11));
        assert_eq!(in_flight.load(Ordering::Acquire), 0);
        assert_eq!(answer.now_or_never(), Some(Ok(Ok(Landed { first: 7, last: 11 }))));
    }

    #[test]
    fn one_failure_is_the_appends_but_only_when_all_are_known() {
        let (append, _, mut answer) = append(4);
        append.report(1, Ok(1));
        append.report(2, Err(AppendError::Fatal { reason: "first".into() }));
        assert!((&mut answer).now_or_never().is_none());
        append.report(1, Err(AppendError::Fatal { reason: "second".into() }));
        assert_eq!(answer.now_or_never(), Some(Ok(Err(AppendError::Fatal { reason: "first".into() }))));
    }
}
