//! What a job record leads to.
//!
//! | the record | policy | id seen within the window | pool | facts |
//! |---|---|---|---|---|
//! | any | cannot judge | | | none: it waits in its log |
//! | no job | can | | | `RecordRejected` |
//! | a job | can | with the same input | | `JobRepeated` |
//! | a job | can | with another input | | `RecordRejected` (`id_conflict`, no job: its end belongs to the first) |
//! | a job, too large as it would be written | can | no | | `RecordRejected` (`too_large`) |
//! | a job, allowed | can | no | none takes it | `RecordRejected` (`unroutable`); observed: `JobDecided` |
//! | a job, allowed or denied | can | no | one, if allowed | `JobDecided` |
//!
//! Each of them settles the record. `PolicyAdopted` goes before the first fact that a newer policy leads to.

use tidegate_policy::Subject;
use tidegate_protocol::decision::{Decision as Judgement, PayloadAt, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::{InputHash, Job, SourcePosition};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Arrival, Decision};

use crate::identity::Known;
use crate::kernel::Kernel;
use crate::messages;
use crate::reading::{Reading, Refusal, quoted};

impl Kernel {
    /// Decides about a record of the source.
    pub(crate) fn judge(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let Some(policy) = self.policies.usable() else {
            // The runner asks `admits` before it reads; should a record come all the same, nothing is said about it.
            decision.wait();
            return;
        };
        if !self.policies.is_adopted(policy) {
            let (revision, snapshot) = (policy.revision(), policy.name().to_owned());
            decision.fact(KernelFact::PolicyAdopted { revision, snapshot });
        }
        let position = SourcePosition {
            source: self.config.source.name().clone(),
            partition: arrival.partition.partition,
            offset: arrival.at.offset,
        };
        let mut memory = self.memory.borrow_mut();
        let memory = &mut *memory;
        let Reading { input_hash, outcome } = memory.reader.read(&self.config.source, position.clone(), arrival.record);
        let (job, payload) = match outcome {
            Ok(read) => read,
            Err(refusal) => {
                decision.settle(arrival.at, rejected(position, refusal, input_hash, None));
                return;
            }
        };
        let fact = match self.window.look_up(&job, at) {
            Known::Repeat(offset) => {
                let duplicate_of = SourcePosition { offset, ..position.clone() };
                KernelFact::JobRepeated { source: position, duplicate_of, job_id: job.id, tenant: job.tenant }
            }
            Known::Conflict(offset) => {
                let first = SourcePosition { offset, ..position.clone() };
                let detail = format!("job id `{}` was used at {first} with another input", quoted(job.id.as_str()));
                rejected(position, Refusal::new(DeadReason::IdConflict, detail), input_hash, None)
            }
            Known::New => {
                let value = arrival.record.value.as_deref().unwrap_or_default();
                let subject = subject(&job, memory.reader.payload(payload, value));
                let verdict = policy.evaluate(&subject, &mut memory.policy);
                let judgement = judgement(&verdict, policy.name());
                self.decided(arrival, job, payload, judgement)
            }
        };
        decision.settle(arrival.at, fact);
    }

    /// The fact of a job that was judged.
    fn decided(&self, arrival: &Arrival<'_>, job: Job, payload: PayloadAt, decision: Judgement) -> KernelFact {
        let observed = self.config.source.observe();
        let (position, input_hash) = (job.source.clone(), job.input_hash);
        if let Some(bytes) = messages::too_large(&job, &decision, payload, arrival.record, self.config.max_record_bytes)
        {
            let most = self.config.max_record_bytes;
            let detail = format!("the judged job would have {bytes} bytes, a record here has at most {most}");
            return rejected(position, Refusal::new(DeadReason::TooLarge, detail), input_hash, Some(job));
        }
        let permitted = decision.verdict.permits();
        let pool = if permitted { self.config.routes.route(&job).cloned() } else { None };
        if permitted && pool.is_none() && !observed {
            let detail = format!(
                "no pool takes capability `{}` with its other requirements on topic `{}`",
                quoted(job.capability.as_str()),
                quoted(&job.topic)
            );
            return rejected(position, Refusal::new(DeadReason::Unroutable, detail), input_hash, Some(job));
        }
        KernelFact::JobDecided { job, decision, pool, payload, observed }
    }
}

fn rejected(source: SourcePosition, refusal: Refusal, input_hash: InputHash, job: Option<Job>) -> KernelFact {
    let Refusal { reason, detail } = refusal;
    KernelFact::RecordRejected { source, reason, detail, input_hash, job: job.map(Box::new) }
}

fn subject<'a>(job: &'a Job, payload: &'a [u8]) -> Subject<'a> {
    Subject {
        tenant: job.tenant.as_str(),
        topic: &job.topic,
        capability: job.capability.as_str(),
        actor_id: job.actor.id.as_deref(),
        actor_type: job.actor.kind.as_deref(),
        requires: &job.requires,
        risk_tags: &job.risk_tags,
        labels: &job.labels,
        job_id: Some(job.id.as_str()),
        pack_id: None,
        priority: job.priority,
        deadline_ms: job.deadline,
        delegation: None,
        payload,
    }
}

fn judgement(verdict: &tidegate_policy::Verdict, snapshot: &str) -> Judgement {
    // What this kernel cannot hold or delay releases nothing (I3).
    let (effect, reason) = match verdict.effect {
        Verdict::Allow | Verdict::AllowWithConstraints | Verdict::Deny => (verdict.effect, verdict.reason.to_string()),
        Verdict::RequireApproval => {
            (Verdict::Deny, format!("{}; denied, because nobody can approve a job here yet", verdict.reason))
        }
        Verdict::Throttle => {
            (Verdict::Deny, format!("{}; denied, because a job cannot be delayed here yet", verdict.reason))
        }
    };
    Judgement {
        rule_ids: verdict.rule_ids.iter().map(ToString::to_string).collect(),
        risk_tags: verdict.tags.iter().map(ToString::to_string).collect(),
        constraints: verdict.constraints.as_deref().cloned().map(Box::new),
        ..Judgement::new(effect, reason, snapshot)
    }
}
