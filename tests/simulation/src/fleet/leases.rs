//! What must be true of the scheduler's log.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact, Token};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::headers::{self, SOURCE};
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::DeadReason;
use tidegate_scheduler::Pool;
use tidegate_stage::ShardSpec;

use super::judge::AllAllowed;
use super::parts::{LEASE_MS, Terms, named, scheduler};
use super::promises::{self, Told};
use super::stalls;
use super::wishes::Wishes;
use crate::ledger::facts::{ValidGroup, facts, lost, valid};
use crate::ledger::messages::believed;
use crate::ledger::telling::{self, Shown};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::ledger::{replay, settling};
use crate::spine::{Broker, Stored};

/// Clocks may be off by this much without fault, with what they drift in a run; microseconds.
pub const CLOCKS: u64 = 700_000;
/// Most facts of one decision: ticks of some kinds.
const AT_ONCE: usize = 6_000;

fn shown(fact: &SchedulerFact, sender: &str) -> Vec<Shown> {
    let to = |ordinal, name: &str, fenced, key: &str, source: &SourcePosition| Shown {
        ordinal,
        to: named(name),
        fenced,
        key: key.to_owned(),
        header: (SOURCE, source.to_string()),
        copies: 1,
    };
    match fact {
        SchedulerFact::JobFinished { source, job_id, dead, .. } => {
            let mut all = vec![to(0, "finished", true, job_id.as_str(), source)];
            all.extend(dead.map(|_| to(1, "dead", false, job_id.as_str(), source)));
            all
        }
        SchedulerFact::JobMoved { source, .. } | SchedulerFact::WithdrawalMoved { source, .. } => {
            vec![to(0, "overflow.p", true, &source.to_string(), source)]
        }
        SchedulerFact::SliceRequested { request } | SchedulerFact::SliceReturned { request } => {
            let (limit, key) = request.about();
            let key = format!("{limit}\n{key}");
            let header = (headers::SENDER, sender.to_owned());
            vec![Shown { ordinal: 0, to: named("limits.requests"), fenced: true, key, header, copies: 1 }]
        }
        // No policy here has limits, so nothing but the job goes back.
        SchedulerFact::JobReturned { source, .. } => vec![to(1, "outcomes.jobs.raw", true, "", source)],
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::LeaseGranted { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::LeaseExpired { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::JobRetried { .. }
        | SchedulerFact::JobDelayed { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::ResultRefused { .. }
        | SchedulerFact::JobDuplicate { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerForgotten { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::PoolCommandRefused { .. } => Vec::new(),
    }
}

/// A lease as it stands.
struct Lease {
    worker: WorkerId,
    incarnation: u64,
    granted_at: u64,
}

#[derive(Default)]
struct Job {
    last: Option<Token>,
    lease: Option<Lease>,
    ended: bool,
    /// Not to be leased before.
    until: Option<u64>,
}

/// Heartbeats that list a lease: (worker, incarnation, epoch named, broker time in microseconds, source, token).
type Beats = Vec<(WorkerId, u64, u64, u64, SourcePosition, Token)>;

/// Reports of a shard that were not lost before they were read and given up.
fn reports<'a>(
    broker: &'a Broker,
    shard: u32,
    groups: &'a [ValidGroup<SchedulerFact>],
) -> impl Iterator<Item = &'a Stored> {
    let of = named("reports.p").partition(shard);
    let lost = lost(groups, &of);
    let is_lost = move |offset| lost.iter().any(|(_, from, to)| (*from..*to).contains(&offset));
    broker.log(&of).iter().filter(move |stored| !is_lost(stored.record.offset))
}

fn beats(broker: &Broker, shard: u32, groups: &[ValidGroup<SchedulerFact>]) -> Beats {
    let mut all = Vec::new();
    for stored in reports(broker, shard, groups) {
        let at = u64::try_from(stored.record.timestamp_ms).unwrap_or(0) * 1_000;
        let report = serde_json::from_slice(stored.record.value.as_deref().unwrap_or_default());
        if let Ok(Report::Heartbeat { worker, incarnation, epoch, running, .. }) = report {
            all.extend(running.into_iter().map(|h| (worker.clone(), incarnation, epoch, at, h.source, h.token)));
        }
    }
    all
}

/// What workers told of jobs that run, and of failures.
fn told(broker: &Broker, shard: u32, groups: &[ValidGroup<SchedulerFact>]) -> Told {
    let mut all = Told::default();
    for stored in reports(broker, shard, groups) {
        let at = u64::try_from(stored.record.timestamp_ms).unwrap_or(0) * 1_000;
        match serde_json::from_slice(stored.record.value.as_deref().unwrap_or_default()) {
            Ok(Report::Progress { source, token, .. }) => all.progress.entry((source, token)).or_default().push(at),
            Ok(Report::Result { retry_after_ms: Some(after), retryable: true, .. }) => {
                all.not_before.insert(stored.record.offset, after);
            }
            _ => {}
        }
    }
    all
}

/// When a fact was decided, and by whom.
#[derive(Clone, Copy)]
struct Moment {
    epoch: u64,
    /// `at` of the fact.
    at: u64,
    /// Broker time of the epoch's barrier, microseconds.
    begun: u64,
    /// Number of the group's landing.
    number: u64,
}

/// Broker time of each epoch's barrier.
fn barriers(log: &[Stored]) -> BTreeMap<u64, u64> {
    let time = |stored: &Stored| u64::try_from(stored.record.timestamp_ms).unwrap_or(0) * 1_000;
    let epoch = |stored: &Stored| stored.record.headers.text(headers::EPOCH)?.parse().ok();
    let all = log.iter().filter(|s| !s.is_forged() && s.record.headers.text(headers::KIND) == Some("barrier"));
    all.filter_map(|s| Some((epoch(s)?, time(s)))).collect()
}

/// A lease may only end in silence if nothing was heard of it for a term, as far as clocks allow.
fn check_silence(
    beats: &Beats,
    (source, token, lease): (&SourcePosition, Token, &Lease),
    Moment { epoch, at, begun, .. }: Moment,
    verdicts: &mut Verdicts,
) {
    let mut heard: Vec<u64> = beats
        .iter()
        .filter(|(w, i, e, _, s, t)| {
            *w == lease.worker && *i == lease.incarnation && *e == epoch && s == source && *t == token
        })
        .map(|(_, _, _, when, ..)| *when)
        .filter(|when| *when <= at)
        .collect();
    // Of an older owner's lease the term counts that the new owner gave it when it began.
    heard.insert(0, if token.epoch == epoch { lease.granted_at } else { begun });
    heard.push(at);
    let longest = heard.windows(2).map(|w| w[1].saturating_sub(w[0])).max().unwrap_or(0);
    verdicts.must(longest + CLOCKS >= LEASE_MS * 1_000, Invariant::DueAfterReading, || {
        format!(
            "the lease of {source} {token:?} ended in silence at {at}, but reports came at least every {longest} us"
        )
    });
}

/// Whether a record was refused that is neither forged nor a former owner's, come late.
fn is_refused_wrongly(broker: &Broker, fact: &SchedulerFact) -> bool {
    let SchedulerFact::WorkRefused { partition, offset, reason, .. } = fact else { return false };
    let log = broker.log(partition);
    let is_believed = || believed(log).iter().any(|message| message.record.offset == *offset);
    let is_forged = || log.iter().any(|stored| stored.record.offset == *offset && stored.is_forged());
    is_believed() || (*reason != DeadReason::FormerOwner && !is_forged())
}

/// Judges a shard of the scheduler; the number of snapshots compared, that of jobs stopped for want of progress, and the valid groups.
pub fn scheduler_shard(
    broker: &Broker,
    (pool, shard, terms): (&Arc<Pool>, u32, Terms),
    spec: &ShardSpec,
    (allowed, asked): (&AllAllowed, &Wishes),
    verdicts: &mut Verdicts,
) -> (usize, u64, Vec<ValidGroup<SchedulerFact>>) {
    let groups = valid::<SchedulerFact>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    let (beats, barriers) = (beats(broker, shard, &groups), barriers(broker.log(&spec.facts)));
    let mut jobs: BTreeMap<SourcePosition, Job> = BTreeMap::new();
    for group in &groups {
        for record in &group.group.facts {
            let epoch = group.group.epoch;
            let begun = barriers.get(&epoch).copied().unwrap_or(0);
            let moment = Moment { epoch, at: record.at.0, begun, number: group.number };
            check_fact(&record.fact, moment, &mut jobs, allowed, &beats, verdicts);
        }
    }
    telling::check(
        broker,
        spec,
        &groups,
        &[named("dead").partition(0)],
        |fact| shown(fact, spec.sender.as_str()),
        verdicts,
    );
    telling::check_bounds(broker, spec, &groups, AT_ONCE, verdicts);
    let refused = facts(&groups).filter(|fact| is_refused_wrongly(broker, &fact.record.fact)).count();
    verdicts.must(refused == 0, Invariant::I2, || {
        format!(
            "{refused} records on approved or overflow were refused that a reader believes, or that no owner wrote late"
        )
    });
    let snapshots = broker.log(&spec.snapshots.partition(0));
    telling::check_places(&replay::written(snapshots, spec.sender.as_str()), spec, verdicts);
    let compared = replay::check(snapshots, spec.sender.as_str(), &groups, &|| scheduler(pool, shard), verdicts);
    let told = told(broker, shard, &groups);
    promises::check(&groups, terms, asked, &told, verdicts);
    let stopped = stalls::check(&groups, terms, &told, &barriers, verdicts);
    (compared, stopped, groups)
}

fn check_fact(
    fact: &SchedulerFact,
    moment: Moment,
    jobs: &mut BTreeMap<SourcePosition, Job>,
    allowed: &AllAllowed,
    beats: &Beats,
    verdicts: &mut Verdicts,
) {
    let Moment { epoch, at, number, .. } = moment;
    match fact {
        SchedulerFact::LeaseGranted { source, worker, incarnation, token, .. } => {
            let job = jobs.entry(source.clone()).or_default();
            verdicts.must(allowed.get(source).is_some_and(|a| a.number < number), Invariant::I2, || {
                format!("{source} was leased, but no durable verdict allows it")
            });
            verdicts.must(job.last.is_none_or(|last| *token > last) && !job.ended, Invariant::I5, || {
                format!("{source} was leased with {token:?} after {:?}, ended: {}", job.last, job.ended)
            });
            verdicts
                .must(job.lease.is_none(), Invariant::I5, || format!("{source} was leased to {worker} while leased"));
            verdicts.must(job.until.is_none(), Invariant::I5, || {
                format!("{source} was leased although it was not due, its time is {:?}", job.until)
            });
            verdicts.must(token.epoch == epoch, Invariant::I5, || format!("{source}: {token:?} in epoch {epoch}"));
            job.last = Some(*token);
            job.lease = Some(Lease { worker: worker.clone(), incarnation: *incarnation, granted_at: at });
        }
        SchedulerFact::JobRetried { source, by, until, .. } => {
            let job = jobs.entry(source.clone()).or_default();
            let holder = job.lease.take().map(|lease| lease.worker);
            verdicts.must(
                job.last == Some(by.token) && holder.as_ref() == Some(&by.worker) && !job.ended,
                Invariant::I5,
                || format!("{source} was to be tried again by {by:?}, the lease is {:?} of {holder:?}", job.last),
            );
            job.until = Some(until.0);
        }
        SchedulerFact::JobDelayed { source, until, .. } => {
            let job = jobs.entry(source.clone()).or_default();
            verdicts.must(job.last.is_none() && !job.ended, Invariant::I5, || format!("{source} was delayed late"));
            job.until = Some(until.0);
        }
        SchedulerFact::JobDue { source } => {
            let job = jobs.entry(source.clone()).or_default();
            let until = job.until.take();
            verdicts.must(until.is_some_and(|until| until <= at), Invariant::I5, || {
                format!("{source} was due at {at}, its time is {until:?}")
            });
        }
        SchedulerFact::LeaseExpired { source, token, end, until } => {
            let job = jobs.entry(source.clone()).or_default();
            job.until = until.map(|until| until.0);
            let lease = job.lease.take();
            verdicts.must(lease.is_some() && job.last == Some(*token), Invariant::I5, || {
                format!("a lease of {source} with {token:?} ended, the last is {:?}", job.last)
            });
            if let Some(lease) = &lease
                && *end == LeaseEnd::Silent
            {
                check_silence(beats, (source, *token, lease), moment, verdicts);
            }
        }
        SchedulerFact::JobFinished { source, by, .. } => {
            let job = jobs.entry(source.clone()).or_default();
            verdicts.must(!job.ended, Invariant::I5, || format!("{source} ended twice"));
            if let Some(by) = by {
                let holder = job.lease.as_ref().map(|lease| &lease.worker);
                verdicts.must(job.last == Some(by.token) && holder == Some(&by.worker), Invariant::I5, || {
                    format!("{source} was ended by {by:?}, the lease is {:?} of {holder:?}", job.last)
                });
            }
            job.ended = true;
            job.lease = None;
        }
        // Its tokens go on from where they were, by whichever ticket it comes again.
        SchedulerFact::JobReturned { source, .. } => {
            let job = jobs.entry(source.clone()).or_default();
            verdicts.must(job.lease.is_none() && job.until.is_none() && !job.ended, Invariant::I5, || {
                format!("{source} went back to its kernel while leased, not due or ended")
            });
        }
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::ResultRefused { .. }
        | SchedulerFact::JobDuplicate { .. }
        | SchedulerFact::JobMoved { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerForgotten { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::PoolCommandRefused { .. } => {}
    }
}
