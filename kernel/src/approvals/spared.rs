//! How many refusals of commands become facts: one who is trusted and floods must not grow the log without bound.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::time::Timestamp;

/// A minute.
const SPAN: Duration = Duration::from_mins(1);
/// Most refusals that become facts in it.
const MOST: u32 = 600;

/// Refusals that became facts lately. Durable: changed by those facts alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusals {
    since: Timestamp,
    facts: u32,
}

impl Refusals {
    /// Whether one more may be a fact at `at`.
    pub(crate) fn may_be_fact(&self, at: Timestamp) -> bool {
        self.facts < MOST || at.since(self.since) >= SPAN
    }

    /// One more became a fact.
    pub(crate) fn count(&mut self, at: Timestamp) {
        if at.since(self.since) >= SPAN {
            *self = Self { since: at, facts: 0 };
        }
        self.facts = self.facts.saturating_add(1);
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_fresh(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_and_the_next_begins_anew() {
        let mut refusals = Refusals::default();
        let at = Timestamp(100_000_000);
        for _ in 0..MOST {
            assert!(refusals.may_be_fact(at));
            refusals.count(at);
        }
        assert!(!refusals.may_be_fact(at + Duration::from_secs(59)));
        let later = at + SPAN;
        assert!(refusals.may_be_fact(later));
        refusals.count(later);
        assert!(refusals.may_be_fact(later));
    }
}
