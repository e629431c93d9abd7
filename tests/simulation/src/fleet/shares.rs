//! What a tenant, and a capability, may have of a pool is never exceeded over all of its shards: an account of leases that
//! knows nothing of holdings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_protocol::decision::Judged;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::LimitsFact;
use tidegate_stage::{ShardSpec, Stage};

use super::cuts;
use super::parts::{self, BURST, LIMITED, SCARCE, Terms, named};
use crate::ledger::facts::{ValidGroup, valid};
use crate::ledger::replay;
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

/// What limits a job is under.
#[derive(Clone, Copy, Default)]
struct Under {
    limited: bool,
    scarce: bool,
}

fn known(jobs: &mut BTreeMap<SourcePosition, Under>, source: &SourcePosition, work: &str) {
    if let Ok(Judged { job, .. }) = serde_json::from_str::<Judged>(work) {
        let scarce = job.capability.as_str() == SCARCE || job.requires.iter().any(|needs| needs.as_str() == SCARCE);
        jobs.insert(source.clone(), Under { limited: job.tenant.as_str() == LIMITED, scarce });
    }
}

/// Judges the groups of all shards, in the order in which they landed.
pub fn check(groups: &[ValidGroup<SchedulerFact>], terms: Terms, verdicts: &mut Verdicts) {
    let mut order: Vec<&ValidGroup<SchedulerFact>> = groups.iter().collect();
    order.sort_by_key(|group| group.number);
    let mut jobs: BTreeMap<SourcePosition, Under> = BTreeMap::new();
    let (mut limited, mut scarce) = (BTreeSet::new(), BTreeSet::new());
    let mut starts = Vec::new();
    let within =
        |most: Option<u32>, leased: &BTreeSet<SourcePosition>| most.is_none_or(|most| leased.len() <= most as usize);
    for record in order.iter().flat_map(|group| &group.group.facts) {
        match &record.fact {
            SchedulerFact::JobDelayed { source, work, .. } => known(&mut jobs, source, work.get()),
            SchedulerFact::LeaseGranted { source, work, .. } => {
                if let Some(work) = work {
                    known(&mut jobs, source, work.get());
                }
                let under = jobs.get(source).copied().unwrap_or_default();
                if under.limited {
                    limited.insert(source.clone());
                    starts.push(record.at);
                }
                if under.scarce {
                    scarce.insert(source.clone());
                }
                verdicts.must(within(terms.most_leased, &limited), Invariant::Share, || {
                    format!(
                        "{LIMITED} has {} leases with {source}, its share is {:?}",
                        limited.len(),
                        terms.most_leased
                    )
                });
                verdicts.must(within(terms.most_scarce, &scarce), Invariant::Share, || {
                    format!("{} leases need {SCARCE} with {source}, the limit is {:?}", scarce.len(), terms.most_scarce)
                });
            }
            SchedulerFact::LeaseExpired { source, .. }
            | SchedulerFact::JobRetried { source, .. }
            | SchedulerFact::JobFinished { source, .. } => {
                limited.remove(source);
                scarce.remove(source);
            }
            SchedulerFact::WorkerWelcomed { .. }
            | SchedulerFact::WorkerOutrun { .. }
            | SchedulerFact::CancelAsked { .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::WithdrawalMoved { .. }
            | SchedulerFact::JobDue { .. }
            | SchedulerFact::ResultRepeated { .. }
            | SchedulerFact::ResultRefused { .. }
            | SchedulerFact::JobDuplicate { .. }
            | SchedulerFact::JobMoved { .. }
            | SchedulerFact::JobReturned { .. }
            | SchedulerFact::WorkRefused { .. }
            | SchedulerFact::WorkerForgotten { .. }
            | SchedulerFact::WorkerCordoned { .. }
            | SchedulerFact::WorkerUncordoned { .. }
            | SchedulerFact::PoolCommandRefused { .. }
            | SchedulerFact::SliceRequested { .. }
            | SchedulerFact::SliceGranted { .. }
            | SchedulerFact::SliceReturned { .. } => {}
        }
    }
    // By the owners' own stamps: so it holds whatever their clocks.
    if let Some(rate) = terms.per_second {
        starts.sort_unstable();
        let window = Duration::from_secs(1) * BURST / rate;
        let close = starts.windows(BURST as usize + 1).find(|some| some[BURST as usize] < some[0] + window);
        verdicts.must(close.is_none(), Invariant::Share, || {
            format!("{LIMITED} began {} jobs within {window:?}, at most {BURST} may: {close:?}", BURST + 1)
        });
    }
}

/// Judges the shard that lends. The number of snapshots compared, and of requests that were lost and given up.
pub fn lender(broker: &Broker, spec: &ShardSpec, shards: u32, verdicts: &mut Verdicts) -> (usize, u64) {
    let groups = valid::<LimitsFact>(broker.log(&spec.facts), spec.sender.as_str());
    let lost = cuts::records_given_up(broker, spec, &groups);
    let mut replayed = parts::limits(shards);
    for fact in groups.iter().flat_map(|group| &group.group.facts) {
        replayed.apply(&fact.fact, fact.at);
    }
    let impossible = replayed.impossible_facts();
    verdicts.must(impossible == 0, Invariant::I7, || {
        format!("{}: {impossible} facts could not follow from what stands before them", spec.sender)
    });
    let snapshots = broker.log(&named("snapshots").partition(0));
    (replay::check(snapshots, spec.sender.as_str(), &groups, &|| parts::limits(shards), verdicts), lost)
}
