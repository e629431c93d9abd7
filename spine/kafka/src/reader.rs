//! Reading partitions, each through a queue of its own that wakes its reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset as Place, TopicPartitionList};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Ends, ReadError, ReadHandle, ReadProgress, Reader, Record, Start};

use crate::asking::number;
use crate::connection::Connection;
use crate::consumers::{Client, OfTopic};
use crate::failure::{self, Failure};

use crate::keeper::Serve;
use crate::queue::{Bell, PartitionQueue, Taken};
use crate::watch::Watch;

/// [`Reader`] on Kafka, over the consumers it shares with the other readers of its topics.
pub(crate) struct KafkaReader {
    connection: Arc<Connection>,
    /// The consumers of every topic it has opened: a log that is opened again soon finds its consumer connected.
    topics: Vec<Arc<OfTopic>>,
    opened: BTreeMap<ReadHandle, Opened>,
    next: u32,
}

struct Opened {
    from: TopicPartition,
    start: Start,
    /// Everything below is delivered or does not exist.
    position: Offset,
    /// Whether anything was delivered yet: `Earliest` has no position before.
    begun: bool,
    paused: bool,
    bell: Arc<Bell>,
    /// Whether the partition exists, until that is known: librdkafka itself says so late, if ever.
    existence: Option<oneshot::Receiver<Result<(), Failure>>>,
    state: State,
}

enum State {
    Reading(Taking),
    /// The broker says the position is out of range; its ends are being asked for.
    Doubted(Taking, oneshot::Receiver<Result<Ends, Failure>>),
    Failed(ReadError),
}

/// A partition's queue and what it comes from. The order of the fields is that of their ends: a queue must be gone before
/// its partition is given back, since the next reader of it gets the same queue of librdkafka's and hangs its bell there.
struct Taking {
    queue: PartitionQueue<Watch>,
    assigned: Assigned,
}

impl KafkaReader {
    /// Blocks until a broker has answered.
    pub(crate) fn start(connection: Arc<Connection>) -> Result<Self, Failure> {
        connection.asking.answers()?;
        Ok(Self { connection, topics: Vec::new(), opened: BTreeMap::new(), next: 0 })
    }

    fn of(&mut self, topic: &TopicName) -> Arc<OfTopic> {
        if let Some(known) = self.topics.iter().find(|known| known.topic() == topic) {
            return Arc::clone(known);
        }
        let of = self.connection.consumers.of(topic, &self.connection.threads);
        self.topics.push(Arc::clone(&of));
        of
    }

    fn begin(&mut self, from: &TopicPartition, start: Start, bell: &Arc<Bell>) -> Result<State, ReadError> {
        let of = self.of(&from.topic);
        let client = of.take(from, &self.connection.options, &self.connection.keeper)?;
        let assigned = Assigned { of, client, from: from.clone() };
        let Some(queue) = PartitionQueue::split(&assigned.client, from, Arc::clone(bell)) else {
            return Err(ReadError::UnknownTopic { from: from.clone() });
        };
        assign(&assigned.client, from, start)?;
        let bell: Arc<dyn Serve> = Arc::<Bell>::clone(bell);
        self.connection.keeper.keep(Arc::downgrade(&bell));
        Ok(State::Reading(Taking { queue, assigned }))
    }
}

/// A partition at a consumer; dropping it takes the partition away from the consumer.
struct Assigned {
    of: Arc<OfTopic>,
    client: Client,
    from: TopicPartition,
}

impl Drop for Assigned {
    fn drop(&mut self) {
        unassign(&self.client, &self.from);
        self.of.give_back(&self.client, &self.from);
    }
}

fn one(partition: &TopicPartition, at: Place) -> Result<TopicPartitionList, ReadError> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(partition.topic.as_str(), number(partition), at)
        .map_err(|error| ReadError::Fatal { reason: error.to_string() })?;
    Ok(list)
}

