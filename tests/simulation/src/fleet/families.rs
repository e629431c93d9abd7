//! Jobs that running jobs spawn with their tickets, some of them spoilt, and an operator who revokes some of their parents; and
//! what must be true of them: nothing acts for a job that was revoked before, and nobody else is denied for it.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::json;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::delegation::ParentTicket;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{CommandId, PersonId};
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::signature::{Sign as _, signed};
use tidegate_protocol::topics::partition_of;
use tidegate_spine::{Headers, NewRecord};

use super::parts::{KERNELS, named, pool_name};
use crate::chance::Chance;
use crate::executor::Core;
use crate::keys;
use crate::ledger::facts::{ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::SimSpine;

/// Deeper families would spawn for ever.
const DEEPEST: u32 = 4;
/// Ends the id of a child whose ticket was altered.
pub const SPOILT: &str = "-spoilt";
/// Begins the reason of a denial by a chain.
pub const BY_CHAIN: &str = "delegation: ";
/// Ends the reason of a denial by a parent's ticket whose time is over.
const TOO_LATE: &str = "could delegate is over";
const FIELD: &[u8] = br#","parent_ticket":"#;

/// A value without its parent's ticket: before it, and behind it.
#[must_use]
pub fn without_ticket(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = value.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    Some((value.get(..at)?, value.get(value.len() - 1..)?))
}

fn plain(value: Vec<u8>) -> NewRecord {
    NewRecord { key: None, value: Some(Bytes::from(value)), headers: Headers::new() }
}

/// What a job does that begins to run: it may spawn others, and may be revoked meanwhile or later.
pub fn begun(seed: u64, core: &Core, spine: &SimSpine, job: &Job, work: &str) {
    let mut chance = Chance::new(seed, &format!("family of {}", job.source));
    let depth = job.delegation.as_ref().map_or(0, |delegation| delegation.depth());
    called_off(&mut Chance::new(seed, &format!("cancel of {}", job.source)), core, spine, job);
    let Ok(ticket) = ParentTicket::read(work) else { return };
    if depth >= DEEPEST || !chance.percent(35) {
        return;
    }
    let to = named("jobs.raw").partition(partition_of(ticket.key().as_bytes(), KERNELS));
    for n in 0..chance.within(1..4) {
        let mut id = format!("{}+{n}", job.id);
        let spoilt = chance.percent(10);
        if spoilt {
            id.push_str(SPOILT);
        }
        // What it hands on is what it may do itself.
        let own = json!({"id": id, "topic": job.topic, "capability": job.capability, "payload": {"n": n}}).to_string();
        let Ok(mut child) = ticket.child(own.as_bytes()) else { return };
        if spoilt {
            let text = String::from_utf8(child).unwrap();
            child = text.replacen(r#"\"decision\":{\"verdict\""#, r#"\"decision\": {\"verdict\""#, 1).into_bytes();
        }
        let (spine, to) = (spine.clone(), to.clone());
        core.after(chance.within(0..300_000), move || spine.put(&to, plain(child)));
    }
    if chance.percent(40) {
        let when = chance.within(0..900_000);
        for shard in 0..KERNELS {
            let (spine, command) = (spine.clone(), revocation(job));
            let to = named("commands.jobs.raw").partition(shard);
            core.after(when + chance.within(0..200_000), move || spine.put(&to, plain(command)));
        }
    }
}

/// Somebody calls a job off while it runs, between its attempts, or when it has ended.
fn called_off(chance: &mut Chance, core: &Core, spine: &SimSpine, job: &Job) {
    if chance.percent(15) {
        let (spine, source) = (spine.clone(), &job.source);
        let to = named("commands.jobs.raw").partition(source.partition);
        let id = CommandId::new(format!("x-{}-{}-{}", source.partition, source.offset, core.now())).unwrap();
        let command = Command { id, action: Action::Cancel, pool: Some(pool_name()), ..unsigned(job) };
        let value = signed(&*keys::operator(), KIND, serde_json::to_vec(&command).unwrap());
        core.after(chance.within(0..900_000), move || spine.put(&to, plain(value)));
    }
}

fn revocation(job: &Job) -> Vec<u8> {
    signed(&*keys::operator(), KIND, serde_json::to_vec(&unsigned(job)).unwrap())
}

fn unsigned(job: &Job) -> Command {
    let key = keys::operator();
    Command {
        v: 1,
        id: CommandId::new(format!("r-{}-{}", job.source.partition, job.source.offset)).unwrap(),
        action: Action::Revoke,
        source: job.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: String::new(),
        by: PersonId::new(key.key().as_str()).unwrap(),
        at_ms: 0,
        reason: String::new(),
        pool: None,
        redrive: None,
    }
}

/// Judges the facts of one kernel shard, in their order.
pub fn check(groups: &[ValidGroup<KernelFact>], verdicts: &mut Verdicts) {
    let mut revoked: BTreeSet<SourcePosition> = BTreeSet::new();
    for fact in facts(groups) {
        match &fact.record.fact {
            KernelFact::DelegationRevoked { source, .. } => {
                revoked.insert(source.clone());
            }
            KernelFact::JobDecided { job, decision, .. } => {
                let above = job.delegation.iter().flat_map(|delegation| &delegation.chain);
                let gone = above.map(|ancestor| &ancestor.source).chain([&job.source]).find(|at| revoked.contains(*at));
                if decision.verdict.permits() {
                    verdicts.must(gone.is_none(), Invariant::I3, || {
                        format!("{} was allowed for {gone:?}, which had been revoked", job.source)
                    });
                } else if decision.reason.starts_with(BY_CHAIN) {
                    // One whose ticket expired, or that waited for people, may come too late for its parent's.
                    let ends = job.delegation.as_ref().map(|delegation| delegation.expires_ms);
                    let late =
                        decision.reason.ends_with(TOO_LATE) && ends.is_some_and(|ends| ends <= fact.record.at.millis());
                    verdicts.must(gone.is_some() || late, Invariant::I3, || {
                        format!(
                            "{} was denied by its chain, of which nothing was revoked and which was in time: {}",
                            job.source, decision.reason
                        )
                    });
                }
            }
            KernelFact::PolicyAdopted { .. }
            | KernelFact::JobDeferred { .. }
            | KernelFact::JobHeld { .. }
            | KernelFact::JobRepeated { .. }
            | KernelFact::JobCancelled { .. }
            | KernelFact::JobWithdrawn { .. }
            | KernelFact::RecordRejected { .. }
            | KernelFact::SliceRequested { .. }
            | KernelFact::SliceGranted { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::SpendSettled { .. }
            | KernelFact::OutcomePassedOn { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::RecordRedriven { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::CommandRefused { .. } => {}
        }
    }
}
