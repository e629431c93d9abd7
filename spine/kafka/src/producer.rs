//! Appending: one librdkafka producer per [`Producer`], whose reports are taken by whoever awaits a landing; no call that blocks.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{AppendError, Gathered, Headers, Landed, Landing, NewRecord, Producer, ProducerOptions};

use crate::asking::number;
use crate::connection::Connection;
use crate::delivery::{self, Append, Reports};
use crate::failure::{self, Failure};
use crate::flow::{Flow, Waiting};
use crate::gate::{self, Held};
use crate::limits::{self, Limits};
use crate::reports::{Listener, ReportQueue};
use crate::settings;
use crate::threads::Threads;
use crate::watch::{self, Watch, Watched};

/// How long a dropped producer's last reports may take; they are there at once.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// [`Producer`] on Kafka.
pub(crate) struct KafkaProducer {
    sender: Arc<Sender>,
    flows: HashMap<TopicPartition, Arc<Flow>>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: usize,
    limits: Arc<Limits>,
}

/// Hands waves of appends to librdkafka: the first of a partition from whoever appends, further ones from whoever takes
/// the reports.
pub(crate) struct Sender {
    client: Arc<BaseProducer<Reports>>,
    reports: ReportQueue,
    stop: AtomicBool,
    threads: Threads,
    gathered: Gathered,
    request_timeout: Duration,
}

type Answer = oneshot::Receiver<Result<Landed, AppendError>>;

impl KafkaProducer {
    /// Blocks until a broker has answered.
    pub(crate) fn start(connection: &Connection, producer: &ProducerOptions) -> Result<Self, Failure> {
        let (options, limits) = (&connection.options, Arc::clone(&connection.limits));
        let threads = connection.threads.clone();
        let config = settings::producing(options, &producer.name);
        let client = BaseProducer::from_config_and_context(&config, Reports::new(Watch::new(&producer.name)))
            .map_err(|error| Failure::from_client(&error, None))?;
        watch::reached(client.client(), client.context().watch(), options.request_timeout, || {
            client.poll(Duration::ZERO);
        })?;
        let (client, request_timeout) = (Arc::new(client), options.request_timeout);
        let weak: Weak<BaseProducer<Reports>> = Arc::downgrade(&client);
        connection.keeper.reconnect(weak, options);
        let reports = ReportQueue::of(&client).ok_or_else(|| Failure::Fatal("a producer has no queue".into()))?;
        let sender = Arc::new(Sender {
            client,
            reports,
            stop: AtomicBool::new(false),
            threads,
            gathered: producer.gathered,
            request_timeout,
        });
        sender.client.context().send_by(Arc::downgrade(&sender));
        let attended = Arc::clone(&sender);
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || attended.reports.attend(&attended.stop))
            .map_err(|error| Failure::Fatal(format!("no thread for a producer: {error}")))?;
        let (flows, in_flight) = (HashMap::new(), Arc::default());
        Ok(Self { sender, flows, in_flight, most_in_flight: producer.max_in_flight_bytes, limits })
    }

    fn take(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Result<Answer, AppendError> {
        let Some(largest) = records.iter().map(NewRecord::bytes).max() else {
            return Err(AppendError::Refused { to: to.clone(), reason: "there is no record in it".into() });
        };
        let limit = self.limits.of(&to.topic).min(settings::LARGEST_RECORD / 2);
        if records.iter().any(|record| limits::weight(record) > limit) {
            return Err(AppendError::TooLarge { to: to.clone(), bytes: largest, limit: Some(limit) });
        }
        let bytes = records.iter().map(NewRecord::bytes).sum();
        // Only this handle adds, so nothing can come between the look and the addition.
        if self.in_flight.load(Ordering::Acquire).saturating_add(bytes) > self.most_in_flight {
            return Err(AppendError::Full { limit: self.most_in_flight });
        }
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
        let flow = match self.flows.get(to) {
            Some(flow) => Arc::clone(flow),
            None => Arc::clone(self.flows.entry(to.clone()).or_default()),
        };
        let (done, answer) = oneshot::channel();
        let in_flight = Arc::clone(&self.in_flight);
        let append = Append::new(to.clone(), records.len(), bytes, largest, in_flight, Arc::clone(&flow), done);
        let now = flow.enter((records, Arc::new(append)));
        Sender::send(&self.sender, &flow, now);
        Ok(answer)
    }
}

impl Sender {
    /// Hands a wave of a partition over.
    pub(crate) fn send(self: &Arc<Self>, flow: &Arc<Flow>, wave: Vec<Waiting>) {
        if wave.is_empty() {
            return;
        }
        let mut wave: VecDeque<Waiting> = wave.into();
        let held = self.held(&wave);
        while let Some((records, append)) = wave.pop_front() {
            if self.stop.load(Ordering::Acquire) {
                wave.push_front((records, append));
                delivery::fail(wave.into());
                break;
            }
            match self.send_one(&records, &append) {
                Ok(()) => {}
                Err((0, AppendError::UnknownTopic { .. })) => {
                    wave.push_front((records, append));
                    return self.look_again(flow, wave);
                }
                Err((sent, error)) => wave.extend(self.refuse(&append, records.len() - sent, error)),
            }
        }
        drop(held);
        flow.handed_over();
    }

