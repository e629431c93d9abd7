//! Checks that the code keeps its layers, sizes, names and lints (DESIGN §8).
//!
//! Every check is a function from data to a list of violations. `tests/workspace.rs` applies each to this workspace; the
//! tests beside a check plant a violation and see it found, so that none of them can be green by accident.
//!
//! - [`layers`]: which crate may depend on which, and what must not be below a pure crate, however far down;
//! - [`files`]: no long Rust file, no drawer names;
//! - [`lints`]: every crate inherits the workspace's lints.
//!
//! What is looked at is what `cargo tree -e normal` (the lock file, this machine's target, default features) and
//! `git ls-files` name; [`workspace`] asks them. Dev-dependencies are free: a test may use what it likes.

pub mod files;
pub mod layers;
pub mod lints;
pub mod workspace;
