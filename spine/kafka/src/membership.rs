//! Owning shards through a consumer group; nothing is fetched through it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as Place, TopicPartitionList};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Change, ErrorClass, MemberOptions, Membership, Released, SpineError};

use crate::asking::number;
use crate::connection::Connection;
use crate::failure::{self, Failure};
use crate::settings;
use crate::threads::Threads;
use crate::watch::{self, Watch, Watched};

/// How long the group waits for what was revoked to be let go.
const LET_GO: Duration = Duration::from_secs(5);
/// How often the member's thread looks whether it is to leave; everything else wakes it.
const LOOK: Duration = Duration::from_millis(50);
/// How long leaving may take; with the broker away nobody is there to be told.
const LEAVE: Duration = Duration::from_secs(5);

/// Between the member's thread and whoever polls.
#[derive(Default)]
struct Hub {
    state: Mutex<State>,
    /// Signalled when something was let go, and when the member leaves.
    let_go: Condvar,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    changes: VecDeque<Change>,
    failed: Option<Failure>,
    leaving: bool,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Change) {
        self.state().changes.push_back(change);
        self.waker.wake();
    }

    fn fail(&self, failure: Failure) {
        self.state().failed.get_or_insert(failure);
        self.waker.wake();
    }

    fn leave(&self) {
        self.state().leaving = true;
        self.let_go.notify_all();
    }

    fn leaving(&self) -> bool {
        self.state().leaving
    }

    /// Drops what nobody will poll any more; without the lock, since a revocation takes it when dropped.
    fn forget_changes(&self) {
        let forgotten = std::mem::take(&mut self.state().changes);
        drop(forgotten);
    }
}

/// Held by the owner of a revoked shard.
struct Hold {
    hub: Arc<Hub>,
    gone: Arc<AtomicBool>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
        // The lock is taken so that whoever waits either sees this or is asleep already when it is told.
        drop(self.hub.state());
        self.hub.let_go.notify_all();
    }
}

struct Member {
    watch: Watch,
    hub: Arc<Hub>,
}

impl Watched for Member {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.watch.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<u32> = list.elements().iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // With a place named nothing is looked up, and paused nothing is fetched.
            let placed = list.set_all_offsets(Place::End);
            let assigned = if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) };
            let paused = if partitions.is_empty() { Ok(()) } else { consumer.pause(list) };
            if assigned.is_ok() {
                self.hub.tell(Change::Assigned(partitions));
            }
            placed.and(assigned).and(paused)
        } else {
            if !partitions.is_empty() {
                self.give_up(consumer.assignment_lost(), partitions);
            }
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a change of ownership could not be carried out");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _positions: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "positions for lag tools were not taken");
        }
    }
}

impl Member {
    fn give_up(&self, lost: bool, partitions: Vec<u32>) {
        if lost {
            self.hub.tell(Change::Lost(partitions));
            return;
        }
        if self.hub.leaving() {
            return;
        }
        let gone = Arc::new(AtomicBool::new(false));
        let released = Released::new(Hold { hub: Arc::clone(&self.hub), gone: Arc::clone(&gone) });
        self.hub.tell(Change::Revoked { partitions, released });
        let wait = |state: &mut State| !gone.load(Ordering::Acquire) && !state.leaving;
        let (_state, waited) =
            self.hub.let_go.wait_timeout_while(self.hub.state(), LET_GO, wait).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!(after = ?LET_GO, "revoked shards were not let go in time; the group goes on");
        }
    }
}

/// [`Membership`] on Kafka.
pub(crate) struct KafkaMembership {
    connection: Arc<Connection>,
    hub: Arc<Hub>,
    /// Weak, so that the member's thread is the last to let go of its consumer and closes it.
    consumer: Weak<BaseConsumer<Member>>,
    done: Option<std::sync::mpsc::Receiver<()>>,
}

impl KafkaMembership {
    /// Blocks until a broker has answered and the topic is known to exist.
    pub(crate) fn join(connection: Arc<Connection>, options: &MemberOptions) -> Result<Self, Failure> {
        let config = settings::joining(&connection.options, options);
        let hub = Arc::new(Hub::default());
        let member = Member { watch: Watch::new(&options.group), hub: Arc::clone(&hub) };
        let consumer = BaseConsumer::from_config_and_context(&config, member)
            .map_err(|error| Failure::from_client(&error, Some(&options.topic)))?;
        watch::reached(consumer.client(), &consumer.context().watch, connection.options.request_timeout, || {
            let _ = consumer.poll(Duration::ZERO);
        })?;
        if connection.asking.partitions(&options.topic)? == 0 {
            return Err(Failure::Unknown(options.topic.clone()));
        }
        consumer
            .subscribe(&[options.topic.as_str()])
            .map_err(|error| Failure::from_client(&error, Some(&options.topic)))?;
        let consumer = Arc::new(consumer);
        let handle = Arc::downgrade(&consumer);
        connection.keeper.reconnect(handle.clone(), &connection.options);
        let (finished, done) = std::sync::mpsc::channel();
        let (for_thread, topic) = (Arc::clone(&hub), options.topic.clone());
        std::thread::Builder::new()
            .name("kafka-member".into())
            .spawn(move || {
                be_member(&consumer, &for_thread, &topic);
                // Tells the group that we leave, and waits until it knows.
                drop(consumer);
                for_thread.forget_changes();
                let _ = finished.send(());
            })
            .map_err(|error| Failure::Fatal(format!("no thread for a member: {error}")))?;
        Ok(Self { connection, hub, consumer: handle, done: Some(done) })
    }
}

fn be_member(consumer: &BaseConsumer<Member>, hub: &Hub, topic: &TopicName) {
    while !hub.leaving() {
        // Paused partitions bring no records; what slipped in before the pause is nobody's.
        let Some(Err(error)) = consumer.poll(LOOK) else { continue };
        let code = failure::code(&error);
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        match failure::class(code) {
            _ if matches!(code, Code::PartitionEOF | Code::AutoOffsetReset) => {}
            ErrorClass::Wait | ErrorClass::Retry if !fatal => {
                tracing::debug!(%error, "the member goes on");
            }
            ErrorClass::Wait | ErrorClass::Retry | ErrorClass::Fatal => hub.fail(Failure::Fatal(error.to_string())),
            ErrorClass::Refuse => hub.fail(Failure::of(code, error.to_string(), Some(topic))),
        }
    }
}

impl Membership for KafkaMembership {
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<Change, SpineError>> {
        self.hub.waker.register(cx.waker());
        let mut state = self.hub.state();
        if let Some(change) = state.changes.pop_front() {
            return Poll::Ready(Ok(change));
        }
        match &state.failed {
            Some(failure) => Poll::Ready(Err(self.connection.error(failure.clone()))),
            None => Poll::Pending,
        }
    }

    fn commit(&mut self, positions: &[(TopicPartition, Offset)]) {
        let Some(consumer) = self.consumer.upgrade() else { return };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            let place = Place::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            if list.add_partition_offset(partition.topic.as_str(), number(partition), place).is_err() {
                return;
            }
        }
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "positions for lag tools were not taken");
        }
    }

    fn leave(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.hub.leave();
        let Some(done) = self.done.take() else { return futures::future::ready(()).boxed() };
        let left = Threads::run(&self.connection.threads, move || done.recv_timeout(LEAVE));
        left.map(|_| ()).boxed()
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        self.hub.leave();
        self.hub.forget_changes();
    }
}
