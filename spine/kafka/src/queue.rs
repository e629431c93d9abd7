//! One partition's fetched records, straight from librdkafka's queue.
//!
//! rdkafka's safe `PartitionQueue` would do but for three things: it hides the
//! offset of an end-of-partition event (which is how a position moves over transaction markers), it panics on header
//! names that are not UTF-8 (adopted topics are written by strangers), and it takes a lock, an event and two
//! reference counts for each record where the batch call takes one for all.
#![expect(unsafe_code, reason = "see above; each block names why it is sound")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Context;

use bytes::{Bytes, BytesMut};
use futures::task::AtomicWaker;
use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{Headers, Record};

use crate::keeper::Serve;
use crate::names;

/// What comes out of a partition's queue.
pub(crate) enum Taken {
    /// A record.
    Record(Record),
    /// Everything below this offset has been taken or does not exist.
    End(Offset),
    /// The client's report about this partition.
    Error(Code, String),
}

/// Rung by librdkafka when a queue is no longer empty.
///
/// A shard looks at each of its inputs in every turn, some sixty times a job at low rates. Whether there is anything to
/// take is therefore known here, without a call into the client and its locks.
///
/// No promise rests on the client's ringing alone: the keeper rings every [`AGAIN`] rounds (a second), so that a call that
/// was missed costs that much and not a wait for the next record.
pub(crate) struct Bell {
    waker: AtomicWaker,
    rung: AtomicBool,
    rounds: AtomicU32,
}

/// Rounds of the keeper between two looks that nobody rang for.
const AGAIN: u32 = 10;

impl Serve for Bell {
    fn serve(&self) {
        if self.rounds.fetch_add(1, Ordering::Relaxed) % AGAIN == AGAIN - 1 {
            self.ring();
        }
    }
}

impl Bell {
    /// One that has rung: nobody tells of what is in a queue already.
    pub(crate) fn new() -> Self {
        Self { waker: AtomicWaker::new(), rung: AtomicBool::new(true), rounds: AtomicU32::new(0) }
    }

