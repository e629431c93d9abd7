//! Revoking a job: it delegates no longer, and is called off where it stands.

use tidegate_protocol::command::{Command, CommandRefusal};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::Cause;

use super::{Refused, refused};
use crate::kernel::Kernel;

impl Kernel {
    /// Somebody who operates revokes a job, of this shard or of another: what acts for it may stand here all the same.
    pub(super) fn revoke(&self, command: &Command, at: Timestamp) -> Result<Vec<KernelFact>, Refused> {
        if let Some(known) = self.families.revoked(&command.source, at) {
            return refused(CommandRefusal::AlreadyRevoked, format!("it was revoked by {}", known.by));
        }
        let mut facts = vec![KernelFact::DelegationRevoked {
            source: command.source.clone(),
            job_id: command.job_id.clone(),
            tenant: command.tenant.clone(),
            command: command.id.clone(),
            by: command.by.clone(),
            reason: command.reason.clone(),
            until: self.tickets_end(at),
        }];
        let here = command.source.source == *self.config.source.name() && command.source.partition == self.config.shard;
        if here {
            match self.cancel(command, Cause::Revoked) {
                Ok(fact) => facts.push(fact),
                Err(wrong @ Refused { why: CommandRefusal::OtherInput | CommandRefusal::OtherTenant, .. }) => {
                    return Err(wrong);
                }
                // It has ended, or is ending. What it spawned may not have.
                Err(_) => {}
            }
        }
        Ok(facts)
    }
}
