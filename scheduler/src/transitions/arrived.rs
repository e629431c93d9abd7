//! A record on `approved` or `overflow`: it waits, or is refused, or is a second one of a live job.

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::headers;
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::limits::Usage;
use tidegate_protocol::outcome::{DeadReason, Outcome};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::withdrawal::{Withdrawal, Withdrawn};
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision, InputRef, Outbox};

use super::{Dead, cancelled, delayed, ended};
use crate::Scheduler;
use crate::transition::Phase;
use crate::window::Origin;
use crate::work::{NotWork, Work};

/// What a job record was understood as when it arrived.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is in the window.
    Waits,
    /// This fact settles it.
    Ends(Box<SchedulerFact>),
    /// It is no job: it calls one off.
    Withdraws(Box<Withdrawn>),
}

/// Takes in a record of `withdrawals.<pool>`.
pub(crate) fn hear_early(scheduler: &mut Scheduler, arrival: &Arrival<'_>) -> Fate {
    let Some(fate) = withdrawal(scheduler, arrival, Origin::Approved) else {
        let detail = "no withdrawal, and nothing else belongs here".to_owned();
        return Fate::Ends(Box::new(refused(arrival, DeadReason::InvalidField, detail)));
    };
    if let Fate::Withdraws(withdrawn) = &fate {
        let source = &withdrawn.source;
        let known = scheduler.soft.window.get(source).is_some() || scheduler.state.phase(source) != Phase::Waiting;
        if !known {
            scheduler.soft.early.remember((**withdrawn).clone());
        }
    }
    fate
}

/// Takes a record in: into the window, or tells the fact that settles it.
pub(crate) fn hear(scheduler: &mut Scheduler, arrival: &Arrival<'_>, origin: Origin, at: Timestamp) -> Fate {
    if scheduler.soft.window.at(arrival.at).is_some() {
        return Fate::Waits;
    }
    if let Some(fate) = withdrawal(scheduler, arrival, origin) {
        return fate;
    }
    let read = Work::read(arrival.record.value.as_ref());
    let its_own = |work: Work| sent_by_its_own(scheduler, arrival, origin, &work.source).map(|()| work);
    let work = match read.and_then(its_own) {
        Ok(mut work) => {
            work.came_back(number_of(arrival, origin));
            work
        }
        Err(no) => return Fate::Ends(Box::new(refused(arrival, no.reason, no.detail))),
    };
    if let Some(live) = live(scheduler, &work) {
        let fact = {
            let (settles, moved) = (work.settles, work.terms().moved);
            SchedulerFact::JobDuplicate { source: work.source, duplicate_of: live, settles, moved }
        };
        return Fate::Ends(Box::new(fact));
    }
    let withdrawn = scheduler.state.overflow().withdrawn(&work).map(str::to_owned);
    if let Some(reason) = withdrawn.or_else(|| scheduler.soft.early.of(&work)) {
        let end = ended::called_off_unleased(&work, Outcome::Cancelled, reason);
        return Fate::Ends(Box::new(end));
    }
    let (bytes, most) = (work.bytes(), scheduler.pool.max_work_bytes);
    if bytes > most {
        return Fate::Ends(Box::new(SchedulerFact::JobFinished {
            source: work.source.clone(),
            job_id: work.id(),
            tenant: work.alike.tenant.clone(),
            outcome: Outcome::Dead,
            reason: format!("its record of {bytes} bytes is over the limit of {most}"),
            dead: Some(DeadReason::TooLarge),
            output: None,
            by: None,
            attempts: 0,
            work: None,
            usage: Usage::default(),
            settles: work.settles,
            moved: work.terms().moved,
        }));
    }
    if scheduler.pool.is_spent(&work, work.terms().strikes) {
        return Fate::Ends(Box::new(ended::spent(&work)));
    }
    if let Some(fact) = delayed::on_arrival(scheduler, &work, at) {
        return Fate::Ends(Box::new(fact));
    }
    let source = work.source.clone();
    scheduler.soft.window.insert(arrival.at, work);
    scheduler.offer(&source, at);
    Fate::Waits
}

/// The number under which this shard moved the job; 0 of one that comes from its kernel.
fn number_of(arrival: &Arrival<'_>, origin: Origin) -> u64 {
    let number = || arrival.record.headers.text(headers::MOVED)?.parse().ok();
    if origin == Origin::Overflow { number().unwrap_or(0) } else { 0 }
}

/// A record that calls a job off; `None` when it is to be read as a job.
fn withdrawal(scheduler: &mut Scheduler, arrival: &Arrival<'_>, origin: Origin) -> Option<Fate> {
    let value = arrival.record.value.as_deref()?;
    let Withdrawal { v, withdrawn } = Withdrawal::read(value)?;
    scheduler.soft.counts.withdrawals += 1;
    if v != 1 {
        let detail = format!("a withdrawal of format version {v} is not known here");
        return Some(Fate::Ends(Box::new(refused(arrival, DeadReason::InvalidField, detail))));
    }
    Some(match sent_by_its_own(scheduler, arrival, origin, &withdrawn.source) {
        Ok(()) => Fate::Withdraws(Box::new(withdrawn)),
        Err(no) => Fate::Ends(Box::new(refused(arrival, no.reason, no.detail))),
    })
}

