//! The scenario of limits: kernels that spend, limits shards that lend, and a scheduler that tells how jobs end.
//!
//! Real kernels, real limits shards and a real scheduler, without workers: every job has a deadline, and its end is told
//! when that is over. The ledger is the hammer's: it knows of spends, of ends and of the limits' definitions, and nothing of
//! holdings.

pub mod judge;
pub mod load;
pub mod parts;
pub mod scenario;
