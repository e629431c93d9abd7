//! Ids, envelopes, every record and every topic of Tidegate. No IO; depends on nothing of ours.
//!
//! Values are JSON so that any consumer of the user's broker can read them; a payload is carried as the exact bytes
//! of its JSON text. Golden files of every record are in `tests/golden`.

pub mod address;
pub mod checkpoint;
pub mod cloudevents;
pub mod command;
pub mod constraints;
pub mod control;
mod decimal;
pub mod decision;
pub mod delegation;
pub mod facts;
pub mod fleet;
pub mod headers;
pub mod hex;
pub mod ids;
pub mod job;
pub mod kept;
pub mod limits;
pub mod merkle;
pub mod outcome;
pub mod payload;
pub mod pool_command;
pub mod proof;
pub mod redrive;
pub mod returned;
pub mod selector;
pub mod signature;
pub mod statements;
mod text;
pub mod time;
pub mod topic_glob;
pub mod topics;
pub mod trace;
pub mod withdrawal;
