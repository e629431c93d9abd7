//! Stage and runner: one shape for kernel, scheduler, limits and workflows (DESIGN section 2).
//!
//! An ordered log feeds a deterministic step ([`Stage`]); the step returns facts; the runner makes them durable in
//! groups; messages follow. Futures only: the simulation drives the very same code with its own clock and spine.

pub mod message;
pub mod spec;
pub mod stage;

pub use message::{Delivery, Message, Outbox};
pub use spec::{InputKind, InputSpec, Pace, ShardSpec};
pub use stage::{Arrival, Decision, Input, InputRef, Signal, Stage};
