//! The seeded simulation: the real runner and the real stages on a simulated spine and clock (DESIGN section 2).
//!
//! One seed is one run: a small load, processes with clocks of their own, and a handful of faults at times and places
//! drawn from the seed. Everything happens in one thread in virtual time, so a seed gives one trace, always.
//!
//! - [`executor`] tasks, events and virtual time; processes crash, stop and wake late.
//! - [`spine`] a broker that keeps every promise of the traits and not one more: late, lost and reordered appends,
//!   gaps in offsets, outages, stalls, compaction, trimming.
//! - [`world`] the processes and the group that gives shards out, badly.
//! - [`faults`] what goes wrong, by seed; [`retention`] logs that are cut at their limits, and beyond.
//! - [`ledger`] the outside judge: its own naive reading of the raw topics, invariants by name.
//! - [`relay`] the fast scenario: small stages that pass, hold, move and expire records.
//! - [`fleet`] the full scenario: kernel, scheduler and workers.
//! - [`lending`] the scenario of limits: kernels, limits shards and a scheduler, judged by the hammer's ledger.
//! - [`run`] what all scenarios share.
//! - [`scenario`] which scenario a seed runs.
//! - [`plants`] the bugs that must be found.
//! - [`seeds`] many seeds on all cores.
//!
//! A planted bug is a value of [`tidegate_stage::Rules`] or a wrapped stage, given to a run in test code; it must turn
//! the simulation red. Deliberately absent: real threads, real time, any use of the stage crate's own reading of logs
//! in the judge.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "all data here is made by the simulation itself; a panic is reported with its seed"
)]

pub mod chance;
pub mod clock;
pub mod executor;
pub mod faults;
pub mod fleet;
pub mod keys;
pub mod ledger;
pub mod lending;
pub mod plants;
pub mod relay;
pub mod retention;
pub mod run;
pub mod scenario;
pub mod seeds;
pub mod spine;
pub mod trace;
pub mod world;
