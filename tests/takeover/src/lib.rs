//! How a shard changes owner, explored exhaustively (DESIGN §2, "Changing owner").
//!
//! This is `models/takeover.py` again, rule for rule, on the `stateright` model checker, so that `make test` explores every
//! interleaving of the protocol that `stage` implements. The tests in `tests/` say which configurations must hold and
//! which variants - each leaves one part of the protocol out - must be found out.
//!
//! Where `stage` does otherwise (docs/decisions 0004 and 0007) the rules are [`rules::Rules::CODE`], explored in the same way.
//!
//! Several owners want one shard; each may stop at any point and go on later (a paused process, a late packet). Appends are
//! atomic and ordered within one log and never across logs. A group of facts or a message that was handed to the client
//! lands at any later time, in the order it was handed over, or never: then its owner stops for good, while what is behind
//! it in the client may still land. The bounds are the number of owners, of source records and of output partitions;
//! within them nothing is sampled.
//!
//! Words
//! - *facts*: the facts log of the shard, [`record::Fact`]; an *epoch* is the offset of a claim in it.
//! - *output*: a partition the shard writes messages to, [`record::Delivered`].
//! - *verdict*: who decided, so that two owners' verdicts on one source record can be told apart.
//! - *believed*: a message that a reader of an output acts on, [`reader`].
//!
//! Invariants, checked in every state ([`model::Takeover`])
//! - safety: no source record is believed twice, over all outputs (I4);
//! - liveness: when the newest owner has nothing left to do, every source record is believed (I1).
//!
//! Deliberately absent: several records in one group, several messages for one fact, snapshots, and the reader's own
//! changes of owner. The seeded simulation covers those with the real runner.

pub mod model;
pub mod owner;
pub mod reader;
pub mod record;
pub mod rules;
pub mod validity;
