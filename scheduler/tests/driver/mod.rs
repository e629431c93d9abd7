//! A shard without its runner: what tests of the stage drive. Facts go through their JSON, so that replay sees what the
//! log would hold; an input settled twice, a fact beside its place or a message out of order fails the test.

#![expect(clippy::allow_attributes, reason = "every test target uses another part")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "every test target uses another part")]

mod make;
mod shard;

pub use make::*;
pub use shard::*;
