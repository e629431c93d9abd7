//! The facts of the limits stage (`limits.facts`).

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::definition::LimitId;
use super::records::{LimitAnswer, LimitRequest};
use crate::ids::SenderId;
use crate::time::Timestamp;

/// A fact of a limits shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitsFact {
    /// A request was answered. Emits the answer to the asker.
    Answered {
        /// Who asked.
        to: SenderId,
        /// What was asked; absent when it was kept waiting until now (`AskKept`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<LimitRequest>>,
        /// The answer, always `Granted`.
        answer: LimitAnswer,
    },
    /// A request waits until others have given back, or until a time.
    AskKept {
        /// Who asked.
        to: SenderId,
        /// What was asked.
        request: Box<LimitRequest>,
        /// It is answered by then, with or without.
        until: Timestamp,
    },
    /// A holder gave back, ended its holding, or told of a job's end.
    Told {
        /// Who.
        by: SenderId,
        /// What.
        request: Box<LimitRequest>,
    },
    /// Somebody else needs what this one holds, or a breaker switched. Emits the notice.
    Noticed {
        /// Whom it is for.
        to: SenderId,
        /// `Recalled` or `Switched`.
        notice: LimitAnswer,
    },
    /// A breaker changes by time: open long enough, it lets probes through.
    BreakerHalfOpened {
        /// Which.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
    },
    /// A holding ended without a word: all it could have spent is out of every window by now.
    HoldingLapsed {
        /// Whose.
        of: SenderId,
        /// Which.
        holding: u64,
        /// Of which limit.
        limit: LimitId,
        /// For which key.
        key: Box<str>,
        /// How much it was.
        capacity: Amount,
    },
    /// Nothing counts any more for this key.
    KeyForgotten {
        /// Of which limit.
        limit: LimitId,
        /// Which.
        key: Box<str>,
    },
    /// A record that no shard could have written, or that follows from nothing known. Changes nothing.
    RequestRefused {
        /// Who wrote it.
        by: SenderId,
        /// Why, for people.
        reason: String,
    },
}
