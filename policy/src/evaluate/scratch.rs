//! Memory an evaluation reuses.

use super::derive::Outcome;
use super::payload::Payload;
use crate::compile::RowId;

/// Buffers kept between evaluations, one a thread. Holds no state that a verdict depends on, and serves any
/// snapshot, so it outlives a reload.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) payload: Payload,
    /// Globs of the snapshot that stand for the topic.
    pub(super) globs: Vec<u32>,
    /// By tag id.
    pub(super) tags: Vec<Outcome>,
    /// Rows of all attributes, one attribute after the other.
    pub(super) picks: Vec<RowId>,
    /// Where in `picks` each attribute ends.
    pub(super) ends: Vec<usize>,
    /// Rows of label keys the subject has.
    pub(super) labelled: Vec<RowId>,
    /// Places of the rules that match, ascending.
    pub(super) survivors: Vec<u32>,
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }
}
