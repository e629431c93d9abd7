//! Jobs that were released and called off since: what is remembered, so that none of them is judged again.
//!
//! A withdrawal and a job's return (its ticket expired) may cross: then the scheduler knows the job no longer, and the
//! kernel ends it here instead of judging it. Durable: changed by facts alone (I7). Bounded by count (I10): the oldest is
//! forgotten first; that matters only to a job that was withdrawn while its return was under way, and before as many
//! others as the bound.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{CommandId, PersonId, PoolName};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::withdrawal::Cause;

/// Most that are remembered.
const MOST: usize = 4_096;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Withdrawn {
    pub(crate) source: SourcePosition,
    /// The pool that was told.
    pub(crate) pool: PoolName,
    pub(crate) command: CommandId,
    pub(crate) by: PersonId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Cause::is_cancelled")]
    pub(crate) cause: Cause,
}

/// All that are remembered, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Withdrawals(VecDeque<Withdrawn>);

impl Withdrawals {
    /// What was said of the job of this record.
    pub(crate) fn of(&self, source: &SourcePosition) -> Option<&Withdrawn> {
        // The last word counts: the job may have been told off in a pool that it had left.
        self.0.iter().rev().find(|withdrawn| withdrawn.source == *source)
    }

    /// One more.
    pub(crate) fn remember(&mut self, withdrawn: Withdrawn) {
        self.0.retain(|known| known.source != withdrawn.source);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(withdrawn);
    }

    /// The job has ended here.
    pub(crate) fn forget(&mut self, source: &SourcePosition) {
        self.0.retain(|known| known.source != *source);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(offset: usize) -> Withdrawn {
        Withdrawn {
            source: format!("jobs/0@{offset}").parse().unwrap(),
            pool: PoolName::new("bank").unwrap(),
            command: CommandId::new("c").unwrap(),
            by: PersonId::new("olga").unwrap(),
            reason: String::new(),
            cause: Cause::Cancelled,
        }
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_and_one_job_stands_there_once() {
        let mut withdrawals = Withdrawals::default();
        for offset in 0..=MOST {
            withdrawals.remember(withdrawn(offset));
            withdrawals.remember(withdrawn(offset));
        }
        assert_eq!(withdrawals.0.len(), MOST);
        assert!(withdrawals.of(&withdrawn(0).source).is_none());
        assert!(withdrawals.of(&withdrawn(1).source).is_some());
        withdrawals.forget(&withdrawn(MOST).source);
        assert_eq!(withdrawals.of(&withdrawn(MOST).source), None);
    }
}
