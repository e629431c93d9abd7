//! Questions about topics and their ends, answered by the broker each time.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset as Place, TopicPartitionList};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Ends, ErrorClass};

use crate::KafkaOptions;
use crate::failure::{self, Failure};
use crate::settings;
use crate::watch::{self, Watch};

impl ConsumerContext for Watch {}

/// The client that asks; its calls block.
pub(crate) struct Asking {
    client: Arc<BaseConsumer<Watch>>,
    timeout: Duration,
    /// Partitions of topics seen to exist, to save a question; every answer that disagrees removes its topic.
    known: RwLock<HashMap<TopicName, u32>>,
}

/// How long brokers may take to tell each other of a new topic.
const SPREAD: Duration = Duration::from_secs(1);

/// Which end of a log.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Start,
    End,
}

impl Asking {
    /// Blocks until a broker has answered, or refused.
    pub(crate) fn open(options: &KafkaOptions) -> Result<Self, Failure> {
        let config = settings::asking(options);
        let client = BaseConsumer::from_config_and_context(&config, Watch::new("ask"))
            .map_err(|error| Failure::from_client(&error, None))?;
        watch::reached(client.client(), client.context(), options.request_timeout, || {
            let _ = client.poll(Duration::ZERO);
        })?;
        Ok(Self { client: Arc::new(client), timeout: options.request_timeout, known: RwLock::default() })
    }

    pub(crate) fn client(&self) -> &Arc<BaseConsumer<Watch>> {
        &self.client
    }

