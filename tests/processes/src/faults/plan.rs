//! What is done to whom, in turn.

use std::time::Duration;

use super::fleet::SESSION;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL, and a start 1 s later.
    Kill,
    /// SIGSTOP for longer than the session lasts, then SIGCONT: it wakes as a former owner.
    Pause,
}

/// A paused process sleeps this long.
pub const PAUSED: Duration = SESSION.saturating_add(Duration::from_secs(3));
/// A killed one is started again after this.
pub const RESTARTED: Duration = Duration::from_secs(1);

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Every process of every role is killed and paused.
    Full,
    /// A kernel and a scheduler killed, a kernel paused.
    Short,
}

impl Length {
    /// The blows in turn, by the name of the process.
    #[must_use]
    pub fn blows(self) -> Vec<(Blow, &'static str)> {
        match self {
            Self::Full => {
                let all = ["kernel-1", "scheduler-1", "worker-1", "kernel-2", "scheduler-2", "worker-2", "auditor-1"];
                let paused = ["kernel-1", "scheduler-1", "worker-1", "kernel-2", "scheduler-2", "worker-2"];
                let kills = all.into_iter().map(|name| (Blow::Kill, name));
                kills.chain(paused.into_iter().map(|name| (Blow::Pause, name))).collect()
            }
            Self::Short => {
                vec![(Blow::Kill, "kernel-1"), (Blow::Kill, "scheduler-1"), (Blow::Pause, "kernel-2")]
            }
        }
    }

    /// Pauses of a kernel beyond that while takeovers or zombies are wanting: whether a process has anything in its hands
    /// when it is stopped is chance.
    #[must_use]
    pub const fn more_pauses(self) -> u32 {
        match self {
            Self::Full => 4,
            Self::Short => 0,
        }
    }

    /// Takeovers that the run must have seen.
    #[must_use]
    pub const fn least_takeovers(self) -> u32 {
        match self {
            Self::Full => 10,
            Self::Short => 3,
        }
    }

    /// Dropped records of former owners that it must have seen.
    #[must_use]
    pub const fn least_zombies(self) -> u64 {
        match self {
            Self::Full => 1,
            Self::Short => 0,
        }
    }

    /// Longest wait after a blow for things to be as before.
    #[must_use]
    pub const fn settling(self) -> Duration {
        match self {
            Self::Full => Duration::from_secs(20),
            Self::Short => Duration::from_secs(12),
        }
    }
}
