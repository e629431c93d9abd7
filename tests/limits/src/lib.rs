//! The limits hammer: kernel shards' wallets and limits shards in one process, with what a runner does to them - groups that
//! land late or never, messages delivered once and in order per channel but late, takeovers from landed facts, clocks that
//! differ - and an exact ledger over all shards that checks every window of every key.
//!
//! What a former owner still writes has the effect of what never landed (the runner drops it), so a kill stands for both.
//! Spends count once their group has landed; stamps are the shards' own `at`.
//!
//! [`ledger`] knows nothing of holdings: it sees spends, ends of jobs, and the limits' definitions.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it does not expect must fail"
)]

pub mod ledger;
pub mod load;
pub mod owner;
pub mod parts;
pub mod world;

pub use ledger::Violation;
pub use world::{Planted, Settings, Summary, run};
