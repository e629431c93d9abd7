//! What holds for a delegated job whatever policy says.

use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::delegation::Delegation;
use tidegate_protocol::job::Job;
use tidegate_protocol::time::Timestamp;

use crate::kernel::Kernel;
use crate::reading::quoted;

impl Kernel {
    /// Why a job may not run by its chain; `None` when policy is to say.
    pub(crate) fn beyond(&self, job: &Job, at: Timestamp) -> Option<String> {
        if let Some(why) = self.families.forbid(job, at) {
            return Some(why);
        }
        let delegation = job.delegation.as_deref()?;
        let parent = delegation.chain.last().map_or("", |parent| parent.job.as_str());
        let most = self.config.delegation.max_depth;
        if delegation.depth() > most {
            let depth = delegation.depth();
            return Some(format!("delegation: it has {depth} jobs above it, and there may be {most}"));
        }
        if delegation.expires_ms <= at.millis() {
            return Some(format!("delegation: the time in which `{}` could delegate is over", quoted(parent)));
        }
        let beyond = delegation.scope.admits(job).err()?;
        Some(format!("delegation: it {beyond}"))
    }
}

/// The verdict on a delegated job under what its parent has to keep to as well.
pub(crate) fn attenuated(delegation: Option<&Delegation>, mut decision: Decision) -> Decision {
    let Some(inherited) = delegation.and_then(|delegation| delegation.constraints.as_deref()) else { return decision };
    match &mut decision.constraints {
        Some(own) => own.tighten(inherited),
        none => *none = Some(Box::new(inherited.clone())),
    }
    if decision.verdict == Verdict::Allow {
        decision.verdict = Verdict::AllowWithConstraints;
    }
    decision
}
