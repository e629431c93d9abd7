//! Reading partitions, each through a queue of its own that wakes its reader.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::task::AtomicWaker;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset as Place, TopicPartitionList};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{Ends, ReadError, ReadHandle, ReadProgress, Reader, Record, Start};

use crate::asking::number;
use crate::connection::Connection;
use crate::failure::{self, Failure};
use crate::keeper::Serve;
use crate::queue::{PartitionQueue, Taken};
use crate::settings;
use crate::watch::{self, Watch};

type Client = Arc<BaseConsumer<Watch>>;

/// [`Reader`] on Kafka. A consumer can have a partition assigned only once, so a partition that is opened twice at
/// the same time brings a second consumer; normally there is one.
pub(crate) struct KafkaReader {
    connection: Arc<Connection>,
    name: String,
    clients: Vec<Client>,
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
    waker: Arc<AtomicWaker>,
    /// Whether the partition exists, until that is known: librdkafka itself says so late, if ever.
    existence: Option<oneshot::Receiver<Result<(), Failure>>>,
    state: State,
}

enum State {
    Reading {
        client: Client,
        queue: PartitionQueue<Watch>,
    },
    /// The broker says the position is out of range; its ends are being asked for.
    Doubted {
        client: Client,
        queue: PartitionQueue<Watch>,
        ends: oneshot::Receiver<Result<Ends, Failure>>,
    },
    Failed(ReadError),
}

impl KafkaReader {
    /// Blocks until a broker has answered.
    pub(crate) fn start(connection: Arc<Connection>, name: &str) -> Result<Self, Failure> {
        let first = client(&connection, name)?;
        watch::reached(first.client(), first.context(), connection.options.request_timeout, || {
            let _ = first.poll(Duration::ZERO);
        })?;
        Ok(Self { connection, name: name.to_owned(), clients: vec![first], opened: BTreeMap::new(), next: 0 })
    }

    /// A consumer that has not got `partition` yet.
    fn free_client(&mut self, partition: &TopicPartition) -> Result<Client, ReadError> {
        for client in &self.clients {
            let has_it = self.opened.values().any(|o| o.from == *partition && o.state.client_is(client));
            if !has_it {
                return Ok(Arc::clone(client));
            }
        }
        let client = client(&self.connection, &self.name).map_err(|failure| ReadError::Fatal {
            reason: format!("no further consumer for `{partition}`: {failure:?}"),
        })?;
        self.clients.push(Arc::clone(&client));
        Ok(client)
    }

    fn begin(&mut self, from: &TopicPartition, start: Start, waker: &Arc<AtomicWaker>) -> Result<State, ReadError> {
        let client = self.free_client(from)?;
        let Some(queue) = PartitionQueue::split(&client, from, Arc::clone(waker)) else {
            return Err(ReadError::UnknownTopic { from: from.clone() });
        };
        assign(&client, from, start)?;
        Ok(State::Reading { client, queue })
    }
}

