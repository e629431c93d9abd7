//! Cancelling a job that is held or deferred.

use tidegate_protocol::command::{Command, CommandRefusal};
use tidegate_protocol::facts::KernelFact;

use super::say::same_job;
use super::{Refused, refused};
use crate::kernel::Kernel;

impl Kernel {
    /// Somebody who operates, or submits for the tenant, calls a job off.
    pub(super) fn cancel(&self, command: &Command) -> Result<KernelFact, Refused> {
        let Some(kept) = self.kept.get(&command.source) else {
            let detail = "it is neither held nor deferred here: it has ended, or it was released to its pool, where this \
                          version cannot stop it any more";
            return refused(CommandRefusal::NotKept, detail);
        };
        same_job(command, kept)?;
        Ok(KernelFact::JobCancelled {
            job: Box::new(kept.job.clone()),
            command: command.id.clone(),
            by: command.by.clone(),
            reason: command.reason.clone(),
            replaces: kept.replaced(),
        })
    }
}
