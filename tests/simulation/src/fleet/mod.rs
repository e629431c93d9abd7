//! The full scenario: the kernel on two partitions of a source, the scheduler of a pool, simulated worker processes with
//! the worker crate's own session, submitters that repeat and forge, and liars on the reports topic.

pub mod executions;
pub mod forgers;
pub mod judge;
pub mod leases;
pub mod liars;
pub mod load;
pub mod parts;
pub mod planted;
pub mod scenario;
pub mod worker;