fn client(connection: &Connection, name: &str) -> Result<Client, Failure> {
    let config = settings::reading(&connection.options, name);
    let client = BaseConsumer::from_config_and_context(&config, Watch::new(name))
        .map_err(|error| Failure::from_client(&error, None))?;
    let client = Arc::new(client);
    let served: Arc<dyn Serve> = client.clone();
    let served: Weak<dyn Serve> = Arc::downgrade(&served);
    connection.keeper.keep(served);
    Ok(client)
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

impl State {
    fn client_is(&self, client: &Client) -> bool {
        match self {
            Self::Reading { client: own, .. } | Self::Doubted { client: own, .. } => Arc::ptr_eq(own, client),
            Self::Failed(_) => false,
        }
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
        let State::Reading { queue, .. } = &mut self.state else { return None };
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
        match std::mem::replace(&mut self.state, State::Failed(error)) {
            State::Reading { client, queue } | State::Doubted { client, queue, .. } => {
                drop(queue);
                unassign(&client, &self.from);
            }
            failed @ State::Failed(_) => self.state = failed,
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
            State::Reading { client, queue } | State::Doubted { client, queue, .. } => {
                State::Doubted { client, queue, ends: connection.ends_of(&self.from) }
            }
            failed @ State::Failed(_) => failed,
        };
    }

    /// What the ends say about a position the broker called out of range.
    fn judge(&mut self, connection: &Arc<Connection>, answer: Result<Ends, Failure>) {
        let between = State::Failed(ReadError::Fatal { reason: "the reader is between states".into() });
        let State::Doubted { client, queue, .. } = std::mem::replace(&mut self.state, between) else { return };
        let start = if self.begun { Start::At(self.position) } else { self.start };
        let error = match (answer, start) {
            (Ok(ends), Start::At(at)) if at < ends.start || at > ends.end => {
                Some(ReadError::Truncated { from: self.from.clone(), requested: at, start: Some(ends.start) })
            }
            (Ok(_), _) => {
                unassign(&client, &self.from);
                assign(&client, &self.from, start).err()
            }
            (Err(Failure::Unavailable(reason)), _) => {
                tracing::debug!(from = %self.from, reason, "asking for the ends again");
                let ends = connection.ends_of(&self.from);
                self.state = State::Doubted { client, queue, ends };
                return;
            }
            (Err(Failure::Unknown(_)), _) => Some(ReadError::UnknownTopic { from: self.from.clone() }),
            (Err(Failure::Denied(reason) | Failure::Invalid(reason)), _) => {
                Some(ReadError::Refused { from: self.from.clone(), reason })
            }
            (Err(Failure::Fatal(reason)), _) => Some(ReadError::Fatal { reason }),
        };
        self.state = match error {
            None => State::Reading { client, queue },
            Some(error) => {
                drop(queue);
                unassign(&client, &self.from);
                State::Failed(error)
            }
        };
    }
}

impl Reader for KafkaReader {
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle {
        let handle = ReadHandle(self.next);
        self.next = self.next.wrapping_add(1);
        let waker = Arc::new(AtomicWaker::new());
        let state = self.begin(partition, start, &waker).unwrap_or_else(State::Failed);
        let position = match start {
            Start::Earliest => 0,
            Start::At(offset) => offset,
        };
        let existence = (!self.connection.asking.knows(partition)).then(|| {
            let (asking, partition) = (Arc::clone(&self.connection.asking), partition.clone());
            self.connection.threads.run(move || asking.exists(&partition))
        });
        let from = partition.clone();
        let opened = Opened { from, start, position, begun: false, paused: false, waker, existence, state };
        self.opened.insert(handle, opened);
        handle
    }

    fn close(&mut self, handle: ReadHandle) {
        let Some(opened) = self.opened.remove(&handle) else { return };
        match opened.state {
            State::Reading { client, queue } | State::Doubted { client, queue, .. } => {
                drop(queue);
                unassign(&client, &opened.from);
            }
            State::Failed(_) => {}
        }
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
            opened.waker.register(cx.waker());
            return Poll::Pending;
        }
        opened.look_whether_it_exists(cx);
        let mut registered = false;
        loop {
            match &mut opened.state {
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
                State::Doubted { ends, .. } => match ends.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(answer) => {
                        let answer = answer.unwrap_or_else(|_| Err(Failure::Fatal("no thread to ask with".into())));
                        opened.judge(&self.connection, answer);
                    }
                },
                State::Reading { .. } => {
                    if let Some(told) = opened.take(&self.connection, max.max(1), into) {
                        return Poll::Ready(told);
                    }
                    if !matches!(opened.state, State::Reading { .. }) {
                        continue;
                    }
                    if registered {
                        return Poll::Pending;
                    }
                    // What arrived before the waker was in place is found by looking once more.
                    opened.waker.register(cx.waker());
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
            opened.waker.wake();
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let (opened, clients) = (std::mem::take(&mut self.opened), std::mem::take(&mut self.clients));
        // Queues before their clients; closing a consumer waits for librdkafka's threads, so not here.
        self.connection.threads.detach(move || {
            drop(opened);
            drop(clients);
        });
    }
}
