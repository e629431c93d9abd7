//! What a pool promises to submitters and tenants, read from the log of a scheduler's shard: what is called off does not run again,
//! attempts are bounded, nothing starts beyond its deadline.

use std::collections::BTreeMap;

use tidegate_protocol::decision::Judged;
use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use super::parts::Terms;
use crate::ledger::facts::{ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};

#[derive(Default)]
struct Told {
    tenant: String,
    id: String,
    deadline: Option<Timestamp>,
    /// Attempts that count as failed.
    failed: u32,
    leased: bool,
    /// It is to stop, and not to be tried again: when at the latest.
    stops: Option<Timestamp>,
}

/// Judges a shard's facts, in their order.
pub fn check(groups: &[ValidGroup<SchedulerFact>], terms: Terms, verdicts: &mut Verdicts) {
    let mut jobs: BTreeMap<SourcePosition, Told> = BTreeMap::new();
    for fact in facts(groups) {
        let at = fact.record.at;
        match &fact.record.fact {
            SchedulerFact::JobDelayed { source, work, .. } => known(&mut jobs, source, work.get()),
            SchedulerFact::LeaseGranted { source, work, .. } => {
                if let Some(work) = work {
                    known(&mut jobs, source, work.get());
                }
                let job = jobs.entry(source.clone()).or_default();
                verdicts.must(job.stops.is_none(), Invariant::I5, || {
                    format!("{source} was called off, and was leased again at {at:?}")
                });
                verdicts.must(job.failed < terms.attempts, Invariant::I10, || {
                    format!("{source} was leased after {} of {} attempts had failed", job.failed, terms.attempts)
                });
                verdicts.must(job.deadline.is_none_or(|deadline| at < deadline), Invariant::I5, || {
                    format!("{source} was leased at {at:?}, its deadline is {:?}", job.deadline)
                });
                job.leased = true;
                let (tenant, id) = (job.tenant.clone(), job.id.clone());
                let same = |other: &&Told| other.leased && other.tenant == tenant && other.id == id;
                let twins = jobs.values().filter(same).count();
                verdicts.must(twins == 1, Invariant::I5, || {
                    format!("job {tenant}/{id} has {twins} leases at once, with that of {source}")
                });
            }
            SchedulerFact::LeaseExpired { source, end, .. } => {
                let job = jobs.entry(source.clone()).or_default();
                job.failed += u32::from(*end != LeaseEnd::GivenBack);
                job.leased = false;
            }
            SchedulerFact::JobRetried { source, .. } => {
                let job = jobs.entry(source.clone()).or_default();
                job.failed += 1;
                job.leased = false;
            }
            SchedulerFact::CancelAsked { source, until, again: false, .. } => {
                jobs.entry(source.clone()).or_default().stops = Some(*until);
            }
            SchedulerFact::JobFinished { source, by, .. } => {
                let job = jobs.entry(source.clone()).or_default();
                let early = by.is_none() && job.stops.is_none_or(|until| at < until);
                verdicts.must(!(job.leased && early), Invariant::I5, || {
                    format!("{source} was ended at {at:?} without its worker, which has until {:?}", job.stops)
                });
                job.leased = false;
            }
            SchedulerFact::WorkerWelcomed { .. }
            | SchedulerFact::CancelAsked { again: true, .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::WithdrawalMoved { .. }
            | SchedulerFact::JobDue { .. }
            | SchedulerFact::ResultRepeated { .. }
            | SchedulerFact::ResultRefused { .. }
            | SchedulerFact::JobDuplicate { .. }
            | SchedulerFact::JobMoved { .. }
            | SchedulerFact::JobReturned { .. }
            | SchedulerFact::WorkRefused { .. }
            | SchedulerFact::WorkerCordoned { .. }
            | SchedulerFact::SliceRequested { .. }
            | SchedulerFact::SliceGranted { .. }
            | SchedulerFact::SliceReturned { .. }
            | SchedulerFact::WorkerUncordoned { .. }
            | SchedulerFact::PoolCommandRefused { .. }
            | SchedulerFact::WorkerForgotten { .. } => {}
        }
    }
}

fn known(jobs: &mut BTreeMap<SourcePosition, Told>, source: &SourcePosition, work: &str) {
    if let Ok(judged) = serde_json::from_str::<Judged>(work) {
        let told = jobs.entry(source.clone()).or_default();
        judged.job.tenant.as_str().clone_into(&mut told.tenant);
        judged.job.id.as_str().clone_into(&mut told.id);
        told.deadline = judged.job.deadline.map(|ms| Timestamp(ms * 1_000));
    }
}