/// Whether the record comes from the shard that may send it: the kernel of the job's own partition, or for what was moved a
/// scheduler of this pool. Each of them signs for its own alone, so the record of another is not what it says it is.
fn sent_by_its_own(
    scheduler: &Scheduler,
    arrival: &Arrival<'_>,
    origin: Origin,
    of: &SourcePosition,
) -> Result<(), NotWork> {
    let sender = arrival.sender.map_or("", |(sender, _)| sender.as_str());
    let right = match origin {
        Origin::Approved => {
            let kernel = sender.strip_prefix("kernel.").and_then(|kernel| kernel.rsplit_once('/'));
            kernel.is_some_and(|(source, shard)| source == of.source.as_str() && shard.parse() == Ok(of.partition))
        }
        Origin::Overflow => {
            let scheduled = sender.strip_prefix("scheduler.").and_then(|of| of.rsplit_once('/'));
            scheduled.is_some_and(|(pool, _)| pool == scheduler.pool.layout.pool.as_str())
        }
    };
    if right {
        return Ok(());
    }
    let detail = format!("`{sender}` may not send a job of {}/{}", of.source, of.partition);
    Err(NotWork { reason: DeadReason::Foreign, detail })
}

/// The end of a record that the runner does not believe.
pub(crate) fn refuse(arrival: &Arrival<'_>, reason: DeadReason, decision: &mut Decision<SchedulerFact>) {
    let detail = match reason {
        DeadReason::Unsigned => "it is not signed by a kernel: only stages may write here",
        DeadReason::Forged => "its signature is wrong",
        DeadReason::Foreign => "it is signed by a key that is not trusted here, not for this, or no longer",
        DeadReason::Altered => "it is not what was signed",
        DeadReason::Replayed => "it is genuine, but for another place, or met before",
        DeadReason::FormerOwner => "its sender had been superseded; the new owner sent it again",
        DeadReason::Unparsable
        | DeadReason::TooDeep
        | DeadReason::TooLarge
        | DeadReason::NullValue
        | DeadReason::InvalidField
        | DeadReason::TenantNotAllowed
        | DeadReason::IdConflict
        | DeadReason::ControlRecord
        | DeadReason::Unroutable
        | DeadReason::MaxAttempts
        | DeadReason::Expired
        | DeadReason::ParentTicketMissing
        | DeadReason::ParentTicketRefused
        | DeadReason::ParentTicketForged
        | DeadReason::ParentTicketMismatch
        | DeadReason::ParentTicketExpired => "it is not believed",
    };
    decision.settle(arrival.at, refused(arrival, reason, detail.into()));
}

fn refused(arrival: &Arrival<'_>, reason: DeadReason, detail: String) -> SchedulerFact {
    let value = arrival.record.value.as_deref().unwrap_or_default();
    SchedulerFact::WorkRefused {
        partition: arrival.partition.clone(),
        offset: arrival.at.offset,
        reason,
        detail,
        input_hash: InputHash::of(value, []),
    }
}

/// The live job of that name, or the same record once more.
fn live(scheduler: &Scheduler, work: &Work) -> Option<SourcePosition> {
    match scheduler.state.phase(&work.source) {
        Phase::Leased | Phase::Requeued | Phase::Delayed | Phase::Ended => return Some(work.source.clone()),
        Phase::Waiting => {}
    }
    let name = (work.alike.tenant.clone(), work.id());
    scheduler.state.live(&name).or_else(|| scheduler.soft.window.live(&name)).cloned()
}

/// A second record of a live job has ended. One that was in `overflow` gives its place in line up: nothing else would ever.
pub(crate) fn duplicate(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    duplicate_of: &SourcePosition,
    moved: u64,
    at: Timestamp,
) {
    scheduler.soft.counts.duplicates += 1;
    // Where it is the same record once more, its place is still the job's. (0: of a time before moves were numbered.)
    if moved == 0 || source == duplicate_of {
        return;
    }
    let of = scheduler.owner_of(source);
    scheduler.state.overflow_mut().leave_line(source);
    if scheduler.soft.epoch.is_some()
        && let Some((_, line)) = of
    {
        scheduler.leave(source, line.as_ref(), at);
    }
}

pub(crate) fn decide(
    scheduler: &Scheduler,
    fate: &Fate,
    record: InputRef,
    at: Timestamp,
    decision: &mut Decision<SchedulerFact>,
) {
    match fate {
        Fate::Waits => decision.wait(),
        Fate::Ends(fact) => decision.settle(record, (**fact).clone()),
        Fate::Withdraws(withdrawn) => cancelled::decide(scheduler, withdrawn, record, at, decision),
    }
}

