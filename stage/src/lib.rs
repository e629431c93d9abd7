//! Stage and runner: one shape for kernel, scheduler, limits and workflows (DESIGN section 2).
//!
//! An ordered log feeds a deterministic step ([`Stage`]); the step returns facts; the [`runner`] makes them durable in
//! groups; messages follow. Futures only: the simulation drives the very same code with its own clock and spine.
//!
//! [`facts`] and [`marks`] say what of a facts log and of a sealed topic counts; views use them as the runner does. [`replay`] and
//! [`snapshots`] give a shard's state again, to its next owner and to whoever judges it from outside.

#[cfg(test)]
mod cheap;
pub mod control;
pub mod facts;
pub mod marks;
pub mod message;
pub mod metrics;
mod place;
mod ranges;
pub mod replay;
pub mod rules;
pub mod runner;
pub mod snapshots;
pub mod spec;
pub mod stage;

pub use message::{ADDED_HEADERS, Delivery, Message, Outbox};
pub use rules::Rules;
pub use runner::{Clock, Ended, Reached, Run, ShardEvent, Watch};
pub use spec::{InputKind, InputSpec, Pace, ShardSpec, Writers};
pub use stage::{Arrival, Decision, Input, InputRef, Signal, Stage};
