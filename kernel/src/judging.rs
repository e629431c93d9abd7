//! What a job record leads to.
//!
//! | the record | policy | id seen within the window | facts |
//! |---|---|---|---|
//! | any | cannot judge | | none: it waits in its log |
//! | no job | can | | `RecordRejected` |
//! | a job | can | with the same input | `JobRepeated` |
//! | a job | can | with another input | `RecordRejected` (`id_conflict`, no job: its end belongs to the first) |
//! | a job | can | no, and its parent's ticket is worth nothing | `RecordRejected`, see [`delegation`](crate::delegation) |
//! | a job | can | no | what [`concluding`](crate::concluding) says |
//!
//! A job that is kept is known for as long as it is kept. Each of these facts settles the record. `PolicyAdopted` goes before the first fact that a newer policy leads to.

use std::collections::BTreeSet;

use tidegate_policy::{Delegation as Chain, Judgement as Verdicts, LimitView, Principal, Snapshot, Standing, Subject};
use tidegate_protocol::decision::{Decision as Judgement, PayloadAt, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::limits::LimitUse;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision};

use crate::concluding::{Case, defer, rejected};
use crate::delegation::{attenuated, tokens};
use crate::identity::Known;
use crate::kept::{Deferral, awaited};
use crate::kernel::{Kernel, Memory};
use crate::limiting::Looking;
use crate::reading::{Found, Reading, Refusal, quoted};
use crate::wallet::MOST_SPENDS;

impl Kernel {
    /// Decides about a record of the source.
    pub(crate) fn judge(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let Some(policy) = self.policies.usable() else {
            // The runner asks `admits` before it reads; should a record come all the same, nothing is said about it.
            decision.wait();
            return;
        };
        self.adopt_first(policy, decision);
        let (name, partition) = (self.config.source.name().clone(), arrival.partition.partition);
        let position = SourcePosition::new(name, partition, arrival.at.offset);
        let mut memory = self.memory.borrow_mut();
        let memory = &mut *memory;
        let Reading { input_hash, outcome } =
            memory.reader.read(&self.config.source, position.clone(), arrival.record, at.millis());
        let Found { mut job, payload, parent_ticket } = match outcome {
            Ok(found) => found,
            Err(refusal) => {
                decision.settle(arrival.at, rejected(position, refusal, input_hash, None, None));
                return;
            }
        };
        let fact = match self.known(&job, at) {
            Known::Repeat(offset) => {
                let redrive = self.redrives.life(offset);
                let duplicate_of = SourcePosition { offset, redrive, ..position.clone() };
                KernelFact::JobRepeated { source: position, duplicate_of, job_id: job.id, tenant: job.tenant }
            }
            Known::Conflict(offset) => {
                let first = SourcePosition { offset, ..position.clone() };
                let detail = format!("job id `{}` was used at {first} with another input", quoted(job.id.as_str()));
                rejected(position, Refusal::new(DeadReason::IdConflict, detail), input_hash, None, None)
            }
            Known::New => {
                if let Err(refusal) = self.delegate(&mut job, parent_ticket.as_deref(), at, &mut memory.tickets) {
                    decision.settle(arrival.at, rejected(position, refusal, input_hash, Some(job), None));
                    return;
                }
                let said = self.say(policy, (&job, payload, arrival.record), at, false, memory, decision);
                let case =
                    Case { job, payload, record: arrival.record, kept: None, returned: None, at, spends: Vec::new() };
                self.resolve(case, said)
            }
        };
        decision.settle(arrival.at, fact);
    }

    /// The fact that `policy` is used from here on, when that is not yet said.
    pub(crate) fn adopt_first(&self, policy: &Snapshot, decision: &mut Decision<KernelFact>) {
        if !self.policies.is_adopted(policy) {
            let (revision, snapshot) = (policy.revision(), policy.name().to_owned());
            decision.fact(KernelFact::PolicyAdopted { revision, snapshot });
        }
    }

    /// What is known of a job's id: as long as its job is kept, and within the window.
    fn known(&self, job: &Job, at: Timestamp) -> Known {
        match self.kept.of(job) {
            Some(kept) if kept.job.input_hash == job.input_hash => Known::Repeat(kept.job.source.offset),
            Some(kept) => Known::Conflict(kept.job.source.offset),
            None => self.window.look_up(job, at),
        }
    }
}

/// What policy and limits say about a job.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment on the hot path, where a box would be one allocation more"
)]
pub(crate) enum Said {
    /// A verdict, and what the job takes of limits when it may run.
    Decided(Judgement, Vec<LimitUse>),
    /// These limits and keys ([`awaited`]) have to answer first.
    Waits(Vec<String>),
}

