//! The bare Kafka client: writes and reads anything, with none of our code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Longest wait for the broker to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker on loopback that was started for the tests.
#[derive(Debug, Clone)]
pub struct Broker {
    /// `host:port`.
    pub address: String,
    /// `host:port` of the listener that wants a user and a password.
    pub sasl: Option<String>,
    /// The broker's folder (`sasl_user`, `sasl_password`).
    pub data: Option<PathBuf>,
}

/// A record as it stands in a partition.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// When the broker appended it, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Met {
    /// The text of the last header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// A header that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a null value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Broker {
    /// The one that `deploy/ci/with-kafka` names.
    ///
    /// # Errors
    /// When it names none: such a test never skips.
    pub fn from_environment() -> anyhow::Result<Self> {
        let address = std::env::var("TIDEGATE_TEST_KAFKA").context(
            "TIDEGATE_TEST_KAFKA is not set: this needs a real Kafka; run it as `deploy/ci/with-kafka COMMAND`",
        )?;
        let sasl = std::env::var("TIDEGATE_TEST_KAFKA_SASL").ok();
        let data = std::env::var_os("TIDEGATE_TEST_KAFKA_DATA").map(PathBuf::from);
        Ok(Self { address, sasl, data })
    }

    /// One of its own in that folder, on a free port, with further `server.properties`; [`Self::control`] ends it (`down`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(data: PathBuf, settings: &[&str]) -> anyhow::Result<Self> {
        let mut more = vec!["--port", "0"];
        more.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        kafka("up", &data, &more)?;
        let port = std::fs::read_to_string(data.join("port")).context("read the broker's port")?;
        Ok(Self { address: format!("127.0.0.1:{}", port.trim()), sasl: None, data: Some(data) })
    }

    /// `deploy/local/kafka COMMAND` for this broker: `up` as it was, `down`, `stop`, `cont`.
    ///
    /// # Errors
    /// When it is not known where the broker lives, or the command fails.
    pub fn control(&self, command: &str) -> anyhow::Result<()> {
        let data = self.data.as_ref().context("TIDEGATE_TEST_KAFKA_DATA does not say where the broker lives")?;
        kafka(command, data, if command == "up" { &["--sasl", "--tls"] } else { &[] })
    }

    /// The spine URL of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("kafka://{}", self.address)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn consumer(&self) -> anyhow::Result<BaseConsumer> {
        self.config()
            .set("group.id", "tidegate-outside-ledger")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .context("make a Kafka consumer")
    }

    /// Topics that begin with `prefix`, with their partitions.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn topics(&self, prefix: &str) -> anyhow::Result<BTreeMap<String, u32>> {
        let metadata = self.consumer()?.fetch_metadata(None, PATIENCE).context("ask the broker for its topics")?;
        let named = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix));
        named.map(|topic| Ok((topic.name().to_owned(), u32::try_from(topic.partitions().len())?))).collect()
    }

    /// First and next offset of a partition.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn ends(&self, topic: &str, partition: u32) -> anyhow::Result<(u64, u64)> {
        let ends = self.consumer()?.fetch_watermarks(topic, i32::try_from(partition)?, PATIENCE);
        let (low, high) = ends.with_context(|| format!("ask for the ends of {topic}/{partition}"))?;
        Ok((u64::try_from(low)?, u64::try_from(high)?))
    }

    /// Reads all partitions of these topics from offset `from` of each on.
    ///
    /// # Errors
    /// When the client refuses.
    pub fn tail(&self, topics: &BTreeMap<String, u32>) -> anyhow::Result<Tail> {
        let partitions = |(topic, count): (&String, &u32)| (0..*count).map(|p| (topic.clone(), p)).collect::<Vec<_>>();
        let next: BTreeMap<_, _> = topics.iter().flat_map(partitions).map(|partition| (partition, None)).collect();
        Ok(Tail { broker: self.clone(), consumer: self.reading(&next)?, next })
    }

    /// Reads one partition from its start on.
    ///
    /// # Errors
    /// When the client refuses.
    pub fn tail_of(&self, topic: &str, partition: u32) -> anyhow::Result<Tail> {
        let next = BTreeMap::from([((topic.to_owned(), partition), None)]);
        Ok(Tail { broker: self.clone(), consumer: self.reading(&next)?, next })
    }

    /// Reads all partitions of these topics from their ends as they are now on.
    ///
    /// # Errors
    /// When the broker does not answer, or the client refuses.
    pub fn tail_from_the_ends(&self, topics: &BTreeMap<String, u32>) -> anyhow::Result<Tail> {
        let mut next = BTreeMap::new();
        for (topic, count) in topics {
            for partition in 0..*count {
                next.insert((topic.clone(), partition), Some(self.ends(topic, partition)?.1));
            }
        }
        Ok(Tail { broker: self.clone(), consumer: self.reading(&next)?, next })
    }

    /// A consumer that goes on at these offsets, or at the beginning.
    fn reading(&self, next: &BTreeMap<(String, u32), Option<u64>>) -> anyhow::Result<BaseConsumer> {
        let consumer = self.consumer()?;
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in next {
            let from = next.map_or(Ok(Offset::Beginning), |next| i64::try_from(next).map(Offset::Offset))?;
            list.add_partition_offset(topic, i32::try_from(*partition)?, from)?;
        }
        consumer.assign(&list).context("assign partitions")?;
        Ok(consumer)
    }

    /// Everything in a topic as it is now.
    ///
    /// # Errors
    /// When it cannot be read to its present end.
    pub fn whole(&self, topic: &str) -> anyhow::Result<Vec<Met>> {
        let partitions = *self.topics(topic)?.get(topic).with_context(|| format!("topic `{topic}` does not exist"))?;
        let mut tail = self.tail(&BTreeMap::from([(topic.to_owned(), partitions)]))?;
        let mut met = Vec::new();
        tail.to_the_ends(&mut |record| met.push(record))?;
        Ok(met)
    }

    /// A writer.
    ///
    /// # Errors
    /// When the client refuses.
    pub fn writer(&self) -> anyhow::Result<Writer> {
        let (told, landed) = mpsc::channel();
        let producer: ThreadedProducer<Told> = self
            .config()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            .set("message.max.bytes", "67108864")
            .create_with_context(Told(told))
            .context("make a Kafka producer")?;
        Ok(Writer { producer, landed })
    }
}

