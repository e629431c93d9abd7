//! A timer without a runtime: one thread for the whole suite.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Where a waiting task leaves its waker for the timer.
type Slot = Arc<Mutex<Option<Waker>>>;

fn timer() -> &'static Mutex<Sender<(Instant, Slot)>> {
    static TIMER: OnceLock<Mutex<Sender<(Instant, Slot)>>> = OnceLock::new();
    TIMER.get_or_init(|| {
        let (alarms, arrivals) = mpsc::channel::<(Instant, Slot)>();
        std::thread::spawn(move || {
            // Keyed by due time; the counter keeps equal times apart.
            let mut waiting: BTreeMap<(Instant, Reverse<u64>), Slot> = BTreeMap::new();
            let mut count = 0;
            loop {
                let now = Instant::now();
                while let Some(first) = waiting.first_entry().filter(|e| e.key().0 <= now) {
                    if let Some(waker) = first.remove().lock().ok().and_then(|mut w| w.take()) {
                        waker.wake();
                    }
                }
                let idle = waiting.first_key_value().map_or(Duration::from_secs(3600), |((due, _), _)| *due - now);
                match arrivals.recv_timeout(idle) {
                    Ok((due, slot)) => {
                        count += 1;
                        waiting.insert((due, Reverse(count)), slot);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Mutex::new(alarms)
    })
}

/// `future`'s output, or `None` when `limit` passed first. The limit is looked at before the future is.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let due = Instant::now() + limit;
    let slot = Slot::default();
    let mut future = pin!(future);
    let mut set = false;
    std::future::poll_fn(move |cx| {
        if Instant::now() >= due {
            return Poll::Ready(None);
        }
        *slot.lock().expect("the slot of a wait is never poisoned") = Some(cx.waker().clone());
        if !set {
            set = true;
            timer().lock().expect("the timer is never poisoned").send((due, Arc::clone(&slot))).expect("timer lives");
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Ready after `time`; for outages that last, never to wait for something that can say when it is done.
pub(super) async fn lasts(time: Duration) {
    within(time, std::future::pending::<()>()).await;
}
