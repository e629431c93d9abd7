//! The scheduler: hands approved jobs, by capability, to workers under leases (DESIGN section 5). A
//! [`Stage`](tidegate_stage::Stage): no IO, no clock, no randomness.
//!
//! One [`Scheduler`] is one shard of one pool. Its inputs, in the order of [`Pool::shard_spec`]: its buckets of
//! `approved.<pool>`, the same buckets of `overflow.<pool>`, its partitions of `reports.<pool>`, `commands.<pool>`,
//! `withdrawals.<pool>` and, in a pool of several shards, `grants.<pool>`.
//!
//! # Words
//! *Waiting*: a job read but never leased; it stays in its log and in a bounded, soft [`window`]. *Leased*: a worker has
//! it. *Requeued*: its lease ended without a result; it is [`ready`] again, before its tenant's others. *Delayed*: it is not ready
//! before a certain time, a later start or the pause between two attempts ([`retry`]). *Token*: (epoch of the
//! granting owner, lease count of the job); it rises with every lease. *Welcome*: tells a worker this owner's epoch.
//! *Credit*: the worker's total of assignments it accepts in this epoch. *Strike*: an attempt that failed and may be
//! retried, or a lease that ended in silence, a restart or a loss. *Cordoned*: an operator wants the worker to get nothing new. *Returned*: its ticket expired before it could be leased; its kernel judges it again.
//!
//! # Invariants
//! - A job has at most one holder, and ends once ([`transition`] is the whole table; I5, I1).
//! - A result counts only with the current token, from its holder's present incarnation, under this owner's epoch.
//! - Nothing is assigned to a worker before its heartbeat under this epoch, beyond its credit, beyond its capacity, or
//!   without every capability the job needs ([`placement`]).
//! - Replay of the facts gives the same snapshot, byte for byte (I7): [`state`] is changed by facts alone.
//! - Memory is bounded (I10): the window, the workers known, the ended jobs and withdrawals remembered, delayed jobs (by not reading on);
//!   leases by the workers' capacity.
//!
//! # Failure
//! A new owner knows which jobs are leased but nothing of the present: every lease has a full term, every worker is
//! welcomed anew, and a lease of an older epoch is settled only by a report that names the new epoch. A worker's record
//! that cannot be read, names a lane that is not there or comes from an older incarnation changes nothing and is counted.
//! A worker beyond the bound is not welcomed. A fact that cannot follow is not believed and counted
//! ([`Gauges::impossible_facts`]).
//!
//! # Deliberately absent
//! Fairness between the shards of a pool beyond an equal part of each limit: weights are of a shard.

mod answers;
mod aside;
mod clock;
mod commands;
mod cordons;
mod debts;
mod early;
mod fleet;
mod gate;
mod gauges;
mod hellos;
mod lent;
mod lines;
pub mod measures;
mod offer;
mod overflow;
mod owner;
mod placement;
mod pool;
mod ready;
mod reports;
mod retry;
mod scheduler;
mod sequence;
mod shares;
mod slab;
mod state;
mod transition;
mod transitions;
mod window;
mod work;

pub use gauges::{Counts, Gauges};
pub use lent::Lending;
pub use pool::{BadPool, Layout, Pool, Tuning};
pub use scheduler::Scheduler;
pub use shares::{CapabilityLimit, TenantShare};

#[cfg(test)]
extern crate self as tidegate_scheduler;
#[cfg(test)]
#[path = "../tests/driver/mod.rs"]
mod driver;
#[cfg(test)]
mod ready_tests;
