//! Producers: queues per partition whose heads land at some time, or never.

use std::collections::{BTreeMap, VecDeque};

use futures::FutureExt;
use futures::channel::oneshot;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{AppendError, Landed, Landing, NewRecord, Producer};

use super::SimSpine;
use crate::executor::Process;
use crate::trace::hash_of;

type Outcome = Result<Landed, AppendError>;

pub(super) struct Batch {
    records: VecDeque<NewRecord>,
    first: Option<Offset>,
    bytes: usize,
    done: oneshot::Sender<Outcome>,
}

/// A producer's queues, which outlive it.
pub(super) struct Client {
    pub(super) process: Process,
    queues: BTreeMap<TopicPartition, VecDeque<Batch>>,
    bytes: usize,
    limit: usize,
    /// Nothing lands before this time: what an abandoned client handed over may be late.
    not_before: u64,
    /// While its process is stopped nothing of it lands.
    held: bool,
}

impl Client {
    pub(super) const fn new(process: Process, limit: usize, held: bool) -> Self {
        Self { process, queues: BTreeMap::new(), bytes: 0, limit, not_before: 0, held }
    }
}

/// The runner's end of a client.
pub(super) struct SimProducer {
    pub(super) spine: SimSpine,
    pub(super) client: u64,
}

fn lost() -> AppendError {
    AppendError::Fatal { reason: "lost by the simulation".into() }
}

impl Producer for SimProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        self.spine.append(self.client, to, records)
    }
}

impl Drop for SimProducer {
    fn drop(&mut self) {
        self.spine.abandon(self.client);
    }
}

impl SimSpine {
    fn append(&self, client_id: u64, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        if self.operation() {
            return Box::pin(std::future::pending());
        }
        let mut broker = self.broker();
        let Some((spec, _)) = broker.topics.get(&to.topic).filter(|(s, _)| to.partition < s.partitions) else {
            return Box::pin(std::future::ready(Err(AppendError::UnknownTopic { to: to.clone() })));
        };
        let limit = spec.max_record_bytes;
        let largest = records.iter().map(NewRecord::bytes).max().unwrap_or(0);
        if largest > limit {
            let error = AppendError::TooLarge { to: to.clone(), bytes: largest, limit: Some(limit) };
            return Box::pin(std::future::ready(Err(error)));
        }
        let bytes: usize = records.iter().map(NewRecord::bytes).sum();
        let (done, landed) = oneshot::channel();
        let delay = {
            let most = broker.manners.append_us;
            broker.append_chance.delay(100..most)
        };
        let Some(client) = broker.clients.get_mut(&client_id) else {
            return Box::pin(std::future::ready(Err(lost())));
        };
        if client.bytes + bytes > client.limit {
            let limit = client.limit;
            return Box::pin(std::future::ready(Err(AppendError::Full { limit })));
        }
        client.bytes += bytes;
        let queue = client.queues.entry(to.clone()).or_default();
        queue.push_back(Batch { records: records.into(), first: None, bytes, done });
        let waiting = queue.len();
        let most = broker.most_in_flight.entry(to.clone()).or_default();
        *most = (*most).max(waiting);
        drop(broker);
        if waiting == 1 {
            self.land_after(delay, client_id, to.clone());
        }
        landed.map(|outcome| outcome.unwrap_or_else(|_| Err(lost()))).boxed()
    }

    fn land_after(&self, delay: u64, client: u64, to: TopicPartition) {
        let spine = self.clone();
        self.core.after(delay, move || spine.land(client, to));
    }

    /// Lands the head of a queue, or tries again later.
    fn land(&self, client_id: u64, to: TopicPartition) {
        let now = self.core.now();
        let mut guard = self.broker();
        let broker = &mut *guard;
        let Some(client) = broker.clients.get_mut(&client_id) else { return };
        let process = client.process;
        let stall = broker.topics.get(&to.topic).and_then(|(_, p)| p.get(to.partition as usize));
        let blocked = broker.down_until.max(client.not_before).max(stall.map_or(0, |p| p.appends_stall_until));
        let wait = if blocked > now {
            Some(blocked - now + broker.append_chance.within(100..5_000))
        } else if client.held && self.core.is_stopped(process) {
            Some(broker.append_chance.within(10_000..60_000))
        } else {
            None
        };
        if let Some(wait) = wait {
            drop(guard);
            return self.land_after(wait, client_id, to);
        }
        let Some(queue) = client.queues.get_mut(&to) else { return };
        let Some(mut batch) = queue.pop_front() else { return };
        if !queue.is_empty() && broker.losing.remove(&to) {
            client.bytes -= batch.bytes;
            let more = !queue.is_empty();
            drop(guard);
            self.trace("lost", process, &to, 0, || {
                format!("{process:?} append to {to} of {} records", batch.records.len())
            });
            let done = batch.done;
            self.core.after(200, move || drop(done.send(Err(lost()))));
            if more {
                self.land_after(500, client_id, to);
            }
            return;
        }
        let mut count = batch.records.len();
        if count > 1 && broker.append_chance.percent(broker.manners.split) {
            count = usize::try_from(broker.append_chance.within(1..count as u64)).unwrap_or(1);
        }
        let mut last = 0;
        for record in batch.records.drain(..count).collect::<Vec<_>>() {
            let hash = hash_of(record.value.as_deref().unwrap_or_default());
            self.storms(broker, &to, record.clone());
            let Some(offset) = broker.store(&to, record, now) else { break };
            batch.first.get_or_insert(offset);
            last = offset;
            self.core_trace(now, "landed", &[u64::from(process.0), hash, offset], || {
                let stored = broker.log(&to).last();
                let what = stored.map_or_else(String::new, |s| super::describe(&s.record));
                format!("{process:?} {to}@{offset} {what}")
            });
        }
        let next = broker.append_chance.delay(20..3_000);
        let Some(client) = broker.clients.get_mut(&client_id) else { return };
        let Some(queue) = client.queues.get_mut(&to) else { return };
        if batch.records.is_empty() {
            client.bytes -= batch.bytes;
            let landed = Landed { first: batch.first.unwrap_or(last), last };
            let done = batch.done;
            let ack = broker.append_chance.delay(50..3_000);
            self.core.after(ack, move || drop(done.send(Ok(landed))));
        } else {
            queue.push_front(batch);
        }
        let more = !queue.is_empty();
        self.announce(broker, &to);
        drop(guard);
        if more {
            self.land_after(next, client_id, to);
        }
    }

    /// The producer is gone: what it handed over lands late, in part, or never, in order; seldom with a gap.
    fn abandon(&self, client_id: u64) {
        let now = self.core.now();
        let mut guard = self.broker();
        let broker = &mut *guard;
        let chance = &mut broker.loss_chance;
        let Some(client) = broker.clients.get_mut(&client_id) else { return };
        client.held = false;
        if client.queues.values().all(VecDeque::is_empty) {
            broker.clients.remove(&client_id);
            return;
        }
        client.not_before = now + if chance.percent(50) { 0 } else { chance.within(1_000..3_000_000) };
        let mut gone = Vec::new();
        for queue in client.queues.values_mut() {
            let length = queue.len() as u64;
            let stay = if chance.percent(50) { length } else { chance.within(0..length + 1) };
            gone.extend(queue.drain(usize::try_from(stay).unwrap_or(0)..));
            if stay > 1 && chance.percent(15) {
                let hole = chance.within(0..stay - 1);
                gone.extend(queue.remove(usize::try_from(hole).unwrap_or(0)));
            }
        }
        drop(guard);
        for batch in gone {
            drop(batch.done.send(Err(lost())));
        }
    }
}
