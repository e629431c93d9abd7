//! What must be true of the kernel's logs, of what ran, and of how every record of the source ended.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_kernel::KernelConfig;
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::headers::SOURCE;
use tidegate_protocol::job::{InputHash, Job, SourcePosition};
use tidegate_protocol::kept::KeptAs;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::redrive::Redriven;
use tidegate_protocol::returned::Work;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::ShardSpec;

use super::approvals;
use super::cuts::is_lost;
use super::executions::Execution;
use super::families::{self, BY_CHAIN, without_ticket};
use super::load::{Due, Wanted, dues};
use super::parts::{BUCKETS, kernel, named};
use super::policies;
use super::redrives::{self, Inputs};
use crate::ledger::facts::{ValidGroup, facts, valid};
use crate::ledger::messages::believed;
use crate::ledger::telling::{self, Shown};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::ledger::{replay, settling};
use crate::spine::Broker;

/// A verdict that allows, in the valid log.
pub struct Allowed {
    /// Number of its group's landing; the first, of one that was judged again.
    pub number: u64,
    /// For exactly this input.
    pub input_hash: InputHash,
    /// By this ticket, and those that followed it: landings of their groups, and until when they are good.
    tickets: Vec<(u64, Timestamp)>,
}

/// All of them, by source.
pub type AllAllowed = BTreeMap<SourcePosition, Allowed>;

/// A ticket counts for so long beyond its time, by the worker's own clock. An owner's is off by 400 ms at most when it takes over, and
/// follows one that steps by 1 % alone: so what a scheduler takes for good is not refused by a worker that gets it at once and whose
/// clock is right. One that is far ahead refuses what is good and gives it back, one far behind runs by so much later.
pub const LEEWAY: Duration = Duration::from_millis(600);
/// Most facts of one decision: a tick ends every hold that is over.
const AT_ONCE: usize = 210;

fn shown(fact: &KernelFact, shards: u32) -> Vec<Shown> {
    let to = |ordinal, name: &str, fenced, key: &str, source: &SourcePosition| Shown {
        ordinal,
        to: named(name),
        fenced,
        key: key.to_owned(),
        header: (SOURCE, source.to_string()),
        copies: 1,
    };
    let held = |ordinal, source: &SourcePosition| to(ordinal, "held", false, &source.to_string(), source);
    let mut all = match fact {
        KernelFact::JobDecided { job, decision, .. } => match decision.verdict {
            Verdict::Allow | Verdict::AllowWithConstraints => {
                vec![to(0, "approved.p", true, &format!("{}/{}", job.tenant, job.id), &job.source)]
            }
            Verdict::Deny => vec![
                to(1, "denied", false, job.id.as_str(), &job.source),
                to(2, "finished", true, job.id.as_str(), &job.source),
            ],
            // The kernel writes neither yet; if it does, what it sends is not what is due.
            Verdict::RequireApproval | Verdict::Throttle => Vec::new(),
        },
        KernelFact::RecordRejected { source, job: Some(job), .. } => {
            vec![to(0, "dead", false, job.id.as_str(), source), to(1, "finished", true, job.id.as_str(), source)]
        }
        KernelFact::RecordRejected { source, job: None, .. } => vec![to(0, "dead", false, &source.to_string(), source)],
        KernelFact::JobHeld { job: Job { source, .. }, .. }
        | KernelFact::HoldRenewed { source, .. }
        | KernelFact::ApprovalGiven { source, .. }
        | KernelFact::HoldEscalated { source, .. } => vec![held(0, source)],
        // No policy here has limits.
        KernelFact::PolicyAdopted { .. }
        | KernelFact::JobRepeated { .. }
        | KernelFact::JobDeferred { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. }
        | KernelFact::CommandRefused { .. }
        | KernelFact::RecordRedriven { .. }
        | KernelFact::RecordDropped { .. }
        | KernelFact::DelegationRevoked { .. } => Vec::new(),
        KernelFact::JobCancelled { job, .. } => vec![to(0, "finished", true, job.id.as_str(), &job.source)],
        // To every bucket of its tenant, and to the shards of these.
        KernelFact::JobWithdrawn { source, job_id, tenant, .. } => {
            let told = |ordinal, name, copies: u32| Shown {
                copies: copies as usize,
                ..to(ordinal, name, true, &format!("{tenant}/{job_id}"), source)
            };
            vec![told(0, "approved.p", BUCKETS), told(1, "withdrawals.p", shards)]
        }
    };
    // Nobody is asked about it any more.
    if let KernelFact::JobDecided { job, replaces: Some(replaced), .. } = fact
        && replaced.was == KeptAs::Held
    {
        all.push(held(4, &job.source));
    }
    if let KernelFact::JobCancelled { job, replaces, .. } = fact
        && replaces.was == KeptAs::Held
    {
        all.push(held(2, &job.source));
    }
    all
}

