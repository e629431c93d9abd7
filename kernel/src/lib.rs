//! The safety kernel: judges every job against policy before anything can run it (DESIGN sections 2 to 4).
//!
//! A [`Kernel`] is the [`Stage`](tidegate_stage::Stage) of one partition of a source. Its facts are
//! [`KernelFact`](tidegate_protocol::facts::KernelFact)s, its signal is a compiled policy,
//! `Arc<tidegate_policy::Snapshot>`. [`shard_spec`] says what it reads and writes.
//!
//! # Inputs
//! | number | partition | kind |
//! |---|---|---|
//! | [`INPUT_JOBS`] | of the source | jobs, open: anyone may write, control records there are bad records |
//! | [`INPUT_COMMANDS`] | the same of `commands.<source>` | control, open: believed by signature alone, see `approvals` |
//! | [`INPUT_OUTCOMES`] | the same of `outcomes.<source>` | control, sealed: settles what jobs took of limits; jobs whose tickets expired |
//! | [`INPUT_GRANTS`] | the same of `grants.<source>` | control, sealed: answers of the limits stage |
//!
//! # Words
//! A **record** of a source becomes a **job**, or is **rejected** with a reason. A job gets a **verdict** from the
//! policy. An allowed job is **routed** to a pool. A job id seen lately is **known**.
//!
//! # Invariants
//! - Every record of the source that is decided about is settled by exactly one fact (I1, I4).
//! - Without a usable policy nothing is admitted, and what is not understood is never allowed (I3).
//! - Durable state (the adopted policy, the window of known ids) changes in `apply` alone; replay gives equal bytes (I7).
//! - Everything kept, quoted or written has a bound (I10).
//!
//! # Failure
//! No input makes it panic: what cannot be read goes to `dead` with its bytes and a sentence naming the field. A policy
//! that is older than, or differs from, what was used before judges nothing ([`PolicyStanding`]).

mod approvals;
mod concluding;
mod config;
mod delegation;
mod identity;
mod judging;
mod kept;
mod kernel;
mod life;
mod limiting;
mod messages;
mod meters;
pub mod reading;
mod redriven;
mod returned;
mod routes;
pub mod sources;
mod standing;
mod state;
pub mod wallet;
mod withdrawn;

pub use config::{
    DEFAULT_RECORD_BYTES, DEFAULT_TICKET_TTL, INPUT_COMMANDS, INPUT_GRANTS, INPUT_JOBS, INPUT_OUTCOMES, KernelConfig,
    KernelTopics, LEAST_RECORD_BYTES, PartitionCounts, shard_spec,
};
pub use delegation::DelegationBounds;
pub use identity::WindowBounds;
pub use kept::{KeptBounds, MAX_KEPT_RECORD_BYTES};
pub use kernel::{Kernel, KernelRefused};
pub use meters::describe_metrics;
pub use reading::{MAX_AHEAD_MS, MAX_ORDERING_KEY_BYTES, Refusal, envelope_of_line};
pub use routes::{ANY_CAPABILITY, Pool, Routes, RoutesRefused};
pub use sources::{Format, Mapping, MappingWritten, ParentTickets, Source, SourceRefused, SourceWritten, Tenants};
pub use standing::{PolicyStanding, StandingView};