/// `dead` carries the record's own bytes, or its hash.
pub(crate) fn needs_input(fact: &SchedulerFact) -> bool {
    match fact {
        SchedulerFact::WorkRefused { .. } => true,
        SchedulerFact::JobFinished { dead, by, work, .. } => {
            *dead == Some(DeadReason::TooLarge) && by.is_none() && work.is_none()
        }
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::LeaseGranted { .. }
        | SchedulerFact::LeaseExpired { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::JobRetried { .. }
        | SchedulerFact::JobDelayed { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::ResultRefused { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::JobDuplicate { .. }
        | SchedulerFact::JobMoved { .. }
        | SchedulerFact::JobReturned { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::PoolCommandRefused { .. }
        | SchedulerFact::WorkerForgotten { .. } => false,
    }
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, input: Option<&Record>, out: &mut Outbox) {
    let SchedulerFact::WorkRefused { partition, offset, reason, detail, input_hash } = fact else { return };
    let fits = |value: &&bytes::Bytes| value.len() <= scheduler.pool.max_work_bytes;
    let value = input.and_then(|record| record.value.as_ref()).filter(fits).cloned();
    let dead = Dead {
        key: &format!("{partition}@{offset}"),
        topic: partition.topic.as_str(),
        partition: partition.partition,
        offset: *offset,
        reason: *reason,
        detail,
        source: None,
        hash: value.is_none().then(|| input_hash.to_string()),
        value,
    };
    scheduler.dead(0, dead, out);
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::headers;
    use tidegate_protocol::outcome::DeadReason;
    use tidegate_stage::Delivery;

    use crate::driver::{Shard, approved, denied, job, layout};
    use crate::{Counts, Tuning};

    #[test]
    fn an_allowed_job_waits_and_leaves_no_fact() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        assert!(shard.approved(approved(&job("a", 1), "1")).facts.is_empty());
        assert_eq!((shard.unsettled(), shard.stage.gauges().waiting), (1, 1));
    }

    #[test]
    fn a_denied_job_on_approved_is_settled_and_dead_with_its_own_bytes() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let bytes = denied(&job("a", 1));
        let step = shard.approved(bytes.clone());
        let dead = step.messages.first().unwrap();
        assert_eq!((dead.delivery, dead.value.as_ref()), (Delivery::Advisory, Some(&bytes)));
        assert_eq!(dead.headers.text(headers::DEAD_CLASS), Some("forged"));
        assert_eq!(dead.headers.text(headers::DEAD_TOPIC), Some("tg.approved.p"));
        assert_eq!((shard.unsettled(), shard.stage.gauges().waiting), (0, 0));
        assert_eq!(shard.stage.gauges().counts, Counts { work_refused: 1, ..Counts::default() });
    }

    #[test]
    fn a_job_of_another_source_partition_than_its_senders_is_refused() {
        for sender in ["kernel.jobs/1", "kernel.jobs2/0", "kernel.jobs", "scheduler.p/0", "kernel.jobs/00x"] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            let step = shard.sent_by(sender, approved(&job("a", 1), "1"));
            let reason = step.messages.first().and_then(|m| m.headers.text(headers::DEAD_CLASS));
            assert_eq!((reason, shard.stage.gauges().waiting), (Some("foreign"), 0), "{sender}");
        }
    }

    #[test]
    fn what_the_runner_does_not_believe_is_dead_with_its_own_bytes_and_the_reason() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let bytes = approved(&job("a", 1), "1");
        for (reason, word) in [(DeadReason::Altered, "altered"), (DeadReason::FormerOwner, "former_owner")] {
            let step = shard.refused(bytes.clone(), reason);
            let dead = step.messages.first().unwrap();
            assert_eq!((dead.headers.text(headers::DEAD_CLASS), dead.value.as_ref()), (Some(word), Some(&bytes)));
            assert_eq!((shard.unsettled(), shard.stage.gauges().waiting), (0, 0));
        }
    }

    #[test]
    fn a_record_too_large_to_hand_out_is_dead_by_reference_and_hash() {
        let mut shard = Shard::new(layout(), &Tuning { max_work_bytes: 1_024, ..Tuning::default() });
        let step = shard.approved(approved(&job("a", 1), &format!("\"{}\"", "x".repeat(1_024))));
        let finished: Vec<_> = step.messages.iter().map(|m| (m.ordinal, m.delivery, m.value.is_some())).collect();
        assert_eq!(finished, [(0, Delivery::Fenced, true), (1, Delivery::Advisory, false)]);
        let dead = step.messages.last().unwrap();
        assert_eq!(dead.headers.get(headers::DEAD_HASH).map(|hash| hash.len()), Some(64));
        assert_eq!(dead.headers.text(headers::DEAD_CLASS), Some("too_large"));
        assert_eq!(shard.unsettled(), 0);
    }
}
