//! Composition root: builds a process out of roles and a spine URL.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the file: as written → checked |
//! | [`spine`] | opens the adapter a URL names |
//! | [`topics`] | plan, apply, export; the preflight of every process |
//! | [`roles`] | kernel, scheduler, gateway; shards come and go with a group |
//! | [`policy_folder`], [`policy_signature`] | bundles, read again when a file changes, and by whom they are signed |
//! | [`process`] | start, readiness, stop in order |
//! | [`pools`] | pools added, changed, drained and taken out while a process runs |
//! | [`doctor`] | what is wrong with an installation, and what to do about it |
//! | [`dev`] | everything in one process on the embedded spine |
//! | [`workers`] | workers inside a process |
//!
//! Invariants: topics are never made or altered behind the user's back (only [`topics::apply`] and [`dev`] do, and
//! [`pools`] on an embedded spine, which nobody else can open meanwhile); a
//! process that is not ready says what it waits for; a stop leaves nothing running.
//!
//! Deliberately absent: supervision of processes, remote configuration.

mod checkpoint_file;
pub mod clock;
pub mod config;
pub mod dev;
pub mod doctor;
pub mod losses;
pub mod metrics;
pub mod payloads;
pub mod policy_folder;
pub mod policy_signature;
pub mod pools;
pub mod process;
mod readiness;
pub mod roles;
pub mod spine;
pub mod topics;
pub mod workers;

pub use config::{Config, ConfigRefused, Written};
pub use dev::{Dev, DevNode, dev};
pub use process::{Node, StartError, serve};
pub use roles::{Role, Roles};
pub use tidegate_gateway as gateway;
pub use tidegate_kernel::{Mapping, MappingWritten, envelope_of_line};
pub use tidegate_telemetry as telemetry;