/// What a kernel's shard was found to have done.
pub struct Found {
    /// Its facts that count.
    pub groups: Vec<ValidGroup<KernelFact>>,
    /// Snapshots compared.
    pub snapshots: usize,
    /// Held jobs that were released.
    pub released: u64,
    /// What each life but the first was judged from.
    pub inputs: Inputs,
}

/// Judges one kernel shard: its facts against the raw records and what people said.
pub fn kernel_shard(
    broker: &Broker,
    (config, shards): (&KernelConfig, u32),
    spec: &ShardSpec,
    allowed: &mut AllAllowed,
    verdicts: &mut Verdicts,
) -> Found {
    let groups = valid::<KernelFact>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    let raw = &spec.inputs[0].partition;
    let settled = settling::settled(&groups);
    let commands = named("commands.jobs.raw").partition(config.shard);
    let inputs = redrives::check(broker, &commands, &groups, verdicts);
    let names = redrives::names(&groups);
    for Wanted { record, due, first, name } in dues(broker.log(raw)) {
        // Redriven before it was read, or with another input or name than it came with: the name is that life's from then on.
        let redriven = inputs.keys().any(|life| life.offset == first) || name.is_some_and(|name| names.contains(&name));
        for fact in settled.get(&(raw.clone(), record.offset)).into_iter().flatten() {
            let fact = &fact.record.fact;
            let right = match (due, fact) {
                (_, KernelFact::JobRepeated { duplicate_of, .. }) if redriven && duplicate_of.redrive > 0 => true,
                (_, KernelFact::RecordRejected { reason: DeadReason::IdConflict, job: None, .. }) if redriven => true,
                (Due::Allowed, KernelFact::JobDecided { decision, pool, .. }) => {
                    decision.verdict == Verdict::Allow && pool.is_some()
                }
                (Due::Denied | Due::Asked, KernelFact::JobDecided { decision, .. }) => {
                    decision.verdict == Verdict::Deny
                }
                (Due::Child, KernelFact::JobDecided { job, decision, pool, .. }) => {
                    let by_chain = decision.verdict == Verdict::Deny && decision.reason.starts_with(BY_CHAIN);
                    let asked = job.topic == "job.ask.x" && decision.verdict == Verdict::Deny;
                    job.delegation.is_some()
                        && (asked || by_chain || (decision.verdict == Verdict::Allow && pool.is_some()))
                }
                (Due::Spoilt, KernelFact::RecordRejected { reason, job, .. }) => {
                    *reason == DeadReason::ParentTicketForged && job.is_some()
                }
                // Some parents have a deadline, and nobody acts for them beyond it.
                (Due::Child, KernelFact::RecordRejected { reason: DeadReason::ParentTicketExpired, job, .. }) => {
                    job.is_some()
                }
                (Due::Child, KernelFact::JobHeld { job, .. }) => job.topic == "job.ask.x" && job.delegation.is_some(),
                (Due::Asked, KernelFact::JobHeld { .. }) => true,
                (Due::Unroutable, KernelFact::RecordRejected { job, .. }) => job.is_some(),
                (Due::Rejected, KernelFact::RecordRejected { job, .. }) => job.is_none(),
                (Due::Repeated, KernelFact::JobRepeated { .. }) => true,
                _ => false,
            };
            verdicts.must(right, Invariant::I3, || format!("{raw}@{} is {due:?}, but got {fact:?}", record.offset));
        }
    }
    for fact in facts(&groups) {
        let KernelFact::JobDecided { job, decision, .. } = &fact.record.fact else { continue };
        let right = if decision.verdict.permits() {
            job.topic != "job.bad.x"
        } else {
            job.topic != "job.ok.x" || decision.reason.starts_with(BY_CHAIN)
        };
        verdicts.must(right, Invariant::I3, || format!("{} is `{}`, but got {decision:?}", job.source, job.topic));
        if decision.verdict == Verdict::Allow {
            let hash = match inputs.get(&job.source) {
                None => {
                    let value = broker.log(raw).iter().find(|s| s.record.offset == job.source.offset);
                    hash_of(value.and_then(|s| s.record.value.as_deref()).unwrap_or_default())
                }
                Some(Redriven::Record(record)) => hash_of(record.value.get()),
                // Its ticket's: what was allowed before.
                Some(Redriven::Work(text)) => Work::read(text.get()).map(|work| work.job.input_hash).unwrap(),
            };
            verdicts.must(hash == job.input_hash, Invariant::I2, || {
                format!("{} was allowed with another hash", job.source)
            });
            let chain_ends = job.delegation.as_ref().map_or(u64::MAX, |delegation| delegation.expires_ms);
            let ends = (fact.record.at + config.ticket_ttl).millis().min(chain_ends);
            verdicts.must(decision.expires_ms == Some(ends), Invariant::OwnTime, || {
                let (at, is) = (fact.record.at, decision.expires_ms);
                format!("{} was allowed at {at:?}, so its ticket is good until {ends}, not {is:?}", job.source)
            });
            let (number, input_hash) = (fact.number, job.input_hash);
            let first = || Allowed { number, input_hash, tickets: Vec::new() };
            let known = allowed.entry(job.source.clone()).or_insert_with(first);
            known.tickets.push((number, Timestamp(decision.expires_ms.unwrap_or_default() * 1_000)));
        }
    }
    families::check(&groups, verdicts);
    let advisory = ["denied", "dead", "held"].map(|name| named(name).partition(0));
    telling::check(broker, spec, &groups, &advisory, |fact| shown(fact, shards), verdicts);
    telling::check_bounds(broker, spec, &groups, AT_ONCE, verdicts);
    let released = approvals::check(broker, &commands, &groups, verdicts);
    let snapshots = broker.log(&spec.snapshots.partition(0));
    let make = || kernel(config, policies::first());
    let snapshots = replay::check(snapshots, spec.sender.as_str(), &groups, &make, verdicts);
    Found { snapshots, released, groups, inputs }
}

