//! The floor: the same appends with nothing of Tidegate between them.
//!
//! Per partition one loop reads raw records, gathers while a "group" is on its way, appends the group, and after its
//! acknowledgement the verdicts; for jobs the same chain goes on through lease groups, lanes, reports and `finished`,
//! waiting only where Tidegate waits. Sizes of what is appended are those of the Tidegate side of the same run.

pub(crate) mod bare;
pub(crate) mod chain;
pub(crate) mod kafka;
mod sizes;
pub(crate) mod spine;

pub(crate) use sizes::sizes;
