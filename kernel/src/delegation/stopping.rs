//! Revoking a job, and stopping what acts for it.

use std::time::Duration;

use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::Cause;
use tidegate_stage::Decision;

use super::families::{Released, Revocation};
use crate::kernel::Kernel;
use crate::life::Life;

/// What clocks of kernels may differ, and then some.
const ALLOWANCE: Duration = Duration::from_secs(10);

impl Kernel {
    /// When no ticket that a job has now can be valid any more.
    pub(crate) fn tickets_end(&self, at: Timestamp) -> Timestamp {
        at + self.config.longest_ticket() + ALLOWANCE
    }

    /// Stops the next jobs that act for a revoked one; whether there were any.
    pub(crate) fn stop_revoked(&self, decision: &mut Decision<KernelFact>) -> bool {
        let mut any = false;
        for fact in self.families.to_stop().filter_map(|life| self.stopped(life)) {
            decision.fact(fact);
            any = true;
        }
        any
    }

    fn stopped(&self, life: Life) -> Option<KernelFact> {
        let Life(offset, redrive) = life;
        let (name, partition) = (self.config.source.name().clone(), self.config.shard);
        let source = SourcePosition::new(name, partition, offset).redriven(redrive);
        if let Some(kept) = self.kept.get(&source) {
            let Revocation { command, by, reason, .. } = self.families.stops_kept(&kept.job)?.clone();
            let (job, replaces) = (Box::new(kept.job.clone()), kept.replaced());
            return Some(KernelFact::JobCancelled { job, command, by, reason, replaces, cause: Cause::Revoked });
        }
        let (released, revocation) = self.families.stops_released(life)?;
        let Released { id: job_id, tenant, pool, .. } = released.clone();
        let Revocation { command, by, reason, .. } = revocation.clone();
        let cause = Cause::Revoked;
        Some(KernelFact::JobWithdrawn { source, job_id, tenant, pool, command, by, reason, cause })
    }
}
