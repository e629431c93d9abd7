//! Jobs that come back: their ticket expired before a worker could have them, and the scheduler gives them back on
//! `outcomes.<source>` with their record from `approved`.
//!
//! | the record | policy | facts |
//! |---|---|---|
//! | not a job of this partition | | none: counted |
//! | its ticket is not this shard's, or is not what was signed | | `RecordRejected`: it ends as dead, and nothing of it is judged |
//! | genuine, and called off meanwhile | | `JobCancelled` |
//! | genuine | can judge | what [`concluding`](crate::concluding) says of a new job |
//! | genuine | cannot, and there is room | `JobDeferred` (`ticket`): judged as soon as it can |
//! | | no room, or too large to be kept | `JobDecided`, deny |
//!
//! Where nothing more can be kept, limits that have not answered count as exceeded, and a throttle is a deny.
//!
//! Every such fact names the verdict it replaces, by its place in the log (I4), and settles the record, from which it emits. So
//! the job's bytes need not be kept while it waits for a worker, and stand in the log once. The runner believes the record from
//! the pool's scheduler alone and once alone; the ticket inside proves that the job is what this shard allowed, so that not even
//! a scheduler can have another one judged here. A key that has been retired since still counts for a ticket of its time.
//!
//! Its pool takes it again although it drains, where no other pool does: draining ends nothing that a pool has.
//!
//! What the job took of limits was settled by the outcome that the scheduler sends first. An approval expires with its ticket:
//! where policy still asks for one, people are asked anew.

use tidegate_protocol::decision::{Decision as Judgement, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::Job;
use tidegate_protocol::kept::{FactPlace, KeptAs, Replaced};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::proof::{Refused, Ticket};
use tidegate_protocol::returned::{JobReturned, Returned, Work};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::trace;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision};

use crate::concluding::{Case, defer, denied};
use crate::judging::Said;
use crate::kept::Deferral;
use crate::kernel::Kernel;
use crate::withdrawn::Withdrawn;

/// Messages of one fact are numbered within this many.
pub(crate) const INDEX_STEP: u64 = 256;

/// The record from `approved` inside one that gives a job back; `None` when it gives none back.
pub(crate) fn opened(record: &Record) -> Option<Record> {
    let value = record.value.as_ref()?;
    let JobReturned { work, .. } = serde_json::from_slice::<JobReturned<'_>>(value).ok()?;
    /// What of its headers stands in it.
    #[derive(serde::Deserialize)]
    struct Traced {
        #[serde(default)]
        traceparent: Option<String>,
    }
    let traced = serde_json::from_str::<Traced>(work.get()).ok().and_then(|traced| traced.traceparent);
    // A part of `value`, since it is borrowed from there.
    let value = Some(value.slice_ref(work.get().as_bytes()));
    let headers = traced.into_iter().map(|parent| (trace::PARENT, parent)).collect();
    Some(Record { offset: record.offset, timestamp_ms: record.timestamp_ms, key: None, value, headers })
}

/// The end of a job whose return crossed its withdrawal.
fn cancelled(job: Job, replaces: Replaced, withdrawn: &Withdrawn) -> KernelFact {
    let Withdrawn { command, by, reason, cause, .. } = withdrawn.clone();
    KernelFact::JobCancelled { job: Box::new(job), command, by, reason, replaces, cause }
}

impl Kernel {
    /// Decides about a job that comes back; false when the record gives none back.
    pub(crate) fn hear_returned(
        &self,
        arrival: &Arrival<'_>,
        at: Timestamp,
        decision: &mut Decision<KernelFact>,
    ) -> bool {
        let value = arrival.record.value.as_deref().unwrap_or_default();
        let Ok(JobReturned { v: 1, returned, work: text }) = serde_json::from_slice(value) else { return false };
        let (Some(record), Ok(work)) = (opened(arrival.record), Work::read(text.get())) else { return false };
        let source = &work.job.source;
        if *source != returned.source
            || source.source != *self.config.source.name()
            || source.partition != self.config.shard
        {
            return false;
        }
        let proven = self.proven(text.get(), &work, at);
        let verdict =
            proven.as_ref().ok().map(|ticket| FactPlace { group: ticket.group, number: ticket.index / INDEX_STEP });
        let Returned { at: back_at, attempts: leases, strikes, .. } = returned;
        let replaced = Replaced { was: KeptAs::Released, at: back_at, leases, strikes, verdict };
        let case = Case {
            job: work.job,
            payload: work.payload,
            record: &record,
            kept: None,
            returned: Some(replaced),
            at,
            spends: Vec::new(),
        };
        let fact = match (proven, self.withdrawn.of(&case.job.source), self.policies.usable()) {
            (Ok(_), Some(withdrawn), _) => cancelled(case.job, replaced, withdrawn),
            (Err(refused), ..) => {
                let detail = format!("it came back with a ticket that proves nothing: {refused}");
                case.rejected(DeadReason::from(refused), detail)
            }
            (Ok(_), None, Some(policy)) => {
                self.adopt_first(policy, decision);
                let full = self.kept.is_full(KeptAs::Deferred);
                let mut memory = self.memory.borrow_mut();
                memory.reader.decode_again(case.payload, &record);
                let job = (&case.job, case.payload, &record);
                match self.say(policy, job, at, full, &mut memory, decision) {
                    // Intake is paused while nothing more can be kept, but jobs come back all the same.
                    Said::Decided(throttled, _) if full && throttled.verdict == Verdict::Throttle => {
                        denied(case, throttled, "its ticket expired, and there is no room to wait")
                    }
                    said @ (Said::Decided(..) | Said::Waits(_)) => self.resolve(case, said),
                }
            }
            (Ok(_), None, None) => self.without_a_policy(case),
        };
        decision.settle(arrival.at, fact);
        true
    }

    /// Whether the ticket in the record is this shard's, for just that record.
    pub(crate) fn proven(&self, text: &str, work: &Work, at: Timestamp) -> Result<Ticket, Refused> {
        let by = work.decision.expires_ms.map_or(at.millis(), |expires| expires.min(at.millis()));
        let ticket = self.memory.borrow_mut().tickets.ticket(text.as_bytes(), by)?;
        let own = format!("kernel.{}/{}", self.config.source.name(), self.config.shard);
        if ticket.sender.as_str() == own { Ok(ticket) } else { Err(Refused::Replayed) }
    }

    /// It waits for a policy, within the bounds of what is kept.
    fn without_a_policy(&self, case: Case<'_>) -> KernelFact {
        if !self.kept.is_full(KeptAs::Deferred) && case.may_be_kept() {
            let deferral = Deferral::for_a_policy(case.at);
            return defer(case, deferral);
        }
        let snapshot = self.policies.adopted().map_or("", |adopted| &adopted.snapshot);
        let verdict = Judgement::new(Verdict::Deny, "its ticket expired", snapshot);
        denied(case, verdict, "there is no policy to judge it again by, and no room to wait for one")
    }
}
