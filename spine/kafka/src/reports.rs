//! A producer's own queue: what became of each record, and errors.
//!
//! It is emptied by whoever awaits a landing. A thread of its own that waits at the queue is a thread woken for every
//! acknowledgement, only to wake another: where processors are full that is time for both (docs/performance.md). There is one
//! all the same ([`ReportQueue::attend`]), for when nobody awaits anything: what is to follow an append is sent by its report.

#![expect(unsafe_code, reason = "rdkafka wraps no call-back of a queue; each block names why it is sound")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::bindings as ffi;
use rdkafka::producer::{BaseProducer, Producer};

use crate::delivery::Reports;

/// Taken at once; then others of the thread may go on.
const AT_ONCE: usize = 256;
/// Between two looks of the attendant that nobody sent for: it makes up for a ring that was missed, and for a listener that was
/// woken and does not look.
const AGAIN: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct ReportQueue {
    queue: NonNull<ffi::rd_kafka_queue_t>,
    /// What the callback points at; lives until the callback is off.
    bell: Arc<Bell>,
    /// Keeps the client alive: a queue must not outlive it. Dropped after [`Drop::drop`] has run.
    client: Arc<BaseProducer<Reports>>,
}

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    /// Who awaits landings, by when they began to.
    listening: Mutex<BTreeMap<u64, Waker>>,
    listeners: AtomicU64,
    /// For when there is none of them.
    attendant: OnceLock<Thread>,
}

impl Bell {
    fn listening(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.wake_one();
    }

    /// One is enough: it takes the reports, and those whose records they are about are told by that.
    fn wake_one(&self) {
        let waker = self.listening().first_key_value().map(|(_, waker)| waker.clone());
        match (waker, self.attendant.get()) {
            (Some(waker), _) => waker.wake(),
            (None, Some(attendant)) => attendant.unpark(),
            (None, None) => {}
        }
    }
}

/// Somebody's place among those who listen.
#[derive(Default)]
pub(crate) struct Listener(Option<(u64, Waker)>);

// SAFETY: librdkafka's queues may be used from any thread ("The library is completely thread safe").
unsafe impl Send for ReportQueue {}
// SAFETY: as above; everything else in it is `Sync` by itself.
unsafe impl Sync for ReportQueue {}

/// Called by librdkafka's threads with the queue's lock held, so it only rings.
unsafe extern "C" fn no_longer_empty(_client: *mut ffi::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `bell` is the `Bell` of the queue that enabled this callback, and is dropped only after that has turned the
    // callback off, which takes the lock this call runs under.
    let bell = unsafe { &*bell.cast::<Bell>() };
    bell.ring();
}

impl ReportQueue {
    /// That of `client`; `None` when librdkafka has none.
    pub(crate) fn of(client: &Arc<BaseProducer<Reports>>) -> Option<Self> {
        // SAFETY: the client lives; the queue is ours to give back.
        let queue = NonNull::new(unsafe { ffi::rd_kafka_queue_get_main(client.client().native_ptr()) })?;
        // Of what is there already nobody tells.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), ..Bell::default() });
        let opaque = Arc::as_ptr(&bell).cast_mut().cast();
        // SAFETY: a queue just got from a living client; the opaque lives as long as the callback (see `Drop`).
        unsafe { ffi::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(no_longer_empty), opaque) };
        Some(Self { queue, bell, client: Arc::clone(client) })
    }

    /// Hands what has come to the client's context. Costs one look at a flag where nothing has.
    pub(crate) fn take(&self) {
        if !self.bell.rung.load(Ordering::Relaxed) || !self.bell.rung.swap(false, Ordering::AcqRel) {
            return;
        }
        for _ in 0..AT_ONCE {
            // One event, with as many reports as came together.
            self.client.poll(Duration::ZERO);
            // SAFETY: the queue is ours and lives.
            if unsafe { ffi::rd_kafka_queue_length(self.queue.as_ptr()) } == 0 {
                return;
            }
        }
        // There is more, of which nobody will tell.
        self.bell.ring();
    }

    /// Has `cx` woken, or somebody else who listens, when more comes; true when it has come already.
    pub(crate) fn listen(&self, listener: &mut Listener, cx: &Context<'_>) -> bool {
        if !listener.0.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            let id =
                listener.0.take().map_or_else(|| self.bell.listeners.fetch_add(1, Ordering::Relaxed), |(id, _)| id);
            let before = self.bell.listening().insert(id, cx.waker().clone());
            // Not under the lock: a waker may be the last to hold a task that listens.
            drop(before);
            listener.0 = Some((id, cx.waker().clone()));
        }
        self.bell.rung.load(Ordering::Acquire)
    }

    /// It awaits nothing more. If it was woken and has not taken what came, another does.
    pub(crate) fn leave(&self, listener: &mut Listener) {
        let Some((id, _)) = listener.0.take() else { return };
        let own = self.bell.listening().remove(&id);
        drop(own);
        if self.bell.rung.load(Ordering::Acquire) {
            self.bell.wake_one();
        }
    }

    /// Takes on this thread what nobody awaits, until `stop`; also looks from time to time although nobody rang.
    pub(crate) fn attend(&self, stop: &AtomicBool) {
        let _ = self.bell.attendant.set(std::thread::current());
        while !stop.load(Ordering::Acquire) {
            self.take();
            let began = Instant::now();
            std::thread::park_timeout(AGAIN);
            if began.elapsed() >= AGAIN {
                self.bell.rung.store(true, Ordering::Release);
            }
        }
    }

    /// Has the attendant look whether it is to stop.
    pub(crate) fn dismiss(&self) {
        self.bell.attendant.get().iter().for_each(|attendant| attendant.unpark());
    }
}

impl Drop for ReportQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and the client still lives. Once the first call returns the callback neither runs
        // nor will run, so the bell may go.
        unsafe {
            ffi::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            ffi::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use rdkafka::ClientConfig;
    use rdkafka::config::FromClientConfigAndContext;

    use super::*;
    use crate::watch::Watch;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_who_listens_is_woken_or_who_comes_next_or_the_attendant() {
        let client =
            BaseProducer::from_config_and_context(&ClientConfig::new(), Reports::new(Watch::new("p"))).unwrap();
        let queue = ReportQueue::of(&Arc::new(client)).unwrap();
        queue.take();
        let woken: [Arc<Woken>; 3] = Default::default();
        let mut listeners: [Listener; 3] = Default::default();
        let times = || woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed));
        for (listener, woken) in listeners.iter_mut().zip(&woken) {
            let waker = Waker::from(Arc::clone(woken));
            for _ in 0..2 {
                assert!(!queue.listen(listener, &Context::from_waker(&waker)));
            }
        }
        queue.bell.ring();
        assert_eq!(times(), [1, 0, 0]);
        queue.leave(&mut listeners[0]);
        assert_eq!(times(), [1, 1, 0]);
        assert!(queue.listen(&mut listeners[1], &Context::from_waker(&Waker::from(Arc::clone(&woken[1])))));
        queue.take();
        queue.leave(&mut listeners[1]);
        assert_eq!(times(), [1, 1, 0], "it has been taken");
        queue.leave(&mut listeners[2]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| queue.attend(&stop));
            while queue.bell.attendant.get().is_none() {
                std::thread::yield_now();
            }
            queue.bell.ring();
            while queue.bell.rung.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Release);
            queue.dismiss();
        });
        assert_eq!(times(), [1, 1, 0]);
    }
}