fn assign(client: &Client, from: &TopicPartition, start: Start) -> Result<(), ReadError> {
    let at = match start {
        Start::Earliest => Place::Beginning,
        Start::At(offset) => Place::Offset(i64::try_from(offset).unwrap_or(i64::MAX)),
    };
    client
        .incremental_assign(&one(from, at)?)
        .map_err(|error| ReadError::Fatal { reason: format!("`{from}` could not be assigned: {error}") })
}

fn unassign(client: &Client, from: &TopicPartition) {
    let gone = one(from, Place::Invalid).map(|list| client.incremental_unassign(&list));
    if let Ok(Err(error)) = gone {
        tracing::debug!(%from, %error, "unassigning");
    }
}

/// Whether a code says that nothing is at the position asked for.
const fn out_of_range(code: Code) -> bool {
    matches!(code, Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation)
}

impl Opened {
    /// Takes what is here; `Some` when that is worth telling.
    fn take(
        &mut self,
        connection: &Arc<Connection>,
        max: usize,
        into: &mut Vec<Record>,
    ) -> Option<Result<ReadProgress, ReadError>> {
        let State::Reading(Taking { queue, .. }) = &mut self.state else { return None };
        let (before, position) = (into.len(), self.position);
        let mut trouble = None;
        // The queue is empty only once it gave less than asked for; ends and errors count among what it gives.
        loop {
            let room = max.saturating_sub(into.len() - before).max(1);
            let taken = queue.take(room, |taken| match taken {
                Taken::Record(record) => {
                    self.position = record.offset + 1;
                    into.push(record);
                }
                Taken::End(offset) => self.position = self.position.max(offset),
                Taken::Error(code, reason) => {
                    if out_of_range(code) || failure::read(code, String::new(), &self.from).is_some() {
                        trouble.get_or_insert((code, reason));
                    } else {
                        tracing::debug!(from = %self.from, %code, "{reason}");
                    }
                }
            });
            if taken < room || into.len() - before >= max || trouble.is_some() {
                break;
            }
        }
        let progress = into.len() > before || self.position > position;
        self.begun |= progress;
        if let Some((code, reason)) = trouble {
            self.doubt(connection, code, reason);
        }
        progress.then_some(Ok(ReadProgress { position: self.position }))
    }

    fn look_whether_it_exists(&mut self, cx: &mut Context<'_>) {
        let Some(Poll::Ready(answer)) = self.existence.as_mut().map(|answer| answer.poll_unpin(cx)) else { return };
        self.existence = None;
        match answer {
            Ok(Err(Failure::Unknown(_))) => self.fail(ReadError::UnknownTopic { from: self.from.clone() }),
            Ok(Err(Failure::Denied(reason))) => self.fail(ReadError::Refused { from: self.from.clone(), reason }),
            // Without an answer, librdkafka's own word counts when it comes.
            Ok(Ok(()) | Err(Failure::Unavailable(_) | Failure::Invalid(_) | Failure::Fatal(_))) | Err(_) => {}
        }
    }

    fn fail(&mut self, error: ReadError) {
        if !matches!(self.state, State::Failed(_)) {
            self.state = State::Failed(error);
        }
    }

    fn doubt(&mut self, connection: &Arc<Connection>, code: Code, reason: String) {
        if !out_of_range(code) {
            let fatal = || ReadError::Fatal { reason: code.to_string() };
            self.fail(failure::read(code, reason, &self.from).unwrap_or_else(fatal));
            return;
        }
        let between = State::Failed(ReadError::Fatal { reason: "the reader is between states".into() });
        // Brokers also say so for a moment around a change of leader, so the log's ends decide.
        self.state = match std::mem::replace(&mut self.state, between) {
            State::Reading(taking) | State::Doubted(taking, _) => {
                State::Doubted(taking, connection.ends_of(&self.from))
            }
            failed @ State::Failed(_) => failed,
        };
    }

