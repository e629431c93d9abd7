//! Having a dead record judged again, and marking one as done with.
//!
//! The verdict is that of a new life of the record ([`SourcePosition::redrive`](tidegate_protocol::job::SourcePosition)): what
//! died stays dead, and the scheduler and all views tell the two apart. So a record that is redriven although it never died
//! cannot run beside itself: its job is live, and the new life ends as its duplicate.

use tidegate_protocol::command::{Command, CommandRefusal};
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::kept::{FactPlace, KeptAs, Replaced};
use tidegate_protocol::redrive::Redriven;
use tidegate_protocol::returned::Work;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision};

use super::{Refused, refused};
use crate::concluding::Case;
use crate::identity::Known;
use crate::kernel::Kernel;
use crate::reading::{self, Reading, Refusal};
use crate::redriven::{is_fresh, restored};
use crate::returned::INDEX_STEP;

/// A job to be judged, its payload's place, and the verdict that released it before.
type Found = (Job, PayloadAt, Option<FactPlace>);

impl Kernel {
    /// An operator has done with a dead record.
    pub(super) fn drop_dead(&self, command: &Command) -> Result<KernelFact, Refused> {
        self.stands_here(&command.source)?;
        let Command { source, id, by, reason, .. } = command.clone();
        Ok(KernelFact::RecordDropped { source, command: id, by, reason })
    }

    /// An operator has a dead record judged again; the verdict settles the command.
    pub(super) fn redrive(
        &self,
        arrival: &Arrival<'_>,
        command: &Command,
        at: Timestamp,
        decision: &mut Decision<KernelFact>,
    ) -> Result<(), Refused> {
        let died = &command.source;
        self.stands_here(died)?;
        self.may_be_redriven(command, at)?;
        let (Some(redriven), Some(life)) = (command.redrive.as_deref(), died.redrive.checked_add(1)) else {
            return refused(CommandRefusal::NoJob, "the command carries no record");
        };
        let Some(policy) = self.policies.usable() else {
            return refused(
                CommandRefusal::NotNow,
                "there is no policy to judge it by: say it again when there is one",
            );
        };
        let record = restored(redriven, arrival.record);
        let (job, payload, verdict) = self.read_again(redriven, &record, died.redriven(life), at)?;
        if let Some(taken) = self.taken(&job, at) {
            return refused(CommandRefusal::IdTaken, format!("its id is that of {taken}"));
        }
        self.adopt_first(policy, decision);
        let Command { id, by, reason, .. } = command.clone();
        decision.fact(KernelFact::RecordRedriven { source: job.source.clone(), command: id, by, reason });
        let died_at = Timestamp(command.at_ms.saturating_mul(1_000));
        let replaced = Replaced { was: KeptAs::Dead, at: died_at, leases: 0, strikes: 0, verdict };
        let said = {
            let mut memory = self.memory.borrow_mut();
            memory.reader.decode_again(payload, &record);
            self.say(policy, (&job, payload, &record), at, false, &mut memory, decision)
        };
        let case = Case { job, payload, record: &record, kept: None, returned: Some(replaced), at, spends: Vec::new() };
        decision.settle(arrival.at, self.resolve(case, said));
        Ok(())
    }

    /// Whether it is a record of this shard.
    fn stands_here(&self, source: &SourcePosition) -> Result<(), Refused> {
        if source.source == *self.config.source.name() && source.partition == self.config.shard {
            return Ok(());
        }
        refused(CommandRefusal::OtherInput, "its record stands in another partition than the command")
    }

    /// Whether this life of the record may be followed by another now.
    fn may_be_redriven(&self, command: &Command, at: Timestamp) -> Result<(), Refused> {
        let SourcePosition { offset, redrive, .. } = command.source;
        if self.config.source.observe() {
            return refused(CommandRefusal::NotAvailable, "of a source that is only observed nothing is released");
        }
        if self.redrives.life(offset) > redrive {
            let later = command.source.redriven(self.redrives.life(offset));
            return refused(CommandRefusal::AlreadyRedriven, format!("it was redriven before: see {later}"));
        }
        if let Some(why) = self.families.forbid_redrive(&command.source, at) {
            // Another life would run and delegate as if nobody had said so.
            return refused(CommandRefusal::AlreadyRevoked, why);
        }
        if !is_fresh(command.at_ms, at) {
            let detail = "it was signed more than an hour ago, or its time is still to come: sign it anew";
            return refused(CommandRefusal::OutOfTime, detail);
        }
        if self.kept.is_full(KeptAs::Deferred) {
            return refused(CommandRefusal::NotNow, "nothing more can wait here: say it again when there is room");
        }
        if !self.redrives.has_room(at) {
            return refused(CommandRefusal::NotNow, "too many records were redriven in the last two hours: wait");
        }
        if let Some(kept) = self.kept.at(offset) {
            return refused(CommandRefusal::IdTaken, format!("it waits here as {}: it is not dead", kept.job.source));
        }
        if self.wallet.awaits(offset) {
            let detail = "what its job took of limits is not settled yet: say it again in a moment";
            return refused(CommandRefusal::NotNow, detail);
        }
        Ok(())
    }

    /// The job in what is redriven.
    fn read_again(
        &self,
        redriven: &Redriven,
        record: &Record,
        source: SourcePosition,
        at: Timestamp,
    ) -> Result<Found, Refused> {
        match redriven {
            Redriven::Record(_) => {
                let no = |Refusal { reason, detail }| Refused {
                    why: CommandRefusal::NoJob,
                    detail: format!("{}: {detail}", reason.word()),
                };
                let mut memory = self.memory.borrow_mut();
                let Reading { outcome, .. } = memory.reader.read(&self.config.source, source, record, at.millis());
                let reading::Found { mut job, payload, parent_ticket } = outcome.map_err(no)?;
                // A child that died is one still: its parent's ticket is looked at as it was the first time.
                self.delegate(&mut job, parent_ticket.as_deref(), at, &mut memory.tickets).map_err(no)?;
                Ok((job, payload, None))
            }
            Redriven::Work(text) => {
                let no = |why: String| Refused { why: CommandRefusal::NoJob, detail: why };
                let Work { job, decision, payload } =
                    Work::read(text.get()).map_err(|e| no(format!("it is no judged job: {e}")))?;
                let work = Work { job, decision, payload };
                let ticket = self
                    .proven(text.get(), &work, at)
                    .map_err(|refused| no(format!("its ticket proves nothing: {refused}")))?;
                if work.job.source.redriven(source.redrive) != source {
                    return Err(no(format!("it is the job of {}", work.job.source)));
                }
                let verdict = FactPlace { group: ticket.group, number: ticket.index / INDEX_STEP };
                Ok((Job { source, ..work.job }, work.payload, Some(verdict)))
            }
        }
    }

    /// Another record that has the job's id.
    fn taken(&self, job: &Job, at: Timestamp) -> Option<SourcePosition> {
        if let Some(kept) = self.kept.of(job) {
            return Some(kept.job.source.clone());
        }
        match self.window.look_up(job, at) {
            Known::New => None,
            Known::Repeat(offset) | Known::Conflict(offset) => {
                (offset != job.source.offset).then(|| SourcePosition { offset, redrive: 0, ..job.source.clone() })
            }
        }
    }
}
