//! What a pool promises to submitters and tenants, read from the log of a scheduler's shard: what is called off does not run again,
//! attempts are bounded, and so are pauses between them, what tells of its progress is let go on, nothing starts beyond its deadline.

use std::collections::BTreeMap;

use tidegate_protocol::address::Offset;
use tidegate_protocol::decision::Judged;
use tidegate_protocol::facts::{LeaseEnd, SchedulerFact, Token};
use tidegate_protocol::job::{Retry, SourcePosition};
use tidegate_protocol::time::Timestamp;

use super::leases::CLOCKS;
use super::parts::{BACKOFF_MS, MAX_BACKOFF_MS, Terms};
use super::wishes::Wishes;
use crate::ledger::facts::{ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};

/// What workers told of a shard's jobs.
#[derive(Debug, Default)]
pub struct Told {
    /// When they reported progress, by the broker's clock, microseconds, by source and token.
    pub progress: BTreeMap<(SourcePosition, Token), Vec<u64>>,
    /// After a failure, not again before so many milliseconds have passed; by the report's offset, since others say the same of
    /// leases that have ended.
    pub not_before: BTreeMap<Offset, u64>,
}

#[derive(Default)]
struct Known {
    tenant: String,
    id: String,
    deadline: Option<Timestamp>,
    /// Attempts that count as failed.
    failed: u32,
    leased: bool,
    /// Since when the lease runs.
    watched: u64,
    /// It is to stop, and not to be tried again: when at the latest.
    stops: Option<Timestamp>,
}

/// Judges a shard's facts, in their order.
pub fn check(groups: &[ValidGroup<SchedulerFact>], terms: Terms, asked: &Wishes, told: &Told, verdicts: &mut Verdicts) {
    let retry = |source: &SourcePosition| asked.get(source).map(|wish| wish.retry).unwrap_or_default();
    let mut jobs: BTreeMap<SourcePosition, Known> = BTreeMap::new();
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
                let attempts = terms.attempts.min(retry(source).max_attempts.unwrap_or(u32::MAX));
                verdicts.must(job.failed < attempts, Invariant::I10, || {
                    format!("{source} was leased after {} of {attempts} attempts had failed", job.failed)
                });
                verdicts.must(job.deadline.is_none_or(|deadline| at < deadline), Invariant::I5, || {
                    format!("{source} was leased at {at:?}, its deadline is {:?}", job.deadline)
                });
                job.leased = true;
                job.watched = at.0;
                let (tenant, id) = (job.tenant.clone(), job.id.clone());
                let same = |other: &&Known| other.leased && other.tenant == tenant && other.id == id;
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
            SchedulerFact::JobRetried { source, until, .. } => {
                let job = jobs.entry(source.clone()).or_default();
                job.failed += 1;
                job.leased = false;
                let after =
                    fact.record.settles.and_then(|(_, report)| told.not_before.get(&report)).copied().unwrap_or(0);
                let (least, most) = (after, after + longest_pause(retry(source), job.failed));
                let pause = until.0.saturating_sub(at.0) / 1_000;
                verdicts.must((least..=most).contains(&pause), Invariant::I5, || {
                    format!("{source} is tried again after {pause} ms, {least} to {most} were due")
                });
            }
            SchedulerFact::CancelAsked { source, to, again: true, .. } => {
                let job = jobs.entry(source.clone()).or_default();
                let mut signs = told.progress.get(&(source.clone(), to.token)).cloned().unwrap_or_default();
                signs.retain(|sign| *sign <= at.0);
                signs.extend([job.watched, at.0]);
                signs.sort_unstable();
                let longest = signs.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
                let due = terms.progress_ms.map(|ms| ms * 1_000);
                verdicts.must(due.is_some_and(|due| longest + CLOCKS >= due), Invariant::DueAfterReading, || {
                    format!("{source} was stopped at {at:?} for want of progress, told every {longest} us at least")
                });
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
            | SchedulerFact::WorkerOutrun { .. }
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

/// What a pause after so many failures may not exceed, milliseconds: as `docs/jobs.md` has it.
fn longest_pause(wish: Retry, failures: u32) -> u64 {
    let most = wish.max_backoff_ms.unwrap_or(MAX_BACKOFF_MS).min(MAX_BACKOFF_MS);
    let first = wish.backoff_ms.unwrap_or(BACKOFF_MS).min(most);
    (first << failures.saturating_sub(1).min(20)).min(most)
}

fn known(jobs: &mut BTreeMap<SourcePosition, Known>, source: &SourcePosition, work: &str) {
    if let Ok(judged) = serde_json::from_str::<Judged>(work) {
        let known = jobs.entry(source.clone()).or_default();
        judged.job.tenant.as_str().clone_into(&mut known.tenant);
        judged.job.id.as_str().clone_into(&mut known.id);
        known.deadline = judged.job.deadline.map(|ms| Timestamp(ms * 1_000));
    }
}
