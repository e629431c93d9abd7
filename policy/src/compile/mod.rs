//! From checked bundles to one immutable [`Snapshot`](crate::Snapshot).
//!
//! Rules get their place in evaluation order: invariants, then the tiers from the most specific, within each by
//! bundle id and then as written. What matches is found through the `index` and then read by place.

mod bitmap;
mod index;
mod name;
mod snapshot;

pub(crate) use bitmap::{Row, bits};
pub(crate) use index::{Index, RowId, Single};
pub use snapshot::{BundleInfo, Snapshot};
pub(crate) use snapshot::{Block, Stage, compile};

/// A hasher without random keys: tables are built from the policy alone and only looked up with outside text,
/// so nobody can crowd a bucket, and nothing about a snapshot differs between two processes.
pub(crate) type FixedState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
