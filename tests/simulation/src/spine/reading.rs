//! Readers: what landed is seen some time later, in batches of any size.

use std::task::{Context, Poll, Waker};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{ReadError, ReadHandle, ReadProgress, Reader, Record, Start};

use super::SimSpine;
use super::broker::Broker;
use crate::executor::Process;

/// An opened partition.
pub(super) struct Handle {
    process: Process,
    from: TopicPartition,
    start: Start,
    /// Next offset to deliver; unknown until the first fetch.
    position: Option<Offset>,
    /// Everything below has been fetched.
    horizon: Offset,
    fetching: bool,
    paused: bool,
    error: Option<ReadError>,
    waker: Option<Waker>,
}

/// A reader.
pub(super) struct SimReader {
    pub(super) spine: SimSpine,
    pub(super) handles: Vec<u64>,
}

impl Drop for SimReader {
    fn drop(&mut self) {
        let mut broker = self.spine.broker();
        for handle in &self.handles {
            broker.handles.remove(handle);
        }
    }
}

impl SimReader {
    fn id(&self, handle: ReadHandle) -> u64 {
        self.handles.get(handle.0 as usize).copied().unwrap_or(0)
    }
}

impl Reader for SimReader {
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle {
        let mut broker = self.spine.broker();
        let id = broker.id();
        let handle = Handle {
            process: self.spine.process,
            from: partition.clone(),
            start,
            position: None,
            horizon: 0,
            fetching: false,
            paused: false,
            error: None,
            waker: None,
        };
        broker.handles.insert(id, handle);
        self.spine.fetch(&mut broker, id);
        self.handles.push(id);
        ReadHandle(u32::try_from(self.handles.len() - 1).unwrap_or(u32::MAX))
    }

    fn close(&mut self, handle: ReadHandle) {
        let id = self.id(handle);
        self.spine.broker().handles.remove(&id);
    }

    fn poll_read(
        &mut self,
        handle: ReadHandle,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>> {
        let id = self.id(handle);
        let polled = self.spine.poll_handle(id, max, cx, into);
        if polled.is_ready() && self.spine.operation() {
            return Poll::Pending;
        }
        polled
    }

    fn pause(&mut self, handle: ReadHandle) {
        if let Some(handle) = self.spine.broker().handles.get_mut(&self.id(handle)) {
            handle.paused = true;
        }
    }

    fn resume(&mut self, handle: ReadHandle) {
        let waker = match self.spine.broker().handles.get_mut(&self.id(handle)) {
            Some(handle) => {
                handle.paused = false;
                handle.waker.take()
            }
            None => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl SimSpine {
    /// Something landed: those who read there will see it in time.
    pub(super) fn announce(&self, broker: &mut Broker, to: &TopicPartition) {
        let readers: Vec<u64> = broker.handles.iter().filter(|(_, h)| h.from == *to).map(|(id, _)| *id).collect();
        for reader in readers {
            self.fetch(broker, reader);
        }
    }

    fn fetch(&self, broker: &mut Broker, id: u64) {
        let most = broker.manners.read_us;
        let delay = broker.read_chance.delay(100..most);
        let Some(handle) = broker.handles.get_mut(&id) else { return };
        if handle.fetching || handle.error.is_some() {
            return;
        }
        handle.fetching = true;
        let spine = self.clone();
        self.core.after(delay, move || spine.fetched(id));
    }

    fn fetched(&self, id: u64) {
        let now = self.core.now();
        let mut guard = self.broker();
        let broker = &mut *guard;
        let Some(handle) = broker.handles.get_mut(&id) else { return };
        let from = handle.from.clone();
        let Some(partition) = broker.topics.get(&from.topic).and_then(|(_, p)| p.get(from.partition as usize)) else {
            handle.error = Some(ReadError::UnknownTopic { from });
            if let Some(waker) = handle.waker.take() {
                waker.wake();
            }
            return;
        };
        let blocked = broker.down_until.max(partition.reads_stall_until);
        if blocked > now {
            let wait = blocked - now + broker.read_chance.within(100..5_000);
            let spine = self.clone();
            drop(guard);
            return self.core.after(wait, move || spine.fetched(id));
        }
        handle.fetching = false;
        let wanted = match (handle.position, handle.start) {
            (Some(position), _) => position.max(handle.horizon),
            (None, Start::Earliest) => partition.start,
            (None, Start::At(offset)) => offset,
        };
        if wanted < partition.start || wanted > partition.next {
            handle.error =
                Some(ReadError::Truncated { from: from.clone(), requested: wanted, start: Some(partition.start) });
        } else {
            handle.position.get_or_insert(wanted);
            handle.horizon = partition.next;
        }
        let (process, horizon) = (handle.process, handle.horizon);
        let waker = handle.waker.take();
        drop(guard);
        self.trace("fetched", process, &from, horizon, || format!("{process:?} {from} up to {horizon}"));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_handle(
        &self,
        id: u64,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>> {
        let mut guard = self.broker();
        let broker = &mut *guard;
        let some = broker.read_chance.within(1..16);
        let Some(handle) = broker.handles.get_mut(&id) else { return Poll::Pending };
        if let Some(error) = &handle.error {
            return Poll::Ready(Err(error.clone()));
        }
        let position = handle.position.filter(|p| !handle.paused && *p < handle.horizon);
        let Some(position) = position else {
            handle.waker = Some(cx.waker().clone());
            let known = handle.horizon;
            let (from, paused) = (handle.from.clone(), handle.paused);
            if !paused && broker.partition(&from).is_some_and(|p| p.next > known) {
                self.fetch(broker, id);
            }
            return Poll::Pending;
        };
        let max = max.min(usize::try_from(some).unwrap_or(1));
        let partition = broker.topics.get(&handle.from.topic).and_then(|(_, p)| p.get(handle.from.partition as usize));
        let Some(partition) = partition else { return Poll::Pending };
        let mut next = handle.horizon;
        let mut count = 0;
        for stored in &partition.log[partition.index_of(position)..] {
            let offset = stored.record.offset;
            if offset >= handle.horizon {
                break;
            }
            if count == max {
                next = offset;
                break;
            }
            if !partition.gone.contains(&offset) {
                into.push(stored.record.clone());
                count += 1;
            }
        }
        handle.position = Some(next);
        Poll::Ready(Ok(ReadProgress { position: next }))
    }
}