    /// Whoever asks last is woken when it rings.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Wakes whoever listens, though nothing has come.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it has rung since this was last asked. To be asked *before* the queue is looked into: what comes meanwhile
    /// rings again.
    fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

/// The queue of one assigned partition; rings `bell` when it is no longer empty.
pub(crate) struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: NonNull<ffi::rd_kafka_queue_t>,
    /// What the callback points at; lives until the callback is off.
    bell: Arc<Bell>,
    batch: Vec<*mut ffi::rd_kafka_message_t>,
    /// Keeps the client alive: a queue must not outlive it. Dropped after [`Drop::drop`] has run.
    _consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread ("The library is completely thread safe"); the batch is
// empty between calls, so no message pointer travels.
unsafe impl<C: ConsumerContext + 'static> Send for PartitionQueue<C> {}

/// Called by librdkafka's threads with the queue's lock held, so it only rings.
unsafe extern "C" fn no_longer_empty(_client: *mut ffi::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `bell` is the `Bell` of the queue that enabled this callback. It is behind an `Arc` that the
    // queue drops only after it has turned the callback off, which takes the lock this call runs under.
    let bell = unsafe { &*bell.cast::<Bell>() };
    bell.ring();
}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// The queue of `of`, apart from the consumer's own. To be made *before* the partition is assigned: from then on
    /// librdkafka does not forward it.
    pub(crate) fn split(consumer: &Arc<BaseConsumer<C>>, of: &TopicPartition, bell: Arc<Bell>) -> Option<Self> {
        let topic = CString::new(of.topic.as_str()).ok()?;
        let partition = i32::try_from(of.partition).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives (we hold it), `topic` is a C string that is copied by the call.
        let queue = NonNull::new(unsafe { ffi::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) })?;
        // SAFETY: a queue just got from a living client; the opaque lives as long as the callback (see `Drop`).
        unsafe {
            ffi::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            ffi::rd_kafka_queue_cb_event_enable(
                queue.as_ptr(),
                Some(no_longer_empty),
                Arc::as_ptr(&bell).cast_mut().cast(),
            );
        }
        Some(Self { queue, bell, batch: Vec::new(), _consumer: Arc::clone(consumer) })
    }

    /// Takes up to `max` of what is here, in order; returns how many. Fewer than `max` means it is empty now, and
    /// the bell rings when it no longer is.
    pub(crate) fn take(&mut self, max: usize, mut each: impl FnMut(Taken)) -> usize {
        if !self.bell.has_rung() {
            return 0;
        }
        self.batch.resize(max, ptr::null_mut());
        // SAFETY: the queue is ours and lives; the array has room for `max` pointers.
        let taken = unsafe {
            ffi::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.batch.as_mut_ptr(), self.batch.len())
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        for message in self.batch.drain(..).take(taken).filter_map(NonNull::new) {
            // SAFETY: librdkafka handed this message over; nobody else has it until it is destroyed below.
            each(unsafe { read(message.as_ptr()) });
            // SAFETY: as above; nothing read from it borrows from it.
            unsafe { ffi::rd_kafka_message_destroy(message.as_ptr()) };
        }
        self.batch.clear();
        if taken == max {
            // There may be more, of which nobody will tell.
            self.bell.rung.store(true, Ordering::Release);
        }
        taken
    }
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and the client still lives. Once the first call returns the callback neither runs
        // nor will run, so the bell may go.
        unsafe {
            ffi::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            ffi::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// # Safety
/// `message` is a message taken from a consumer's queue and not yet destroyed.
unsafe fn read(message: *mut ffi::rd_kafka_message_t) -> Taken {
    // SAFETY: by contract it points to a living message.
    let m = unsafe { &*message };
    let code = Code::from(m.err);
    let offset = Offset::try_from(m.offset).unwrap_or(0);
    if code == Code::PartitionEOF {
        return Taken::End(offset);
    }
    if code != Code::NoError {
        // SAFETY: for an error the payload is its text, of the given length, or null.
        let text = unsafe { slice(m.payload, m.len) }.unwrap_or_default();
        return Taken::Error(code, String::from_utf8_lossy(text).into_owned());
    }
    // SAFETY: key and payload point to as many bytes as their lengths say, or are null.
    let (key, value) = unsafe { (slice(m.key, m.key_len), slice(m.payload, m.len)) };
    // SAFETY: `message` lives.
    let timestamp_ms = unsafe { ffi::rd_kafka_message_timestamp(message, ptr::null_mut()) };
    let mut headers: *mut ffi::rd_kafka_headers_t = ptr::null_mut();
    // SAFETY: `message` lives and keeps the headers; `headers` is written only when there are some.
    let has_headers = Code::from(unsafe { ffi::rd_kafka_message_headers(message, &raw mut headers) }) == Code::NoError;
    // SAFETY: headers of a living message.
    let count = if has_headers { unsafe { ffi::rd_kafka_header_cnt(headers) } } else { 0 };

    // One allocation holds key, value and header values.
    let mut size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    for n in 0..count {
        // SAFETY: `n` is below the count.
        size += unsafe { header(headers, n) }.map_or(0, |(_, value)| value.len());
    }
    let mut buffer = BytesMut::with_capacity(size);
    for part in [key, value].into_iter().flatten() {
        buffer.extend_from_slice(part);
    }
    for n in 0..count {
        // SAFETY: `n` is below the count.
        if let Some((_, value)) = unsafe { header(headers, n) } {
            buffer.extend_from_slice(value);
        }
    }
    let mut rest = buffer.freeze();
    let mut cut = |part: Option<&[u8]>| part.map(|part| rest.split_to(part.len()));
    let (key, value): (Option<Bytes>, Option<Bytes>) = (cut(key), cut(value));
    let mut read = Headers::with_capacity(count);
    for n in 0..count {
        // SAFETY: `n` is below the count.
        if let Some((name, bytes)) = unsafe { header(headers, n) } {
            read.push(names::of(name), cut(Some(bytes)).unwrap_or_default());
        }
    }
    Taken::Record(Record { offset, timestamp_ms, key, value, headers: read })
}

/// # Safety
/// `bytes` is null or points to `len` bytes that live for `'a`.
unsafe fn slice<'a>(bytes: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!bytes.is_null()).then(|| unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) })
}

/// Name and value of a header; a null value counts as empty.
///
/// # Safety
/// `headers` are those of a message that lives for `'a`.
unsafe fn header<'a>(headers: *const ffi::rd_kafka_headers_t, n: usize) -> Option<(&'a [u8], &'a [u8])> {
    let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
    // SAFETY: by contract; the three are written when the call succeeds.
    let answer = unsafe { ffi::rd_kafka_header_get_all(headers, n, &raw mut name, &raw mut value, &raw mut len) };
    if Code::from(answer) != Code::NoError || name.is_null() {
        return None;
    }
    // SAFETY: librdkafka ends names with a zero byte and keeps name and value as long as the message.
    Some(unsafe { (CStr::from_ptr(name).to_bytes(), slice(value, len).unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ring_that_the_client_missed_is_made_up_for_within_ten_rounds() {
        let (bell, woken) = (Bell::new(), Arc::new(Woken::default()));
        assert!(bell.has_rung() && !bell.has_rung());
        bell.listen(&Context::from_waker(&Waker::from(Arc::clone(&woken))));
        for _ in 1..AGAIN {
            bell.serve();
        }
        assert!(!bell.has_rung() && woken.0.load(Ordering::Relaxed) == 0);
        bell.serve();
        assert!(bell.has_rung() && woken.0.load(Ordering::Relaxed) == 1);
    }
}
