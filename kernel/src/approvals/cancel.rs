//! Calling a job off: one that is kept ends here, of one that was released its pool is told.

use tidegate_protocol::command::{Command, CommandRefusal};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::withdrawal::Cause;

use super::say::same_job;
use super::{Refused, refused};
use crate::kernel::Kernel;

impl Kernel {
    /// Somebody who operates, or submits for the tenant, calls a job off.
    pub(super) fn cancel(&self, command: &Command) -> Result<KernelFact, Refused> {
        let Some(kept) = self.kept.get(&command.source) else { return self.withdraw(command) };
        same_job(command, kept)?;
        Ok(KernelFact::JobCancelled {
            job: Box::new(kept.job.clone()),
            command: command.id.clone(),
            by: command.by.clone(),
            reason: command.reason.clone(),
            replaces: kept.replaced(),
            cause: Cause::Cancelled,
        })
    }

    /// Its pool is told. Which pool the command has to say: where everything ever released went is not kept here. One that
    /// is wrong about it ends nothing, since the pool's scheduler ends only a job of that record, tenant and id.
    fn withdraw(&self, command: &Command) -> Result<KernelFact, Refused> {
        let Some(pool) = &command.pool else {
            let detail = "it is neither held nor deferred here: it has ended, or it was released to a pool, which the \
                          command has to name";
            return refused(CommandRefusal::NotKept, detail);
        };
        if command.source.source != *self.config.source.name() || command.source.partition != self.config.shard {
            return refused(CommandRefusal::OtherInput, "its record stands in another partition than the command");
        }
        if self.config.source.observe() {
            return refused(CommandRefusal::NotKept, "of a source that is only observed nothing is released");
        }
        if self.config.routes.tenant_buckets(pool, &command.tenant).next().is_none() {
            return refused(CommandRefusal::NotKept, format!("there is no pool `{pool}` here"));
        }
        if self.withdrawn.of(&command.source).is_some_and(|withdrawn| withdrawn.pool == *pool) {
            return refused(CommandRefusal::AlreadyWithdrawn, format!("pool `{pool}` has been told to end it"));
        }
        Ok(KernelFact::JobWithdrawn {
            source: command.source.clone(),
            job_id: command.job_id.clone(),
            tenant: command.tenant.clone(),
            pool: pool.clone(),
            command: command.id.clone(),
            by: command.by.clone(),
            reason: command.reason.clone(),
            cause: Cause::Cancelled,
        })
    }
}
