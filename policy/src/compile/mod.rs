//! From checked bundles to one immutable [`Snapshot`](crate::Snapshot).
//!
//! Rules get their place in evaluation order: invariants, then the tiers from the most specific, within each by
//! bundle id and then as written. What matches is found through the `index` and then read by place.

mod bitmap;
mod cells;
mod compared;
mod core;
mod hash;
mod index;
mod name;
mod signals;
mod slot;
mod snapshot;

pub(crate) use bitmap::{Head, Row, Rows, bits, span};
pub(crate) use cells::{MIXED, Run};
pub(crate) use compared::{Compared, Found};
pub(crate) use core::{Core, Enforced, NONE};
pub(crate) use index::{Index, Single, Topic};
pub(crate) use signals::{ALWAYS, Signals};
pub(crate) use slot::{Slot, TraitSet, Traits};
pub(crate) use snapshot::{Block, Grants, Stage, UNGRANTED, compile};
pub use snapshot::{BundleInfo, Snapshot};

/// A hasher without random keys: tables are built from the policy alone and only looked up with outside text,
/// so nobody can crowd a bucket, and nothing about a snapshot differs between two processes.
pub(crate) type FixedState = std::hash::BuildHasherDefault<hash::WordHasher>;
