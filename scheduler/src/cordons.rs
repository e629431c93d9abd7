//! Which workers get no further job because an operator said so, and which commands were met. Durable: changed by facts alone.
//!
//! A cordon is of the worker's name: it survives its restarts, its absence, and owners of the shard. It ends by command alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{CommandId, WorkerId};
use tidegate_protocol::pool_command::Told;
use tidegate_protocol::pool_command::{AHEAD, FRESH};
use tidegate_protocol::time::Timestamp;

/// Most workers that are cordoned at once.
pub(crate) const MOST_CORDONED: usize = 10_000;
/// Most commands that are remembered: as long as they could count again.
const MOST_COMMANDS: usize = 4_096;
/// An old command is answered with a fact until so long after it was signed, and once; later it is passed over like one that
/// nobody signed. Whoever keeps genuine commands and says them again makes no log grow.
const ANSWERED: Duration = Duration::from_hours(1);
/// Refusals are facts at most so often in a [`SPAN`]: one who is trusted and floods must not grow the log without bound.
const MOST_REFUSALS: u32 = 600;
const SPAN: Duration = Duration::from_mins(1);

/// Whom a cordoned worker's commands came from is in the facts; this is what placement and Welcomes need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cordon {
    /// The incarnation that is to leave, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaves: Option<u64>,
    /// What it is told then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cordons {
    workers: BTreeMap<WorkerId, Cordon>,
    /// Commands met, and until when nothing more comes of them.
    commands: BTreeMap<CommandId, Timestamp>,
    /// Refusals since.
    refusals: (Timestamp, u32),
}

/// How the time at which a command was signed stands to `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timely {
    /// It counts, until then.
    InTime(Timestamp),
    /// It will count from then on.
    Ahead(Timestamp),
    /// It counts no more, and is answered until then.
    Late(Timestamp),
    /// It is not answered any more.
    Old,
}

/// See [`Timely`]; `signed_ms` are milliseconds since the Unix epoch.
pub(crate) fn timely(signed_ms: u64, at: Timestamp) -> Timely {
    let moment = Duration::from_millis(1);
    let signed = Timestamp(signed_ms.saturating_mul(1_000));
    let counts_from = Timestamp(signed.0.saturating_sub(u64::try_from(AHEAD.as_micros()).unwrap_or(u64::MAX)));
    // What is said of a millisecond holds for all of it.
    let now = Timestamp(at.millis().saturating_mul(1_000));
    if now < counts_from {
        Timely::Ahead(counts_from)
    } else if now <= signed + FRESH {
        Timely::InTime(signed + FRESH + moment)
    } else if now <= signed + ANSWERED {
        Timely::Late(signed + ANSWERED + moment)
    } else {
        Timely::Old
    }
}

impl Cordons {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn of(&self, worker: &WorkerId) -> Option<&Cordon> {
        self.workers.get(worker)
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether one more worker may be cordoned.
    pub(crate) fn has_room(&self) -> bool {
        self.workers.len() < MOST_CORDONED
    }

    /// Whether that command was met before, and nothing more comes of it at `at`.
    pub(crate) fn has_met(&self, command: &CommandId, at: Timestamp) -> bool {
        self.commands.get(command).is_some_and(|until| *until > at)
    }

    /// Whether one more command can be remembered at `at`.
    pub(crate) fn can_remember(&self, at: Timestamp) -> bool {
        self.commands.len() < MOST_COMMANDS || self.commands.values().any(|until| *until <= at)
    }

    /// Whether one more refusal may be a fact at `at`.
    pub(crate) fn may_refuse(&self, at: Timestamp) -> bool {
        let (since, refused) = self.refusals;
        refused < MOST_REFUSALS || at.since(since) >= SPAN
    }

    pub(crate) fn cordon(&mut self, worker: &WorkerId, tell: Option<Told>, reason: String) {
        // One that was told to leave stays told, though it be cordoned once more.
        let before = self.workers.get(worker).and_then(|cordon| cordon.leaves);
        let leaves = tell.map(|told| told.incarnation).or(before);
        self.workers.insert(worker.clone(), Cordon { leaves, reason });
    }

    pub(crate) fn uncordon(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }

    /// A command was met that was signed at that time. One that is ahead of it is remembered until it counts, so that it can count
    /// then.
    pub(crate) fn remember(&mut self, command: &CommandId, signed_ms: u64, at: Timestamp) {
        self.commands.retain(|_, until| *until > at);
        let until = match timely(signed_ms, at) {
            Timely::InTime(until) | Timely::Late(until) => until,
            Timely::Ahead(from) => from.min(at + FRESH),
            Timely::Old => return,
        };
        self.commands.insert(command.clone(), until);
    }

    pub(crate) fn refused(&mut self, at: Timestamp) {
        if at.since(self.refusals.0) >= SPAN {
            self.refusals = (at, 0);
        }
        self.refusals.1 = self.refusals.1.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> CommandId {
        CommandId::new(format!("c{n}")).unwrap()
    }

    #[test]
    fn a_command_counts_for_a_quarter_of_an_hour_and_is_remembered_for_as_long() {
        let signed = 1_000_000_000_u64;
        let at = |ms: u64| Timestamp(ms * 1_000);
        let counts = |now: u64| matches!(timely(signed, at(now)), Timely::InTime(_));
        for (now, in_time) in [(signed, true), (signed + 900_000, true), (signed + 900_001, false)] {
            assert_eq!(counts(now), in_time, "{now}");
        }
        assert!(counts(signed - 60_000) && !counts(signed - 60_001));
        assert_eq!(timely(signed, at(signed + 3_600_001)), Timely::Old);
        let mut cordons = Cordons::default();
        cordons.remember(&id(0), signed, at(signed));
        cordons.remember(&id(1), signed + 1, at(signed + 900_000));
        assert!(cordons.has_met(&id(0), at(signed + 900_000)), "it could count again");
        let later = at(signed + 900_001);
        assert!(!cordons.has_met(&id(0), later) && cordons.has_met(&id(1), later));
    }

    #[test]
    fn one_that_is_ahead_of_its_time_counts_when_that_has_come() {
        let signed = 1_000_000_000_u64;
        let at = |ms: u64| Timestamp(ms * 1_000);
        let mut cordons = Cordons::default();
        cordons.remember(&id(0), signed, at(signed - 70_000));
        assert!(cordons.has_met(&id(0), at(signed - 60_001)), "it is refused once");
        assert!(!cordons.has_met(&id(0), at(signed - 60_000)), "and may count now");
        cordons.remember(&id(1), u64::MAX, at(signed));
        assert!(!cordons.has_met(&id(1), at(signed + 900_000)), "nothing is remembered for ever");
    }

    #[test]
    fn no_more_commands_are_taken_than_can_be_remembered() {
        let mut cordons = Cordons::default();
        let at = Timestamp(1_000_000_000);
        for n in 0..MOST_COMMANDS {
            assert!(cordons.can_remember(at));
            cordons.remember(&id(n), at.millis(), at);
        }
        assert!(!cordons.can_remember(at));
        assert!(cordons.can_remember(at + FRESH + Duration::from_millis(1)));
    }

    #[test]
    fn a_minute_has_so_many_refusals_and_the_next_begins_anew() {
        let mut cordons = Cordons::default();
        let at = Timestamp(100_000_000);
        for _ in 0..MOST_REFUSALS {
            assert!(cordons.may_refuse(at));
            cordons.refused(at);
        }
        assert!(!cordons.may_refuse(at + Duration::from_secs(59)));
        cordons.refused(at + SPAN);
        assert!(cordons.may_refuse(at + SPAN));
    }
}
