//! Appending: one librdkafka producer per [`Producer`], a thread that takes its reports, no call that blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{AppendError, Landed, Landing, NewRecord, Producer, ProducerOptions};

use crate::KafkaOptions;
use crate::asking::number;
use crate::delivery::{Append, Reports};
use crate::failure::{self, Failure};
use crate::late::Late;
use crate::limits::{self, Limits};
use crate::settings;
use crate::threads::Threads;
use crate::watch::{self, Watch};

/// [`Producer`] on Kafka.
pub(crate) struct KafkaProducer {
    client: Arc<BaseProducer<Reports>>,
    stop: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: usize,
    limits: Arc<Limits>,
    late: Arc<Late>,
    threads: Threads,
    request_timeout: Duration,
}

type Answer = oneshot::Receiver<Result<Landed, AppendError>>;

impl KafkaProducer {
    /// Blocks until a broker has answered.
    pub(crate) fn start(
        options: &KafkaOptions,
        producer: &ProducerOptions,
        limits: Arc<Limits>,
        threads: Threads,
    ) -> Result<Self, Failure> {
        let config = settings::producing(options, &producer.name);
        let client = BaseProducer::from_config_and_context(&config, Reports::new(Watch::new(&producer.name)))
            .map_err(|error| Failure::from_client(&error, None))?;
        let client = Arc::new(client);
        watch::reached(client.client(), client.context().watch(), options.request_timeout, || {
            client.poll(Duration::ZERO);
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&client), Arc::clone(&stop));
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || take_reports(&polled, &stopped))
            .map_err(|error| Failure::Fatal(format!("no thread for a producer: {error}")))?;
        Ok(Self {
            client,
            stop,
            in_flight: Arc::default(),
            most_in_flight: producer.max_in_flight_bytes,
            limits,
            late: Arc::default(),
            threads,
            request_timeout: options.request_timeout,
        })
    }

    fn take(&self, to: &TopicPartition, records: Vec<NewRecord>) -> Result<Answer, AppendError> {
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
        let (done, answer) = oneshot::channel();
        let append = Append::new(to.clone(), records.len(), bytes, largest, Arc::clone(&self.in_flight), done);
        let append = Arc::new(append);
        // What goes to a partition that is being looked up waits behind what is there already.
        if let Some((records, append)) = self.late.join((records, append)) {
            match send_all(&self.client, &records, &append) {
                Ok(()) => {}
                Err((0, AppendError::UnknownTopic { .. })) => self.look_again(records, append),
                Err((sent, error)) => append.report(records.len() - sent, Err(error)),
            }
        }
        Ok(answer)
    }

    /// What this client thinks does not exist may have been made since (a topic that grew): asks the broker, then
    /// sends, or fails for good.
    fn look_again(&self, records: Vec<NewRecord>, append: Arc<Append>) {
        let to = append.to().clone();
        self.late.begin((records, append));
        let (client, late, timeout) = (Arc::clone(&self.client), Arc::clone(&self.late), self.request_timeout);
        self.threads.detach(move || {
            if let Err(error) = client.client().fetch_metadata(Some(to.topic.as_str()), timeout) {
                tracing::debug!(%to, %error, "looking for a partition");
            }
            late.end(&to, |(records, append)| {
                if let Err((sent, error)) = send_all(&client, &records, &append) {
                    append.report(records.len() - sent, Err(error));
                }
            });
        });
    }
}

/// Hands the records to librdkafka, or says how many it took before it refused.
fn send_all(
    client: &BaseProducer<Reports>,
    records: &[NewRecord],
    append: &Arc<Append>,
) -> Result<(), (usize, AppendError)> {
    let to = append.to();
    let partition = number(to);
    for (sent, record) in records.iter().enumerate() {
        let headers = (!record.headers.is_empty()).then(|| {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            record.headers.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) }))
        });
        let message = BaseRecord::<'_, [u8], [u8], _> {
            topic: to.topic.as_str(),
            partition: Some(partition),
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers,
            delivery_opaque: Arc::clone(append),
        };
        if let Err((error, _)) = client.send(message) {
            let reason = client.client().fatal_error().map_or_else(|| error.to_string(), |(_, words)| words);
            return Err((sent, failure::append(failure::code(&error), reason, to, append.largest())));
        }
    }
    Ok(())
}

impl Producer for KafkaProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        match self.take(to, records) {
            Ok(answer) => answer
                .map(|result| {
                    result.unwrap_or_else(|_| Err(AppendError::Fatal { reason: "the producer was dropped".into() }))
                })
                .boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let client = Arc::clone(&self.client);
        // Purging waits for librdkafka's own threads, so not here; what is purged reaches its landings as an error.
        self.threads.detach(move || client.purge(PurgeConfig::default().queue().inflight()));
    }
}

/// Wakes with every report; the period only bounds how late a dropped producer's thread ends.
fn take_reports(client: &BaseProducer<Reports>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        client.poll(Duration::from_secs(1));
    }
}