/// Jobs that were on their way back to this kernel in records that were lost and given up.
pub fn lost_outcomes<'a>(
    broker: &'a Broker,
    spec: &'a ShardSpec,
    groups: &'a [ValidGroup<KernelFact>],
) -> impl Iterator<Item = SourcePosition> + use<'a> {
    let outcomes = &spec.inputs[2].partition;
    let log = if groups.iter().any(|group| !group.group.lost.is_empty()) { broker.log(outcomes) } else { &[] };
    let gone = believed(log).into_iter().filter(move |message| is_lost(groups, outcomes, message.record.offset));
    gone.filter_map(|message| message.record.headers.text(SOURCE)?.parse().ok())
}

fn hash_of(value: &[u8]) -> InputHash {
    let (before, after) = without_ticket(value).unwrap_or((value, &[]));
    InputHash::of_parts(&[before, after], [])
}

/// Nothing ran without a durable verdict that allows exactly this input.
pub fn check_executions(executions: &[Execution], allowed: &AllAllowed, verdicts: &mut Verdicts) {
    for Execution { worker, source, token, input_hash, landings, wall } in executions {
        let known = allowed.get(source);
        verdicts.must(known.is_some_and(|a| a.number < *landings), Invariant::I2, || {
            format!("{worker} ran {source} with {token:?}, which no durable verdict allows")
        });
        verdicts.must(known.is_none_or(|a| a.input_hash == *input_hash), Invariant::I2, || {
            format!("{worker} ran {source} with another input than was allowed")
        });
        let good = |(number, until): &(u64, Timestamp)| number < landings && *wall <= *until + LEEWAY;
        verdicts.must(known.is_none_or(|a| a.tickets.iter().any(good)), Invariant::I2, || {
            format!("{worker} ran {source} with {token:?} at {wall:?}, when its ticket had long expired")
        });
    }
}

/// What may not run did not.
pub fn check_ends(
    broker: &Broker,
    kernels: &[(KernelConfig, ShardSpec)],
    allowed: &AllAllowed,
    leases: &[ValidGroup<SchedulerFact>],
    executions: &[Execution],
    verdicts: &mut Verdicts,
) {
    let mut ends: BTreeMap<SourcePosition, usize> = BTreeMap::new();
    for fact in facts(leases) {
        if let SchedulerFact::JobFinished { source, .. } | SchedulerFact::JobDuplicate { source, .. } =
            &fact.record.fact
        {
            *ends.entry(source.clone()).or_default() += 1;
        }
    }
    for (config, spec) in kernels {
        let raw = &spec.inputs[0].partition;
        for Wanted { record, due, .. } in dues(broker.log(raw)) {
            let source = SourcePosition::new(config.source.name().clone(), raw.partition, record.offset);
            let times = ends.get(&source).copied().unwrap_or(0);
            let approved = matches!(due, Due::Asked | Due::Child) && allowed.contains_key(&source);
            // How those end that may run is told by `lives`.
            if due != Due::Allowed && !approved {
                verdicts.must(times == 0, Invariant::I3, || format!("{source} is {due:?} and was scheduled"));
                let ran = executions.iter().any(|e| e.source == source);
                verdicts.must(!ran, Invariant::I3, || format!("{source} is {due:?} and ran"));
            }
        }
    }
}
