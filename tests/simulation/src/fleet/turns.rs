//! Whose turn it was, of two tenants that both had jobs waiting; judged in runs in which nothing limits them and every worker can
//! run every job ([`super::parts::Terms::contended`]).
//!
//! Start-time fair queueing keeps a tag per tenant: a lease goes to the lowest, and moves it on by 1/weight. The judge does not know the
//! tags; it keeps what their *difference* may be, a range, and every lease narrows it: what went to A says that A's tag was not above
//! B's. When nothing is left of the range, somebody was served out of turn. (So over any stretch in which both wait the numbers
//! of their leases are in the ratio of their weights, to within a job each.)
//!
//! Both *surely wait* when each has a job that was read by this owner and not leased yet: a plain one (no key, no delay, no deadline, no selector,
//! nobody's child), whose ticket stands in a bucket before another record that this owner has settled. Whoever else is in the queues has no say:
//! tags are a shard's, whatever the job. When one of them may have been without jobs the difference is at most a job of either
//! again: in such runs nobody can be left behind or get ahead further.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::SourcePosition;

use super::parts::{TENANTS, named, weight};
use super::wishes::Released;
use crate::ledger::facts::{ValidFact, ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};

/// What a job of a tenant of weight 1 moves its tag on by; all weights here divide it.
const STEP: i64 = 6;

fn step(tenant: &str) -> i64 {
    STEP / i64::from(weight(tenant))
}

/// Waiting jobs that count, by tenant: bucket and offset of their tickets.
type Plain<'a> = BTreeMap<&'a SourcePosition, (usize, u32, Offset)>;

/// Which tenants surely have a job waiting.
fn wait(plain: &Plain<'_>, read: &BTreeMap<u32, Offset>) -> BTreeSet<usize> {
    let is_read = |bucket: &u32, offset: &Offset| read.get(bucket).is_some_and(|read| offset < read);
    plain.values().filter(|(_, bucket, offset)| is_read(bucket, offset)).map(|(tenant, ..)| *tenant).collect()
}

/// Judges the facts of one shard; how many turns both tenants waited for.
pub fn check(
    groups: &[ValidGroup<SchedulerFact>],
    released: &BTreeMap<SourcePosition, Released>,
    verdicts: &mut Verdicts,
) -> u64 {
    let tenant_of = |source: &SourcePosition| {
        let tenant = released.get(source)?.job.tenant.as_str();
        TENANTS.iter().position(|known| *known == tenant)
    };
    let mut plain: Plain<'_> = released
        .iter()
        .filter_map(|(source, Released { job, tickets })| {
            let is_plain = job.ordering_key.is_none()
                && job.not_before.is_none()
                && job.deadline.is_none()
                && job.select.is_empty()
                && job.prefer.is_empty()
                && job.delegation.is_none();
            let [ticket] = &tickets[..] else { return None };
            is_plain.then_some(())?;
            Some((source, (tenant_of(source)?, ticket.bucket, ticket.offset)))
        })
        .collect();
    // The first's tag less the second's.
    let wide = (-step(TENANTS[1]), step(TENANTS[0]));
    let (mut epoch, mut read, mut range) = (0, BTreeMap::new(), wide);
    let (mut judged, mut turns) = (0, Vec::new());
    let epochs = groups.iter().map(|group| (group.offset, group.group.epoch)).collect::<BTreeMap<_, _>>();
    for ValidFact { group, settles, record, .. } in facts(groups) {
        let of = epochs.get(&group).copied().unwrap_or(0);
        if of != epoch {
            (epoch, range) = (of, wide);
            read.clear();
        }
        if let SchedulerFact::LeaseGranted { source, .. } = &record.fact
            && let Some(tenant) = tenant_of(source)
        {
            if wait(&plain, &read).len() < TENANTS.len() {
                range = wide;
                turns.clear();
            } else {
                judged += 1;
                turns.push(TENANTS[tenant]);
                let (low, high) = range;
                range = if tenant == 0 { (low, high.min(0)) } else { (low.max(0), high) };
                verdicts.must(range.0 <= range.1, Invariant::Turn, || {
                    format!("{source} of {} was leased at {:?} out of turn: {turns:?}", TENANTS[tenant], record.at)
                });
                let by = if tenant == 0 { step(TENANTS[0]) } else { -step(TENANTS[1]) };
                range = if range.0 <= range.1 { (range.0 + by, range.1 + by) } else { wide };
            }
        }
        if let SchedulerFact::LeaseGranted { source, .. }
        | SchedulerFact::JobMoved { source, .. }
        | SchedulerFact::JobDelayed { source, .. }
        | SchedulerFact::JobDuplicate { source, .. }
        | SchedulerFact::JobReturned { source, .. }
        | SchedulerFact::JobFinished { source, .. } = &record.fact
        {
            plain.remove(source);
        }
        if let Some((TopicPartition { topic, partition }, offset)) = settles
            && topic == named("approved.p")
        {
            let known = read.entry(partition).or_insert(0);
            *known = offset.max(*known);
        }
    }
    judged
}
