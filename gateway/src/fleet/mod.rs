//! Pools and workers as they stand, for people who operate them.
//!
//! Two sources of two kinds, joined in [`standing`]:
//!
//! | module | what it knows | from | worth |
//! |---|---|---|---|
//! | [`known`] | workers, who has which job, what waits, rates and times | facts of `leases.<pool>`, which the view reads anyway | believed, as everything of the view |
//! | [`heard`] | capacity, credit, when a worker was last heard, what it says of itself | `reports.<pool>` | open and unsigned: shown, never acted on; only of workers and incarnations that the facts know |
//!
//! [`telling`] passes operators' signed commands about workers on to every shard of a pool, and tells what became of them.
//!
//! Reports are most of what a busy pool writes, so they are read only while somebody asks ([`listen`]): the first answer may
//! take a heartbeat's time, and reading ends a minute after the last question.
//!
//! Bounds: workers and leases are those of schedulers, which bound them; of reports one is kept for a worker and shard; times
//! are the last [`known::SAMPLES`] of a pool.

pub mod heard;
pub mod known;
pub mod listen;
pub mod standing;
pub mod telling;

pub use known::Cordon;
pub use listen::{Fleet, FleetPool};
pub use standing::{PoolStanding, Quantiles, WorkerStanding, WorkerState};
pub use telling::Told;
