//! The kernel as a stage: facts, messages, replay.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]
#![expect(clippy::disallowed_methods, reason = "the crate has no IO; its scenarios and golden files are files")]

mod approvals;
mod chains;
mod delegation;
mod draining;
mod kept;
mod limits;
mod messages;
mod people;
mod properties;
mod quorum;
mod redrive;
mod returned;
mod revoking;
mod scenarios;
mod shard;
mod spec;
mod tickets;
