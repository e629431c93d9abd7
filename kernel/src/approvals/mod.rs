//! What people say about held jobs, and what time says.
//!
//! | the command | the job | facts |
//! |---|---|---|
//! | not signed by somebody trusted for it, or not readable | any | none: counted, logged |
//! | approve, reject | not held (ended, deferred, never there) | `CommandRefused` `not_held` |
//! | | of another id, tenant or input | `other_input` |
//! | | this person has no role that may approve it now | `not_an_approver` |
//! | reject | held | `JobDecided`, deny |
//! | approve | this person's own, or made for them | `own_job` |
//! | | the verdict they saw asked for something else | `other_snapshot` |
//! | | they have approved it before | `already_given` |
//! | | enough people have, and it is about to be judged again | `enough` |
//! | | held | `ApprovalGiven` |
//! | cancel | kept, of another id, tenant or input | `other_input` |
//! | | kept | `JobCancelled` |
//! | | not kept, and no pool, or none that is here, is named | `not_kept` |
//! | | withdrawn from that pool before | `already_withdrawn` |
//! | | else | `JobWithdrawn`: its pool is told |
//! | revoke | revoked before | `already_revoked` |
//! | | of this shard, kept, of another id, tenant or input | `other_input` |
//! | | else | `DelegationRevoked`; the job itself, where it stands here, as if it was cancelled; see [`delegation`](crate::delegation) |
//! | redrive | redriven before; signed too long ago | `already_redriven`; `out_of_time` |
//! | | a life of it was revoked, and that is remembered | `already_revoked` |
//! | | no job as it stands; it waits, or its id is another record's | `no_job`; `id_taken` |
//! | | no policy, no room, or limits unsettled | `not_now` |
//! | | else | `RecordRedriven` and its verdict, which settles the command |
//! | drop | any record of this shard | `RecordDropped` |
//!
//! | time or policy | facts |
//! |---|---|
//! | the hold's time is over | `JobDecided`, deny |
//! | a role's turn has come | `HoldEscalated` |
//! | enough people have approved, or another policy is used | judged again, below |
//!
//! | judged again, policy says | and | facts |
//! |---|---|---|
//! | require_approval | it asks for no more than was asked, and enough people have approved | `JobDecided`, allow |
//! | | it asks for no more, and more are needed | `HoldRenewed`: what was approved counts |
//! | | it asks for more, or for other constraints | `JobHeld`: what was approved no longer counts |
//! | anything else | | as [`concluding`](crate::concluding) says: people cannot allow what policy denies |
//!
//! So a job that people approve is judged by the policy, and against the limits, of the moment it is released.
//!
//! A refusal is a fact only for commands that were believed, and only so many a minute: writing to the topic grows no log.

mod authentic;
mod cancel;
mod hold;
mod redrive;
mod revoke;
mod say;
mod spared;
mod timer;
mod view;

pub(crate) use hold::{Hold, can_be_given, end, is_principal};
pub(crate) use spared::Refusals;
pub(crate) use timer::due;
pub(crate) use view::held;

use tidegate_protocol::command::{Action, Command, CommandRefusal};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::Cause;
use tidegate_stage::{Arrival, Decision};

use crate::kernel::Kernel;

/// Why a believed command has no effect.
struct Refused {
    why: CommandRefusal,
    detail: String,
}

fn refused<T>(why: CommandRefusal, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { why, detail: detail.into() })
}

impl Kernel {
    /// Decides about a record of `commands.<source>`.
    pub(crate) fn command(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let (command, person) = match self.believe(arrival, at) {
            Ok(believed) => believed,
            Err(unbelieved) => return self.disbelieve(arrival, &unbelieved),
        };
        let said = match command.action {
            Action::Approve => self.approve(&command, &person, at),
            Action::Reject => self.reject(&command, &person, at),
            Action::Cancel => self.cancel(&command, Cause::Cancelled),
            Action::Revoke => match self.revoke(&command, at) {
                Ok(facts) => return facts.into_iter().for_each(|fact| decision.fact(fact)),
                Err(refused) => Err(refused),
            },
            Action::Drop => self.drop_dead(&command),
            Action::Redrive => match self.redrive(arrival, &command, at, decision) {
                Ok(()) => return,
                Err(refused) => Err(refused),
            },
        };
        match said {
            Ok(fact) => decision.fact(fact),
            Err(Refused { why, detail }) => self.refuse(command, why, detail, at, decision),
        }
    }

    fn refuse(
        &self,
        command: Command,
        why: CommandRefusal,
        detail: String,
        at: Timestamp,
        decision: &mut Decision<KernelFact>,
    ) {
        self.meters.commands_refused(why.word());
        let Command { id, action, source, by, .. } = command;
        tracing::info!(%source, command = %id, action = action.word(), %by, why = why.word(), detail, "a command was refused");
        if self.refusals.may_be_fact(at) {
            decision.fact(KernelFact::CommandRefused { source, command: id, action, by, why, detail });
        }
    }
}
