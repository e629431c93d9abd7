//! The life of a job, whole.

/// Where a job stands in the durable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing durable is known of it: it waits in its log (or has not come, or ended long ago).
    Waiting,
    /// A worker has it.
    Leased,
    /// It is in the state, without a lease, and ready: its lease ended without a result, or its time came.
    Requeued,
    /// It is in the state and not ready before a certain time: a later start, or the pause before its next attempt.
    Delayed,
    /// It ended.
    Ended,
}

/// What a fact does to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// `LeaseGranted`.
    Granted,
    /// `LeaseExpired`, ready at once.
    Expired,
    /// `LeaseExpired` or `JobRetried`, ready later.
    Paused,
    /// `JobDelayed`.
    Delayed,
    /// `JobDue`.
    Due,
    /// `CancelAsked`.
    Asked,
    /// `JobFinished`.
    Finished,
    /// `JobMoved`.
    Moved,
    /// `JobReturned`.
    Returned,
    /// `ResultRefused`, `ResultRepeated`, `JobDuplicate`, `WithdrawalKept`: about a record or a report, not the job.
    Aside,
}

/// Where the event leads; `None` when it cannot happen: then the fact is not believed and counted.
pub(crate) const fn next(from: Phase, event: Event) -> Option<Phase> {
    use Event::{Aside, Asked, Due, Expired, Finished, Granted, Moved, Paused, Returned};
    use Phase::{Delayed, Ended, Leased, Requeued, Waiting};
    match (from, event) {
        (Waiting, Granted) => Some(Leased),
        (Waiting, Expired) => None,
        (Waiting, Paused) => None,
        (Waiting, Event::Delayed) => Some(Delayed),
        (Waiting, Due) => None,
        (Waiting, Asked) => None,
        (Waiting, Finished) => Some(Ended), // its deadline passed, it is too large, or called off
        (Waiting, Moved) => Some(Waiting),  // in `overflow` from now on
        (Waiting, Returned) => Some(Waiting), // back with the kernel; judged anew, it comes again
        (Waiting, Aside) => Some(Waiting),

        (Leased, Granted) => None, // never two holders
        (Leased, Expired) => Some(Requeued),
        (Leased, Paused) => Some(Delayed),
        (Leased, Event::Delayed) => None,
        (Leased, Due) => None,
        (Leased, Asked) => Some(Leased),   // its worker may still end it
        (Leased, Finished) => Some(Ended), // by a result, or called off and its grace is over
        (Leased, Moved) => None,
        (Leased, Returned) => None, // a lease outlives its ticket
        (Leased, Aside) => Some(Leased),

        (Requeued, Granted) => Some(Leased),
        (Requeued, Expired) => None,
        (Requeued, Paused) => None,
        (Requeued, Event::Delayed) => None,
        (Requeued, Due) => None,
        (Requeued, Asked) => None,
        (Requeued, Finished) => Some(Ended), // deadline, too many attempts, or called off; never a result
        (Requeued, Moved) => None,           // its bytes are in the state, it pins no log
        (Requeued, Returned) => Some(Waiting),
        (Requeued, Aside) => Some(Requeued),

        (Delayed, Granted) => None, // never before its time
        (Delayed, Expired) => None,
        (Delayed, Paused) => None,
        (Delayed, Event::Delayed) => None,
        (Delayed, Due) => Some(Requeued),
        (Delayed, Asked) => None,
        (Delayed, Finished) => Some(Ended), // deadline, or called off
        (Delayed, Moved) => None,
        (Delayed, Returned) => None, // noticed when its turn comes
        (Delayed, Aside) => Some(Delayed),

        (Ended, Granted) => None,
        (Ended, Expired) => None,
        (Ended, Paused) => None,
        (Ended, Event::Delayed) => None,
        (Ended, Due) => None,
        (Ended, Asked) => None,
        (Ended, Finished) => None, // I5: one completion
        (Ended, Moved) => None,
        (Ended, Returned) => None,
        (Ended, Aside) => Some(Ended),
    }
}
