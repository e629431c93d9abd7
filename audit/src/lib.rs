//! Audit: is a log of decisions what was written, and what was decided (promise I8).
//!
//! A facts log is a chain: every valid group names the hash of the valid group before it, and groups, claims and barriers
//! are signed ([`tidegate_protocol::statements`]). What counts in it is said in one place, [`tidegate_stage::facts`], which
//! runners, views and this crate share; a [`Verifier`] asks beside that whether anything in the log can only be there, or
//! not be there, because somebody changed it. It is fed records in order, keeps constant memory and needs public keys alone.
//!
//! - [`Verifier`]: one partition, record by record, up to the first [`Damage`].
//! - [`Anchors`]: signed checkpoints, by which a cut tail is found and a log without its start is verified.
//! - [`report`]: what became of it, for people and machines.
//! - [`dump`]: a log as lines of JSON, to be verified anywhere.
//! - [`export`]: its decisions as lines of JSON.
//!
//! Deliberately absent: IO, clocks, secrets.

mod anchors;
mod damage;
pub mod dump;
pub mod export;
mod form;
mod owners;
pub mod report;
mod verifier;

pub use anchors::{Anchors, Refusal};
pub use damage::{Damage, Wrong};
pub use verifier::{Begin, Counts, Doubt, LogIdentity, Met, Verifier};
