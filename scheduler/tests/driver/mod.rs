//! A shard without its runner: what tests of the stage drive. Facts go through their JSON, so that replay sees what the
//! log would hold; an input settled twice, a fact beside its place or a message out of order fails the test.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "every test target uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod desk;
mod make;
mod shard;

pub use desk::*;
pub use make::*;
pub use shard::*;