    /// Holds the partition of a large wave back that is to go as a whole.
    fn held(&self, wave: &VecDeque<Waiting>) -> Option<Held<'_>> {
        let (_, append) = wave.front().filter(|_| self.gathered == Gathered::Whole)?;
        let records: usize = wave.iter().map(|(records, _)| records.len()).sum();
        (records >= gate::LARGE).then(|| Held::back(&self.client, append.to()))
    }

    /// Ends an append that librdkafka did not take. What may follow then (nothing else is under way) is handed over
    /// by who is handing over now.
    fn refuse(&self, append: &Append, records: usize, error: AppendError) -> Vec<Waiting> {
        let next = append.report(records, Err(error));
        if !next.is_empty() {
            append.flow().handed_over();
        }
        next
    }

    /// What this client thinks does not exist may have been made since (a topic that grew): asks the broker, then
    /// sends, or fails for good. What follows to the same partition waits behind it.
    fn look_again(self: &Arc<Self>, flow: &Arc<Flow>, mut wave: VecDeque<Waiting>) {
        let (sender, flow) = (Arc::clone(self), Arc::clone(flow));
        self.threads.detach(move || {
            let Some((records, append)) = wave.pop_front() else { return };
            let topic = append.to().topic.as_str();
            if let Err(error) = sender.client.client().fetch_metadata(Some(topic), sender.request_timeout) {
                tracing::debug!(topic, %error, "looking for a partition");
            }
            if let Err((sent, error)) = sender.send_one(&records, &append) {
                wave.extend(sender.refuse(&append, records.len() - sent, error));
            }
            if wave.is_empty() { flow.handed_over() } else { sender.send(&flow, wave.into()) }
        });
    }

    /// Hands an append to librdkafka, or says how many records it took before it refused.
    fn send_one(&self, records: &[NewRecord], append: &Arc<Append>) -> Result<(), (usize, AppendError)> {
        let to = append.to();
        let partition = number(to);
        // Headers first: librdkafka's thread wakes with the first record and sends what is there by then.
        let headers: Vec<_> = records.iter().map(|record| headers(&record.headers)).collect();
        for (sent, (record, headers)) in records.iter().zip(headers).enumerate() {
            let message = BaseRecord::<'_, [u8], [u8], _> {
                topic: to.topic.as_str(),
                partition: Some(partition),
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: None,
                headers,
                delivery_opaque: Arc::clone(append),
            };
            if let Err((error, _)) = self.client.send(message) {
                let fatal = self.client.client().fatal_error();
                let reason = fatal.map_or_else(|| error.to_string(), |(_, words)| words);
                return Err((sent, failure::append(failure::code(&error), reason, to, append.largest())));
            }
        }
        Ok(())
    }
}

/// An append that has been handed over; takes reports, its own and others', while it is awaited.
struct Awaited {
    answer: Answer,
    /// Weak, so that a landing that nobody lets go of does not keep the client.
    sender: Weak<Sender>,
    listener: Listener,
}

impl Future for Awaited {
    type Output = Result<Landed, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sender = self.sender.upgrade();
        if let Some(sender) = &sender {
            sender.reports.take();
            if sender.reports.listen(&mut self.listener, cx) {
                sender.reports.take();
            }
        }
        let Poll::Ready(answer) = self.answer.poll_unpin(cx) else { return Poll::Pending };
        if let Some(sender) = &sender {
            sender.reports.leave(&mut self.listener);
        }
        let gone = || Err(AppendError::Fatal { reason: "the producer was dropped".into() });
        Poll::Ready(answer.unwrap_or_else(|_| gone()))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.upgrade() {
            sender.reports.leave(&mut self.listener);
        }
    }
}

fn headers(headers: &Headers) -> Option<OwnedHeaders> {
    (!headers.is_empty()).then(|| {
        let all = OwnedHeaders::new_with_capacity(headers.len());
        headers.iter().fold(all, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) }))
    })
}

impl Producer for KafkaProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        match self.take(to, records) {
            Ok(answer) => {
                Awaited { answer, sender: Arc::downgrade(&self.sender), listener: Listener::default() }.boxed()
            }
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.sender.stop.store(true, Ordering::Release);
        self.sender.reports.dismiss();
        let sender = Arc::clone(&self.sender);
        // Purging waits for librdkafka's own threads, so not here; what is purged reaches its landings as an error.
        self.sender.threads.detach(move || {
            sender.client.purge(PurgeConfig::default().queue().inflight());
            if let Err(error) = sender.client.flush(LAST_REPORTS) {
                tracing::debug!(%error, "a dropped producer has told of all its records, but for some");
            }
        });
    }
}