/// `deploy/local/kafka` for the broker in a folder.
fn kafka(command: &str, data: &Path, more: &[&str]) -> anyhow::Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/kafka");
    let mut started = std::process::Command::new(script);
    started.arg(command).arg("--data").arg(data).args(more);
    let ended = started.output().with_context(|| format!("start `{script}`"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "`kafka {command}` ended with {}: {said}", ended.status);
    Ok(())
}

/// Reads partitions as they grow.
pub struct Tail {
    broker: Broker,
    consumer: BaseConsumer,
    next: BTreeMap<(String, u32), Option<u64>>,
}

impl Tail {
    /// The next record, if one comes within `patience`.
    ///
    /// # Errors
    /// When a partition cannot be read on: trimmed before it was read, or the client is unusable.
    pub fn next(&mut self, patience: Duration) -> anyhow::Result<Option<Met>> {
        let message = match self.consumer.poll(patience) {
            None => return Ok(None),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => return Ok(None),
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown))) => {
                // It may have forgotten its brokers for good (librdkafka #5301).
                self.consumer = self.broker.reading(&self.next)?;
                return Ok(None);
            }
            Some(Err(error)) => return Err(error).context("read raw records"),
        };
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
        });
        let met = Met {
            topic: message.topic().to_owned(),
            partition: u32::try_from(message.partition())?,
            offset: u64::try_from(message.offset())?,
            at_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        };
        if let Some(next) = self.next.get_mut(&(met.topic.clone(), met.partition)) {
            *next = Some(met.offset + 1);
        }
        Ok(Some(met))
    }

    /// Reads on until the ends as they are now.
    ///
    /// # Errors
    /// As [`Self::next`]; or when nothing comes for long although more is there.
    pub fn to_the_ends(&mut self, take: &mut dyn FnMut(Met)) -> anyhow::Result<()> {
        let mut ends = BTreeMap::new();
        for (topic, partition) in self.next.keys() {
            ends.insert((topic.clone(), *partition), self.broker.ends(topic, *partition)?);
        }
        let mut quiet = 0;
        loop {
            // What was trimmed away before it was read is no longer there to wait for.
            let behind = |(of, (low, high)): (&(String, u32), &(u64, u64))| {
                high > low && self.next.get(of).is_some_and(|next| next.unwrap_or(0) < *high)
            };
            let Some((topic, partition)) = ends.iter().find(|end| behind(*end)).map(|(of, _)| of) else {
                return Ok(());
            };
            match self.next(Duration::from_millis(200))? {
                Some(met) => {
                    quiet = 0;
                    take(met);
                }
                None => quiet += 1,
            }
            if quiet > 150 {
                bail!("{topic}/{partition} cannot be read to its end");
            }
        }
    }
}

