//! What was accepted survives kill -9 and pauses, judged by the outside ledger.
//!
//! | module | who dies |
//! |---|---|
//! | `dev_killed` | `tidegate dev`, under load, again and again on one folder |
//! | `faults_short` | roles on a real Kafka: the short variant of `make faults` |
//! | `shards_killed` | one of two schedulers that have a pool's shards between them |
//! | `shared_limits` | in turn a scheduler, the limits stage and a worker of a pool whose shards share limits |
//! | `worker_gone` | one of two workers, for good; and one that stands still past its lease |
//! | `static_member` | a process with a name of its own, in order, and it is back in time |
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dev_killed;
mod faults_short;
mod shards_killed;
mod shared_limits;
mod static_member;
mod worker_gone;
