//! What becomes of a hold as time passes.

use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::time::Timestamp;

use super::Hold;
use super::say::ended;
use crate::kept::KeptJob;

/// What is due at `fresh`: everything people said before was read before.
pub(crate) fn due(kept: &KeptJob, hold: &Hold, fresh: Timestamp) -> Option<KernelFact> {
    if hold.until <= fresh {
        let missing = "not approved in time";
        return Some(ended(kept, hold, format!("{missing}: {}", hold.decision.reason)));
    }
    let (when, to) = hold.next_escalation()?;
    (when <= fresh).then(|| KernelFact::HoldEscalated { source: kept.job.source.clone(), to: to.to_owned() })
}