    /// An answer that did not come is explained by what the client has said meanwhile.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let Failure::Unavailable(words) = failure else { return failure };
        let why = self.client.context().silence();
        if let Failure::Unavailable(why) = why { Failure::Unavailable(format!("{words}: {why}")) } else { why }
    }

    /// Whether a broker answers now: what it says of this name does not matter.
    pub(crate) fn answers(&self) -> Result<(), Failure> {
        let answer = self.client.fetch_metadata(Some("tidegate"), self.timeout);
        answer.map(|_| ()).map_err(|error| self.explain(Failure::from_client(&error, None)))
    }

    /// How many partitions `topic` has, 0 when it does not exist.
    pub(crate) fn partitions(&self, topic: &TopicName) -> Result<u32, Failure> {
        let answer = self
            .client
            .fetch_metadata(Some(topic.as_str()), self.timeout)
            .map_err(|error| self.explain(Failure::from_client(&error, Some(topic))))?;
        let count = answer.topics().iter().find(|t| t.name() == topic.as_str()).map_or(Ok(0), |t| count(t, topic))?;
        self.note(topic, count);
        Ok(count)
    }

    /// Whether all partitions of `topic` have somebody who takes records.
    pub(crate) fn led(&self, topic: &TopicName, partitions: u32) -> Result<bool, Failure> {
        let answer = self
            .client
            .fetch_metadata(Some(topic.as_str()), self.timeout)
            .map_err(|error| self.explain(Failure::from_client(&error, Some(topic))))?;
        let Some(found) = answer.topics().iter().find(|t| t.name() == topic.as_str()) else { return Ok(false) };
        let led = found.partitions().iter().filter(|p| p.leader() >= 0).count();
        Ok(u32::try_from(led).unwrap_or(u32::MAX) >= partitions && count(found, topic)? > 0)
    }

    /// The names of all topics.
    pub(crate) fn names(&self) -> Result<Vec<TopicName>, Failure> {
        let answer = self
            .client
            .fetch_metadata(None, self.timeout)
            .map_err(|error| self.explain(Failure::from_client(&error, None)))?;
        Ok(answer.topics().iter().filter_map(|t| TopicName::new(t.name()).ok()).collect())
    }

    fn note(&self, topic: &TopicName, partitions: u32) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if partitions == 0 {
            known.remove(topic);
        } else {
            known.insert(topic.clone(), partitions);
        }
    }

    /// Whether it was seen to exist.
    pub(crate) fn knows(&self, partition: &TopicPartition) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&partition.topic).is_some_and(|count| partition.partition < *count)
    }

    /// Whether a partition exists, asked more than once: brokers tell each other of new topics in their own time.
    pub(crate) fn exists(&self, partition: &TopicPartition) -> Result<(), Failure> {
        let until = Instant::now() + SPREAD;
        loop {
            match self.exist(std::slice::from_ref(partition)) {
                Err(Failure::Unknown(_)) if Instant::now() < until => std::thread::sleep(SPREAD / 10),
                answer => return answer,
            }
        }
    }

    /// Whether all of them exist; asks only for what it has not seen yet.
    pub(crate) fn exist(&self, of: &[TopicPartition]) -> Result<(), Failure> {
        for partition in of {
            if !self.knows(partition) && self.partitions(&partition.topic)? <= partition.partition {
                return Err(Failure::Unknown(partition.topic.clone()));
            }
        }
        Ok(())
    }

    /// One side of each, in one request to each leader; asked again while leaders change.
    pub(crate) fn side(&self, side: Side, of: &[TopicPartition]) -> Result<Vec<Offset>, Failure> {
        let until = Instant::now() + self.timeout;
        loop {
            let refusal = match self.side_once(side, of) {
                Ok(offsets) => {
                    self.client.context().heard();
                    return Ok(offsets);
                }
                Err(refusal) => refusal,
            };
            let code = refusal.code;
            let passes = matches!(failure::class(code), ErrorClass::Wait | ErrorClass::Retry);
            if Instant::now() >= until || !(passes || failure::unknown(code)) {
                return Err(self.explain(Failure::of(code, code.to_string(), refusal.topic.as_ref())));
            }
            // A topic that was made anew, or a leader that moved: look (which also tells the client), then ask again.
            for partition in of {
                if refusal.topic.as_ref().is_none_or(|topic| *topic == partition.topic) {
                    self.note(&partition.topic, 0);
                }
            }
            self.exist(of)?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn side_once(&self, side: Side, of: &[TopicPartition]) -> Result<Vec<Offset>, Refusal> {
        let place = match side {
            Side::Start => Place::Beginning,
            Side::End => Place::End,
        };
        let refused = |error: rdkafka::error::KafkaError| Refusal { topic: None, code: failure::code(&error) };
        let mut question = TopicPartitionList::with_capacity(of.len());
        for partition in of {
            let (topic, number) = (partition.topic.as_str(), number(partition));
            // librdkafka wants each once.
            if question.find_partition(topic, number).is_none() {
                question.add_partition_offset(topic, number, place).map_err(refused)?;
            }
        }
        let answer = self.client.offsets_for_times(question, self.timeout).map_err(refused)?;
        of.iter()
            .map(|partition| {
                let refusal = |code| Refusal { topic: Some(partition.topic.clone()), code };
                let found = answer
                    .find_partition(partition.topic.as_str(), number(partition))
                    .ok_or_else(|| refusal(Code::UnknownPartition))?;
                found.error().map_err(|error| refusal(failure::code(&error)))?;
                match found.offset() {
                    Place::Offset(offset) => Offset::try_from(offset).map_err(|_| refusal(Code::OffsetNotAvailable)),
                    Place::Beginning | Place::End | Place::Stored | Place::Invalid | Place::OffsetTail(_) => {
                        Err(refusal(Code::OffsetNotAvailable))
                    }
                }
            })
            .collect()
    }

    /// Both sides of one partition.
    pub(crate) fn ends(&self, of: &TopicPartition) -> Result<Ends, Failure> {
        let of = std::slice::from_ref(of);
        self.exist(of)?;
        let start = self.side(Side::Start, of)?.first().copied().unwrap_or(0);
        let end = self.side(Side::End, of)?.first().copied().unwrap_or(0);
        Ok(Ends { start, end })
    }
}

struct Refusal {
    topic: Option<TopicName>,
    code: Code,
}

/// A partition number as Kafka counts; one too large for it names no partition.
pub(crate) fn number(partition: &TopicPartition) -> i32 {
    i32::try_from(partition.partition).unwrap_or(i32::MAX)
}

fn count(found: &MetadataTopic, topic: &TopicName) -> Result<u32, Failure> {
    match found.error().filter(IsError::is_error).map(Code::from) {
        None | Some(Code::LeaderNotAvailable) => Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)),
        Some(code) if failure::unknown(code) => Ok(0),
        Some(code) => Err(Failure::of(code, format!("topic `{topic}`: {code}"), Some(topic))),
    }
}
