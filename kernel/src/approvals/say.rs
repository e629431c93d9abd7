//! Approving and rejecting.

use tidegate_protocol::command::{Command, CommandRefusal, Person};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::time::Timestamp;

use super::{Hold, Refused, is_principal, refused};
use crate::kept::KeptJob;
use crate::kernel::Kernel;

impl Kernel {
    /// A person approves a held job.
    pub(super) fn approve(&self, command: &Command, person: &Person, at: Timestamp) -> Result<KernelFact, Refused> {
        let (kept, hold) = self.held(command, person, at)?;
        if is_principal(&kept.job, person) {
            return refused(CommandRefusal::OwnJob, "nobody approves a job of their own, or one made for them");
        }
        if !hold.snapshots.contains(&command.snapshot) {
            return refused(
                CommandRefusal::OtherSnapshot,
                "the policy has changed since and asks for something else: look at the job again",
            );
        }
        if hold.given.iter().any(|given| given.by == person.id) {
            return refused(CommandRefusal::AlreadyGiven, "each person counts once");
        }
        if hold.is_satisfied() {
            return refused(CommandRefusal::Enough, "enough people have approved it; it is about to be judged again");
        }
        Ok(KernelFact::ApprovalGiven {
            source: command.source.clone(),
            command: command.id.clone(),
            by: person.id.clone(),
            roles: person.roles.clone(),
            snapshot: command.snapshot.clone(),
            reason: command.reason.clone(),
        })
    }

    /// A person rejects a held job: one who may approve it may end it, whatever others said.
    pub(super) fn reject(&self, command: &Command, person: &Person, at: Timestamp) -> Result<KernelFact, Refused> {
        let (kept, hold) = self.held(command, person, at)?;
        let mut reason = format!("rejected by {}", person.id);
        if !command.reason.is_empty() {
            reason = format!("{reason}: {}", command.reason);
        }
        Ok(ended(kept, hold, reason))
    }

    /// The held job a command is about, when this person has a say in it.
    fn held(&self, command: &Command, person: &Person, at: Timestamp) -> Result<(&KeptJob, &Hold), Refused> {
        let kept = self.kept.get(&command.source);
        let Some((kept, hold)) = kept.and_then(|kept| Some((kept, kept.asks_for()?))) else {
            let detail = "it is not held here: its hold has ended, or there never was one";
            return refused(CommandRefusal::NotHeld, detail);
        };
        same_job(command, kept)?;
        if at >= hold.until {
            return refused(CommandRefusal::NotHeld, "its time was over");
        }
        if !hold.takes(&person.roles) {
            let detail = "this person has none of the roles that may approve it now";
            return refused(CommandRefusal::NotAnApprover, detail);
        }
        Ok((kept, hold))
    }
}

/// Whether a command means the job that is kept for its record.
pub(super) fn same_job(command: &Command, kept: &KeptJob) -> Result<(), Refused> {
    let job = &kept.job;
    if command.tenant != job.tenant {
        return refused(CommandRefusal::OtherTenant, "the record holds a job of another tenant");
    }
    if command.job_id != job.id || command.input_hash != job.input_hash {
        return refused(CommandRefusal::OtherInput, "the record holds a job of another id or another input");
    }
    Ok(())
}

/// The end of a hold that nobody's policy has decided: the verdict that asked is denied.
pub(super) fn ended(kept: &KeptJob, hold: &Hold, reason: String) -> KernelFact {
    let decision = Decision { verdict: Verdict::Deny, reason, ..(*hold.decision).clone() };
    KernelFact::JobDecided {
        job: kept.job.clone(),
        decision,
        pool: None,
        payload: kept.payload,
        observed: false,
        replaces: Some(kept.replaced()),
        // A denied job takes of no limit; one that is approved is judged again, and takes of them there.
        spends: Vec::new(),
        would_take: Vec::new(),
    }
}
