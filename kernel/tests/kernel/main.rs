//! The kernel as a stage: facts, messages, replay.

mod messages;
mod properties;
mod scenarios;
mod shard;
mod spec;
