//! One job that lies on the shelf or that a worker has over HTTP: its states, and what each word does in each of them.
//!
//! | | shelved | leased | reported | lost |
//! |---|---|---|---|---|
//! | taken by a request | leased | - | - | - |
//! | its time is over | goes back | lost (`silent`), abandoned | - | - |
//! | its worker beats | - | a new term; `held`, or `cancel` and why | `ended` | `lost` |
//! | its worker ends it | - | reported | the same again, or `already_ended` | `stale_fence` |
//! | it is to stop | goes back | told at the next beat | - | - |
//! | its lease is gone | lost | lost | - | - |
//!
//! Times come with every word; nothing here waits.

use std::time::Duration;

use tokio::time::Instant;

/// SHA-256 of what a worker said at the end, so that the same said again is known.
pub(crate) type Said = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Shelved { until: Instant },
    Leased { until: Instant, cancel: Option<&'static str> },
    Reported { said: Said },
    Lost { why: &'static str },
}

/// What a beat is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Go on.
    Held,
    /// Stop, and say how it ended.
    Cancel(&'static str),
    /// The lease is gone: stop, nothing counts any more.
    Lost(&'static str),
    /// Its end was reported before.
    Ended,
}

/// What a report of the end leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The first.
    First,
    /// The same was said before.
    Again,
    /// Something else was said before.
    Other,
    /// The lease was lost before.
    Lost(&'static str),
}

/// What is to be done when a time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing: it was extended, or ended.
    NotYet,
    /// Nobody took it.
    GiveBack,
    /// Its worker fell silent.
    Abandon,
}

impl State {
    pub(crate) const fn new(until: Instant) -> Self {
        Self::Shelved { until }
    }

    /// A request takes it; false when it is not on the shelf.
    pub(crate) fn take(&mut self, now: Instant, term: Duration) -> bool {
        let shelved = matches!(self, Self::Shelved { .. });
        if shelved {
            *self = Self::Leased { until: now + term, cancel: None };
        }
        shelved
    }

    pub(crate) fn beat(&mut self, now: Instant, term: Duration) -> Beat {
        match self {
            Self::Leased { until, cancel } => {
                *until = now + term;
                cancel.map_or(Beat::Held, Beat::Cancel)
            }
            Self::Reported { .. } => Beat::Ended,
            Self::Lost { why } => Beat::Lost(why),
            // Nobody knows its id yet.
            Self::Shelved { .. } => Beat::Lost("it was given to nobody"),
        }
    }

    pub(crate) fn end(&mut self, said: Said) -> End {
        match self {
            Self::Leased { .. } => {
                *self = Self::Reported { said };
                End::First
            }
            Self::Reported { said: before } if *before == said => End::Again,
            Self::Reported { .. } => End::Other,
            Self::Lost { why } => End::Lost(why),
            Self::Shelved { .. } => End::Lost("it was given to nobody"),
        }
    }

    /// It is to stop; false when nobody has it, so that it can go back at once.
    pub(crate) fn cancel(&mut self, why: &'static str) -> bool {
        match self {
            Self::Leased { cancel, .. } => {
                cancel.get_or_insert(why);
                true
            }
            Self::Shelved { .. } => {
                *self = Self::Lost { why };
                false
            }
            Self::Reported { .. } | Self::Lost { .. } => true,
        }
    }

    /// Its lease is gone.
    pub(crate) fn lose(&mut self, why: &'static str) {
        if matches!(self, Self::Shelved { .. } | Self::Leased { .. }) {
            *self = Self::Lost { why };
        }
    }

    /// When to call [`Self::over`] at the latest.
    pub(crate) const fn until(&self) -> Option<Instant> {
        match self {
            Self::Shelved { until } | Self::Leased { until, .. } => Some(*until),
            Self::Reported { .. } | Self::Lost { .. } => None,
        }
    }

    pub(crate) fn over(&mut self, now: Instant) -> Over {
        match self {
            Self::Shelved { until } if *until <= now => {
                *self = Self::Lost { why: "no worker took it" };
                Over::GiveBack
            }
            Self::Leased { until, .. } if *until <= now => {
                *self = Self::Lost { why: "its worker sent no heartbeat for the whole term" };
                Over::Abandon
            }
            Self::Shelved { .. } | Self::Leased { .. } | Self::Reported { .. } | Self::Lost { .. } => Over::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(10);
    const SAID: Said = [1; 32];

    fn after(ms: u64, start: Instant) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_job_is_taken_once_and_held_for_a_term_from_every_beat() {
        let start = Instant::now();
        let mut state = State::new(after(5_000, start));
        assert!(state.take(start, TERM) && !state.take(start, TERM));
        assert_eq!(state.over(after(9_999, start)), Over::NotYet);
        assert_eq!(state.beat(after(9_999, start), TERM), Beat::Held);
        assert_eq!(state.over(after(10_000, start)), Over::NotYet);
        assert_eq!(state.over(after(19_999, start)), Over::Abandon);
        assert!(matches!(state.beat(after(20_000, start), TERM), Beat::Lost(_)));
        assert!(matches!(state.end(SAID), End::Lost(_)));
        assert_eq!(state.until(), None);
    }

    #[tokio::test]
    async fn what_nobody_took_goes_back_and_cannot_be_taken_afterwards() {
        let start = Instant::now();
        let mut state = State::new(after(5_000, start));
        assert_eq!(state.over(after(5_000, start)), Over::GiveBack);
        assert!(!state.take(after(5_001, start), TERM));
        let mut state = State::new(after(5_000, start));
        assert!(!state.cancel("why"), "nobody has it");
        assert!(!state.take(start, TERM));
    }

    #[tokio::test]
    async fn an_end_counts_once_and_the_same_said_again_is_known() {
        let start = Instant::now();
        let mut state = State::new(after(5_000, start));
        state.take(start, TERM);
        assert_eq!((state.end(SAID), state.end(SAID), state.end([2; 32])), (End::First, End::Again, End::Other));
        state.lose("too late");
        assert_eq!((state.end(SAID), state.beat(start, TERM)), (End::Again, Beat::Ended));
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_is_told_at_every_beat_and_the_worker_may_still_end_it() {
        let start = Instant::now();
        let mut state = State::new(after(5_000, start));
        state.take(start, TERM);
        assert!(state.cancel("its deadline passed") && state.cancel("other"));
        assert_eq!(state.beat(start, TERM), Beat::Cancel("its deadline passed"));
        assert_eq!(state.beat(start, TERM), Beat::Cancel("its deadline passed"));
        assert_eq!(state.end(SAID), End::First);
        let mut state = State::new(after(5_000, start));
        state.take(start, TERM);
        state.lose("its lease was lost");
        assert_eq!(state.end(SAID), End::Lost("its lease was lost"));
    }
}