struct Told(mpsc::Sender<Landed>);

/// What became of a write: its number, and partition and offset where it landed.
pub type Landed = (u64, Result<(u32, u64), String>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = Box<u64>;
    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let landed = match result {
            Ok(message) => match (u32::try_from(message.partition()), u64::try_from(message.offset())) {
                (Ok(partition), Ok(offset)) => Ok((partition, offset)),
                _ => Err("it landed nowhere".to_owned()),
            },
            Err((error, _)) => Err(error.to_string()),
        };
        // Nobody may be left to be told.
        let _ = self.0.send((*number, landed));
    }
}

/// Writes records and says where they landed.
pub struct Writer {
    producer: ThreadedProducer<Told>,
    landed: mpsc::Receiver<Landed>,
}

impl Writer {
    /// Hands a record to the client; [`Self::landed`] says its `number` when it has landed.
    ///
    /// # Errors
    /// When the client refuses it.
    pub fn hand_over(&self, number: u64, topic: &str, partition: u32, write: &Write) -> anyhow::Result<()> {
        let mut headers = OwnedHeaders::new_with_capacity(write.headers.len());
        for (key, value) in &write.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record: BaseRecord<'_, Vec<u8>, Vec<u8>, Box<u64>> =
            BaseRecord::with_opaque_to(topic, Box::new(number)).partition(i32::try_from(partition)?).headers(headers);
        if let Some(key) = &write.key {
            record = record.key(key);
        }
        if let Some(value) = &write.value {
            record = record.payload(value);
        }
        self.producer.send(record).map_err(|(error, _)| error).context("hand a record to the Kafka client")
    }

    /// What has landed since the last call.
    #[must_use]
    pub fn landed(&self) -> Vec<Landed> {
        self.landed.try_iter().collect()
    }

    /// Where each job of `kinds`, handed over under its number there, has landed since the last call: partition and offset.
    ///
    /// # Errors
    /// When one was refused, or was never handed over.
    pub fn placed<K: Copy>(&self, kinds: &[K]) -> anyhow::Result<Vec<((u32, u64), K)>> {
        let place = |(number, landed): Landed| {
            let at = landed.map_err(|reason| anyhow!("job {number} was refused by the broker: {reason}"))?;
            let kind = usize::try_from(number).ok().and_then(|number| kinds.get(number));
            Ok((at, *kind.with_context(|| format!("job {number} landed and was not sent"))?))
        };
        self.landed().into_iter().map(place).collect()
    }

    /// Writes one record and waits until it has landed; its offset.
    ///
    /// # Errors
    /// The broker's or client's refusal.
    pub fn write(&self, topic: &str, partition: u32, write: &Write) -> anyhow::Result<u64> {
        self.hand_over(0, topic, partition, write)?;
        let (_, landed) = self.landed.recv_timeout(PATIENCE).context("the record has not landed")?;
        match landed {
            Ok((_, offset)) => Ok(offset),
            Err(reason) => bail!("refused: {reason}"),
        }
    }

    /// Waits until everything handed over has landed or was refused.
    ///
    /// # Errors
    /// When that takes longer than `patience`.
    pub fn flush(&self, patience: Duration) -> anyhow::Result<()> {
        self.producer.flush(patience).context("wait until everything has landed")
    }
}
