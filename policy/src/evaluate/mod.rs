//! From a subject and a snapshot to a verdict: derive tags, select the rules that match, combine them.

mod address;
mod combine;
mod derive;
mod explain;
mod payload;
mod scratch;
mod select;

pub(crate) use address::plain_address;
pub use explain::{Explanation, RuleTrace, TagTrace};
pub use payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
pub use scratch::Scratch;

use crate::compile::Snapshot;
use crate::subject::Subject;
use crate::verdict::Verdict;

impl Snapshot {
    /// Judges a subject. Never fails: what cannot be told counts towards restriction.
    ///
    /// Allocates nothing but the lists of the verdict once `scratch` has grown to its working size (and a copy of an
    /// e-mail address that has capitals, where a deriver looks at one).
    pub fn evaluate(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Verdict {
        derive::derive(self, subject, scratch);
        select::select(self, subject, scratch);
        combine::combine(self, subject, scratch)
    }
}
