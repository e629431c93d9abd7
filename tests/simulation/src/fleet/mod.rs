//! The full scenario: the kernel on two partitions of a source, the scheduler of a pool of one shard or two, simulated worker processes with
//! the worker crate's own session, labels of their own and clocks that may be wrong, submitters that repeat, jobs that wait for others of their key, ask for labels or
//! want to be tried again, tenants that both have more than can run, jobs that spawn jobs and are revoked, tickets that expire while they wait, people who approve,
//! an operator who redrives what died and what did not, forgers on sealed topics and in lanes, and liars on the reports topic.

pub mod approvals;
pub mod cuts;
pub mod executions;
pub mod families;
pub mod forgers;
pub mod judge;
pub mod leases;
pub mod liars;
pub mod lines;
pub mod lives;
pub mod load;
pub mod members;
pub mod parts;
pub mod people;
pub mod planted;
pub mod policies;
pub mod promises;
pub mod redrives;
pub mod scenario;
pub mod shares;
pub mod stalls;
pub mod turns;
pub mod wishes;
pub mod worker;
pub mod worker_clock;
