//! The limits stage: lends parts of every limit to kernel and scheduler shards, which spend them locally, so that a decision seldom waits
//! and no window is ever exceeded (DESIGN section 4, State). A [`Stage`](tidegate_stage::Stage): no IO, no clock, no chance.
//!
//! One [`Limits`] is one shard: the keys that hash to its partition of `limits.requests`. It answers on
//! `grants.<source>` or `grants.<pool>`, in the partition of the shard that asked.
//!
//! # Words
//! *Capacity*: how much may count within the window. *Holding*: the capacity one shard has of one key. *Residue*: what
//! a shard that gave its holding up had spent of it lately. *Recall*: a holder is asked to give back what it does not use,
//! because another needs it. *Owed*: what of a recall is beyond the holder's equal part, and is given back as it comes free.
//! *From* and *until*: the stamps between which a holding may be spent.
//!
//! # Why no window is exceeded
//! A holder never lets more count, within any window W of its own stamps, than it holds. All holdings of a key and its
//! residue together never exceed the limit L. So while capacity stays where it is, nothing can go wrong, whatever the clocks.
//! Capacity moves in four ways, and each says from which stamp it may be spent elsewhere ([`key`] keeps the latest as the
//! key's floor, every answer carries it, a holder obeys it):
//!
//! - *returned*: only what was unused in every window of the holder's last W + S; from its stamp less S;
//! - *residue* counts until the limits shard's own time is past (last spend + W + S); from last spend + W;
//! - *lapsed* (the holder never spoke again, or does not know it any more): counts until (until + W + S); from until + W;
//! - *not there* (the holder says that it has less: an answer or a return was lost): as returned by the request that says so.
//!
//! Take any window and, of the shards that spent in it, the one whose last usable answer came last. When that answer was
//! made, every other shard's capacity was still at least what it spent in the window: had it moved before, the answer's
//! *from* would lie behind the window. S (the clocks' allowance) is in no way part of the proof: a clock that is off by more
//! makes a holder wait for its *from*, nothing else. Crashes, takeovers and former owners do not matter either: holdings and
//! spends are facts, requests and answers go over fenced channels that deliver each exactly once, or never: where a log was cut
//! and given up. A holder takes the answer to its last request alone, and each request says what it has, so of what was lost
//! and of what it put aside nothing is spent. A log that is made anew makes a holder forget what it spent: that has lapsed.
//!
//! `concurrency` alone is about true time: a place is free before anybody else takes it, by an end that was told. Where none
//! is told, the holder's own time frees it, which may jump by as much as two owners' clocks differ; so there it counts for
//! W + S, and S must be at least that.
//!
//! Places of a pool's leases come free by their end alone: their window is the longest there is.
//!
//! What a job used beyond its reservation (budgets) has been used: it is counted, and only then may more than L count.
//!
//! # How much is refused that could have been allowed
//! A job is refused although an exact count over all shards would have let it pass only for these reasons:
//!
//! - a spend counts for up to W (1 + 1/64) where it was made, and up to W + S, rounded up by (W + S)/64, where its capacity
//!   was given up;
//! - what others spent in their last W + S is not lent on; what they hold unspent is recalled, within `recall_ms`;
//! - a holder that does not answer keeps its capacity until `holding_ms` + W + S after its last answer;
//! - a value that several shards met counts once for each of them (`count_distinct_within`);
//! - a reservation counts whole until the job's end is told, at most for W (budget) or W + S
//!   (concurrency).
//!
//! So at any moment at most (capacity of silent holders) + (what was spent in the last W + S + W/64 and not in the last W)
//! is withheld. A breaker is no capacity: it reacts one hop after the outcome that trips it, and one hop back.
//!
//! # Failure
//! A request that contradicts what is known is answered with nothing, one that was heard before too. State is bounded (I10): keys by tenant and in all,
//! one holding and one waiting request a shard and key, 66 buckets of residue a key; a key is forgotten when nothing counts.
//! Beyond the bound of keys nothing is granted, and what is not granted is exceeded (I3).
//!
//! # Deliberately absent
//! Limits over a parent's children (delegation), changing a limit in place: an altered limit is a new one.

mod answer;
mod breaker;
mod config;
mod key;
pub mod measures;
mod residue;
mod snapshot;
mod stage;
mod state;
mod tick;

pub use config::{BadLimitsConfig, Layout, LimitsConfig, Tuning};
pub use stage::{Limits, Planted};
