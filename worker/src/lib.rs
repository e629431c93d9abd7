//! Workers: what runs jobs. A library (an async Rust handler per capability) and the agent built on it (a command per
//! job).
//!
//! A [`Worker`] reads its own lane of `work.<pool>`, takes assignments under leases, runs them, and says how they ended
//! on `reports.<pool>` (DESIGN section 5). Delivery to handlers is **at least once**: a job whose lease was lost runs
//! again elsewhere, and only the result with the current token counts (I5). A handler whose effects must not happen
//! twice keys them by [`Context::job`]'s tenant and id; [`Context::key`] names the attempt.
//!
//! | module | what it is |
//! |---|---|
//! | [`session`] | the protocol towards one shard of a pool: pure, driven by the simulation too |
//! | [`handler`] | what a user writes: raw, typed, or a closure |
//! | [`context`] | what a handler is told: job, payload, deadline, cancel signal, progress |
//! | [`demand`] | how many jobs are asked for, where somebody else takes them up |
//! | [`children`] | jobs that a job spawns, with its ticket |
//! | [`results`] | how they end |
//! | [`constraints`] | who sees to it that a job keeps to its constraints |
//! | `signs` | what jobs tell on their way to the loop: bounded |
//! | [`time_slice`] | a short time slice for threads, the system's for commands |
//! | `payload` | payloads kept beside the log, fetched before a handler runs |
//! | [`worker`] | settings, checked |
//! | [`run`] | the loop: lane in, reports out, jobs as tasks; drain |
//! | [`run::gate`] | which orders and jobs are believed: pure, driven by the simulation too |
//! | [`agent`] | a process per job, and the builtins `noop`, `echo`, `sleep:MS` |
//! | [`measures`] | every metric with its unit and sentence |
//!
//! Failure: while the spine is away everything keeps running and what is to be said gathers; after a full lease without
//! a report that landed nothing new is taken, and jobs run on until the scheduler says that they are others', unless the worker
//! was told to stop them then ([`WhenUnproven`]). A handler that panics failed. A lane that
//! lost records (`Truncated`) starts a new incarnation.
//!
//! Absent on purpose: any broker client, retries (the scheduler's), policy (the kernel's).

pub mod agent;
pub mod children;
pub mod constraints;
pub mod context;
pub mod demand;
pub mod handler;
mod lending;
pub mod measures;
mod payload;
pub mod results;
pub mod run;
pub mod session;
mod signs;
pub mod time_slice;
pub mod worker;

pub use children::{Children, NotSpawned, Spawned};
pub use context::{Cancel, Context};
pub use demand::Demand;
pub use handler::{Ending, Failure, Handler, TypedHandler};
pub use lending::Lent;
pub use results::{ChildEnd, NotAwaited, Results};
pub use run::{Drained, RunError};
pub use session::{Retry, WhenUnproven};
pub use worker::{Builder, Settings, SettingsError, Worker};
