//! What a judgement says.

use crate::effect::Effect;
use std::sync::Arc;

/// The most winning rules a verdict names; an explanation names them all.
pub const MAX_WINNERS: usize = 16;

/// The verdict on one subject.
/// Only [`Snapshot::evaluate`](crate::Snapshot::evaluate) makes one; it will carry constraints and approvals too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What happens to the job.
    pub effect: Effect,
    /// Why, for the submitter: the first winning rule's reason, or which default held.
    pub reason: Arc<str>,
    /// The rules that decided, in order of evaluation; empty when a default did. At most [`MAX_WINNERS`].
    pub rule_ids: Vec<Arc<str>>,
    /// Risk tags derived from topic and payload, sorted.
    pub tags: Vec<Arc<str>>,
    /// Tags whose deriver could not tell, sorted: they count for restrictions only.
    pub uncertain_tags: Vec<Arc<str>>,
    /// Whether no rule matched, so that the tenant's default, or the final deny, decided.
    pub default_used: bool,
}
