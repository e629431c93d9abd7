//! What a rule or a verdict does to a job, in order of severity.
//!
//! The words are the protocol's, so that what policy says is what the log records.

pub use tidegate_protocol::decision::Verdict as Effect;

/// Whether a rule of this effect takes something away. What cannot be told counts as a match for such a rule, and
/// as no match for one that permits.
pub(crate) const fn restricts(effect: Effect) -> bool {
    !effect.permits()
}
