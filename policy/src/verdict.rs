//! What a judgement says.

use crate::compile::Snapshot;
use crate::effect::Effect;
use std::sync::Arc;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::{Approval, ShadowMode, Throttle};
use tidegate_protocol::limits::LimitUse;

/// The most winning rules a verdict names; an explanation names them all.
pub const MAX_WINNERS: usize = 16;

/// The verdict on one subject.
/// Only [`Snapshot::judge`](crate::Snapshot::judge) and [`Snapshot::evaluate`](crate::Snapshot::evaluate) make one.
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
    /// What the job must keep to if it may run, merged to the tightest.
    pub constraints: Option<Arc<Constraints>>,
    /// Who must approve, for [`Effect::RequireApproval`].
    pub approval: Option<Arc<Approval>>,
    /// When it is judged again, for [`Effect::Throttle`].
    pub throttle: Option<Throttle>,
    /// What rules that are only tried out would have said. At most [`MAX_WINNERS`].
    pub shadow: Vec<(Arc<str>, Effect, ShadowMode)>,
    /// The limits that admitted the job: to be reserved with the decision when it may run.
    pub spends: Vec<LimitUse>,
}

impl Verdict {
    /// The last deny.
    pub(crate) fn denied_by_default(snapshot: &Snapshot) -> Self {
        Self {
            effect: Effect::Deny,
            reason: Arc::clone(&snapshot.denied_by_default),
            rule_ids: Vec::new(),
            tags: Vec::new(),
            uncertain_tags: Vec::new(),
            default_used: true,
            constraints: None,
            approval: None,
            throttle: None,
            shadow: Vec::new(),
            spends: Vec::new(),
        }
    }
}
