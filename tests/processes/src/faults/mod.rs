//! The run behind `make faults`: two processes a role on a real Kafka under load, each killed and paused in turn, and the
//! outside ledger's verdict.
//!
//! | module | what it is |
//! |---|---|
//! | [`load`] | 1,000 jobs a second, straight to the raw topic: allowed, denied, unparsable, repeated, in conflict |
//! | [`config`] | what their configurations say |
//! | [`fleet`] | the processes |
//! | [`bounds`] | what none of them may have more of |
//! | [`plan`] | the blows |
//! | [`notes`] | what commands note of themselves |
//! | [`run`] | one after the other; the verdict |
//! | [`backlog`] | a run of its own: the scheduler that owns a pool with a great backlog is killed |
//! | [`shared_limits`] | a run of its own: limits that two shards of a pool share, and whoever keeps them killed |
//! | [`worker_dies`] | a run of its own: one of two workers that have a burst of jobs is killed and stays away |
//! | [`worker_wakes`] | a run of its own: a worker is stopped past its lease, and wakes with a result nobody waits for any more |
//!
//! Failure behaviour: whatever goes wrong ends the run with an error, and with the story of the first jobs concerned.

pub mod backlog;
mod bounds;
mod config;
pub mod fleet;
pub mod load;
pub mod notes;
mod pair;
pub mod plan;
pub mod run;
pub mod shared_limits;
mod watch;
pub mod worker_dies;
pub mod worker_wakes;