impl Kernel {
    /// What policy and limits say about a job now; `memory` has the payload decoded. Requests to the limits stage go with
    /// the decision whatever is said. `last`: what is not known now counts as exceeded. A source that is only observed asks
    /// nobody, and is judged by what it would have taken itself.
    pub(crate) fn say(
        &self,
        policy: &Snapshot,
        (job, payload, record): (&Job, PayloadAt, &Record),
        at: Timestamp,
        last: bool,
        memory: &mut Memory,
        decision: &mut Decision<KernelFact>,
    ) -> Said {
        if let Some(beyond) = self.beyond(job, at) {
            return Said::Decided(Judgement::new(Verdict::Deny, beyond, policy.name()), Vec::new());
        }
        let value = record.value.as_deref().unwrap_or_default();
        let delegation = job.delegation.as_deref();
        let principals: Vec<Principal<'_>> = delegation.map_or_else(Vec::new, |delegation| {
            let actors = delegation.chain.iter().map(|ancestor| &ancestor.actor);
            actors.map(|by| Principal { actor_id: by.id.as_deref(), actor_type: by.kind.as_deref() }).collect()
        });
        let chain = delegation.map(|delegation| Chain { chain: &principals, scope: Some(&delegation.scope) });
        let subject = Subject { delegation: chain, ..subject(job, memory.reader.payload(payload, value)) };
        let mut looking = Looking { view: self.wallet.view(&job.tenant, at, self.epoch), last };
        let mut shadow = self.shadow.view(&job.tenant, at);
        let limits: &mut dyn LimitView = if self.config.source.observe() { &mut shadow } else { &mut looking };
        let said = policy.judge(&subject, at.millis(), limits, &mut memory.policy);
        let said = match said {
            Verdicts::Decided(verdict) => {
                let decision = attenuated(delegation, policy.decision(&verdict));
                let mut spends: Vec<LimitUse> = Vec::with_capacity(verdict.spends.len());
                // Several principals of a job may meet the same limit: the job takes of it once.
                for wanted in verdict.spends {
                    if !spends.contains(&wanted) {
                        spends.push(wanted);
                    }
                }
                if spends.len() > MOST_SPENDS {
                    let reason =
                        format!("it would take of {} limits, a job takes of at most {MOST_SPENDS}", spends.len());
                    return Said::Decided(Judgement { verdict: Verdict::Deny, reason, ..decision }, Vec::new());
                }
                self.within_ancestors(job, limits, decision, spends)
            }
            // When the first have answered it is judged again, and meets the others.
            Verdicts::Waits(wanted) => {
                let awaited: BTreeSet<String> =
                    wanted.iter().take(MOST_SPENDS).map(|wanted| awaited(&wanted.limit, &wanted.key)).collect();
                Said::Waits(awaited.into_iter().collect())
            }
        };
        for request in looking.view.into_requests() {
            decision.fact(request);
        }
        said
    }

    /// A job that may run takes of what its ancestors share out as well, or may not.
    fn within_ancestors(
        &self,
        job: &Job,
        limits: &mut dyn LimitView,
        decision: Judgement,
        mut spends: Vec<LimitUse>,
    ) -> Said {
        if !decision.verdict.permits() {
            return Said::Decided(decision, spends);
        }
        let mut unknown = Vec::new();
        for wanted in tokens(job, decision.constraints.as_deref(), self.config.longest_ticket()) {
            match limits.standing(&wanted) {
                Standing::Within if spends.len() < MOST_SPENDS => spends.push(wanted),
                Standing::Unknown => unknown.push(awaited(&wanted.limit, &wanted.key)),
                Standing::Within | Standing::Exceeded => {
                    let reason = format!(
                        "delegation: the jobs below one it acts for may use {} tokens together, and they are taken",
                        wanted.definition.limit
                    );
                    return Said::Decided(Judgement { verdict: Verdict::Deny, reason, ..decision }, Vec::new());
                }
            }
        }
        if unknown.is_empty() { Said::Decided(decision, spends) } else { Said::Waits(unknown) }
    }

    /// The fact that follows.
    pub(crate) fn resolve(&self, case: Case<'_>, said: Said) -> KernelFact {
        match said {
            Said::Decided(judgement, spends) => self.conclude(Case { spends, ..case }, judgement),
            Said::Waits(limits) => {
                let deferral = Deferral::for_slices(case.kept, limits, case.at);
                defer(case, deferral)
            }
        }
    }
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
