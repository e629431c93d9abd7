//! From a subject and a snapshot to a verdict: derive tags, select the rules that match, combine them.

mod address;
mod combine;
mod derive;
mod explain;
mod payload;
mod scratch;
mod select;

pub(crate) use address::plain_address;
pub use explain::{ConditionTrace, Explanation, RuleTrace, TagTrace};
pub use payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
pub use scratch::Scratch;

use crate::compile::Snapshot;
use crate::limit::{Judgement, LimitView};
use crate::subject::Subject;
use crate::verdict::Verdict;

impl Snapshot {
    /// Judges a subject at an instant (milliseconds since the Unix epoch), with what is known of limits.
    ///
    /// Waits only where a limit that is not known could change the verdict.
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        at_ms: u64,
        limits: &mut dyn LimitView,
        scratch: &mut Scratch,
    ) -> Judgement {
        // No rule looks at the hour or at a limit yet.
        let _ = (at_ms, limits);
        Judgement::Decided(self.evaluate(subject, scratch))
    }

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