    /// What the ends say about a position the broker called out of range.
    fn judge(&mut self, connection: &Arc<Connection>, answer: Result<Ends, Failure>) {
        let between = State::Failed(ReadError::Fatal { reason: "the reader is between states".into() });
        let State::Doubted(taking, _) = std::mem::replace(&mut self.state, between) else { return };
        let start = if self.begun { Start::At(self.position) } else { self.start };
        let error = match (answer, start) {
            (Ok(ends), Start::At(at)) if at < ends.start || at > ends.end => {
                Some(ReadError::Truncated { from: self.from.clone(), requested: at, start: Some(ends.start) })
            }
            (Ok(_), _) => {
                unassign(&taking.assigned.client, &self.from);
                assign(&taking.assigned.client, &self.from, start).err()
            }
            (Err(Failure::Unavailable(reason)), _) => {
                tracing::debug!(from = %self.from, reason, "asking for the ends again");
                let ends = connection.ends_of(&self.from);
                self.state = State::Doubted(taking, ends);
                return;
            }
            (Err(Failure::Unknown(_)), _) => Some(ReadError::UnknownTopic { from: self.from.clone() }),
            (Err(Failure::Denied(reason) | Failure::Invalid(reason)), _) => {
                Some(ReadError::Refused { from: self.from.clone(), reason })
            }
            (Err(Failure::Fatal(reason)), _) => Some(ReadError::Fatal { reason }),
        };
        self.state = match error {
            None => State::Reading(taking),
            Some(error) => State::Failed(error),
        };
    }
}

impl Reader for KafkaReader {
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle {
        let handle = ReadHandle(self.next);
        self.next = self.next.wrapping_add(1);
        let bell = Arc::new(Bell::new());
        let state = self.begin(partition, start, &bell).unwrap_or_else(State::Failed);
        let position = match start {
            Start::Earliest => 0,
            Start::At(offset) => offset,
        };
        let existence = (!self.connection.asking.knows(partition)).then(|| {
            let (asking, partition) = (Arc::clone(&self.connection.asking), partition.clone());
            self.connection.threads.run(move || asking.exists(&partition))
        });
        let from = partition.clone();
        let opened = Opened { from, start, position, begun: false, paused: false, bell, existence, state };
        self.opened.insert(handle, opened);
        handle
    }

    fn close(&mut self, handle: ReadHandle) {
        self.opened.remove(&handle);
    }

    fn poll_read(
        &mut self,
        handle: ReadHandle,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>> {
        let Some(opened) = self.opened.get_mut(&handle) else {
            return Poll::Ready(Err(ReadError::Fatal { reason: format!("handle {} is closed", handle.0) }));
        };
        if opened.paused {
            opened.bell.listen(cx);
            return Poll::Pending;
        }
        opened.look_whether_it_exists(cx);
        let mut registered = false;
        loop {
            match &mut opened.state {
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
                State::Doubted(_, ends) => match ends.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(answer) => {
                        let answer = answer.unwrap_or_else(|_| Err(Failure::Fatal("no thread to ask with".into())));
                        opened.judge(&self.connection, answer);
                    }
                },
                State::Reading(_) => {
                    if let Some(told) = opened.take(&self.connection, max.max(1), into) {
                        return Poll::Ready(told);
                    }
                    if !matches!(opened.state, State::Reading(_)) {
                        continue;
                    }
                    if registered {
                        return Poll::Pending;
                    }
                    // What arrived before anyone listened is found by looking once more.
                    opened.bell.listen(cx);
                    registered = true;
                }
            }
        }
    }

    fn pause(&mut self, handle: ReadHandle) {
        // librdkafka's own pause throws away what it has fetched and fetches it again. Not taking is enough: fetching
        // stops by itself once the partition's queue is full.
        if let Some(opened) = self.opened.get_mut(&handle) {
            opened.paused = true;
        }
    }

    fn resume(&mut self, handle: ReadHandle) {
        if let Some(opened) = self.opened.get_mut(&handle) {
            opened.paused = false;
            opened.bell.wake();
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let (opened, topics) = (std::mem::take(&mut self.opened), std::mem::take(&mut self.topics));
        // Taking partitions away waits for librdkafka's own threads, so not here.
        self.connection.threads.detach(move || {
            drop(opened);
            drop(topics);
        });
    }
}
