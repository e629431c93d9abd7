//! What a condition is evaluated on. Everything is borrowed.

use crate::evaluate::Outcome;
use crate::subject::Subject;
use simd_json::Node;
use std::sync::Arc;

/// A job and the moment, as a condition sees them.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The job's attributes. Its payload is taken from `payload`.
    pub subject: &'a Subject<'a>,
    /// The payload's tape; `None` when it could not be parsed within the limits.
    pub payload: Option<&'a [Node<'a>]>,
    /// What derivers found.
    pub tags: Tags<'a>,
    /// The runner's `at`, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Derived tags: names in ascending order, and for each what is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags<'a> {
    /// Every tag that can be derived, ascending.
    pub names: &'a [Arc<str>],
    /// By place in `names`.
    pub outcomes: &'a [Outcome],
}

impl<'a> Tags<'a> {
    pub(super) fn outcome(&self, tag: &str) -> Outcome {
        let place = self.names.binary_search_by(|name| (**name).cmp(tag));
        place.ok().and_then(|place| self.outcomes.get(place)).copied().unwrap_or_default()
    }

    /// The tags that are there; `None` when one cannot be told.
    pub(super) fn present(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let Self { names, outcomes } = *self;
        if outcomes.contains(&Outcome::Uncertain) {
            return None;
        }
        let there = |(name, outcome): (&'a Arc<str>, &Outcome)| (*outcome == Outcome::Present).then_some(&**name);
        Some(names.iter().zip(outcomes).filter_map(there))
    }
}
