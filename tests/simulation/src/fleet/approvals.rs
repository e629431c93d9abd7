//! What must be true of held jobs: what runs was approved, for exactly its input, by enough people who may, in time (I3).

use std::collections::BTreeMap;

use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::decision::Decision;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::signature::{Signed, Trust as _};
use tidegate_protocol::time::Timestamp;

use super::policies::{Asks, asks};
use crate::keys;
use crate::ledger::facts::{ValidFact, ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::Broker;

/// A genuine approval: number of its landing, and what it says.
type Genuine = BTreeMap<CommandId, (u64, Command)>;

/// Approvals in a log that a person of this world signed in their own name.
fn genuine(broker: &Broker, commands: &TopicPartition) -> Genuine {
    let mut all = Genuine::new();
    for stored in broker.log(commands) {
        let value = stored.record.value.as_deref().unwrap_or_default();
        let (Some(signed), Ok(command)) = (Signed::read(value), serde_json::from_slice::<Command>(value)) else {
            continue;
        };
        let proven = keys::stages().verify(signed.key, &signed.statement(KIND), signed.signature()).is_ok();
        let named = command.by.as_str() == signed.key && !keys::roles_of(signed.key).is_empty();
        if proven && named && command.action == Action::Approve {
            all.entry(command.id.clone()).or_insert((stored.number, command));
        }
    }
    all
}

/// A hold as it stands.
struct Held {
    job: Job,
    snapshot: String,
    until: Timestamp,
    given: Vec<String>,
}

impl Held {
    fn asks(&self) -> Option<Asks> {
        asks(&self.snapshot)
    }

    /// How many of those who approved it may, as `wanted` has it.
    fn counting(&self, wanted: Asks) -> usize {
        self.given.iter().filter(|who| keys::roles_of(who).iter().any(|role| wanted.roles.contains(role))).count()
    }
}

/// Whether what was approved under one policy is approved under another: nothing more is asked for.
fn is_no_more(later: Asks, than: Asks) -> bool {
    later.quorum <= than.quorum && than.roles.iter().all(|role| later.roles.contains(role))
}

/// Judges what one kernel shard made of commands; the number of held jobs that were released.
pub fn check(
    broker: &Broker,
    commands: &TopicPartition,
    groups: &[ValidGroup<KernelFact>],
    verdicts: &mut Verdicts,
) -> u64 {
    let genuine = genuine(broker, commands);
    let mut held: BTreeMap<SourcePosition, Held> = BTreeMap::new();
    let mut released = 0;
    for fact in facts(groups) {
        match &fact.record.fact {
            KernelFact::JobHeld { job, decision, until, .. } => {
                let (job, snapshot) = (job.clone(), decision.snapshot.clone());
                held.insert(job.source.clone(), Held { job, snapshot, until: *until, given: Vec::new() });
            }
            KernelFact::HoldRenewed { source, decision, until } => {
                renew(held.get_mut(source), source, decision, *until, verdicts);
            }
            KernelFact::ApprovalGiven { source, command, .. } => {
                check_given(&fact, held.get_mut(source), source, genuine.get(command), verdicts);
            }
            KernelFact::JobDecided { job, decision, .. } => {
                let was = held.remove(&job.source);
                if job.topic.as_str().starts_with("job.ask.") && decision.verdict.permits() {
                    released += 1;
                    let enough = was.as_ref().zip(asks(&decision.snapshot));
                    let enough = enough.is_some_and(|(held, wanted)| held.counting(wanted) >= wanted.quorum);
                    verdicts.must(enough, Invariant::I3, || {
                        let given = was.map(|held| held.given);
                        format!("{} was released, approved by {given:?}", job.source)
                    });
                }
            }
            KernelFact::JobCancelled { job, .. } => {
                held.remove(&job.source);
            }
            KernelFact::JobDeferred { job, .. } => {
                held.remove(&job.source);
            }
            KernelFact::RecordRejected { source, .. } => {
                held.remove(source);
            }
            KernelFact::PolicyAdopted { .. }
            | KernelFact::JobRepeated { .. }
            | KernelFact::SliceRequested { .. }
            | KernelFact::SliceGranted { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::SpendSettled { .. }
            | KernelFact::OutcomePassedOn { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::JobWithdrawn { .. }
            | KernelFact::CommandRefused { .. } => {}
        }
    }
    for source in held.keys() {
        verdicts.must_in_the_end(false, Invariant::I1, || format!("{source} is held for ever"));
    }
    released
}

fn renew(
    held: Option<&mut Held>,
    source: &SourcePosition,
    decision: &Decision,
    until: Timestamp,
    verdicts: &mut Verdicts,
) {
    let Some(held) = held else {
        return verdicts.broken(Invariant::I4, || format!("{source} is held anew, but was not held"));
    };
    let carries = asks(&decision.snapshot).zip(held.asks()).is_some_and(|(later, than)| is_no_more(later, than));
    verdicts.must(carries && until <= held.until, Invariant::I3, || {
        format!("{source}: approvals under {} count under {}, which asks for more", held.snapshot, decision.snapshot)
    });
    held.snapshot.clone_from(&decision.snapshot);
    held.until = until;
}

fn check_given(
    fact: &ValidFact<'_, KernelFact>,
    held: Option<&mut Held>,
    source: &SourcePosition,
    said: Option<&(u64, Command)>,
    verdicts: &mut Verdicts,
) {
    let (Some(held), Some((number, said))) = (held, said) else {
        return verdicts
            .broken(Invariant::I3, || format!("{source} was approved, which is not held, or by nobody's word"));
    };
    let (by, job) = (said.by.as_str(), &held.job);
    let asked = held.asks();
    let says_so = said.source == *source && said.job_id == job.id && said.tenant == job.tenant && *number < fact.number;
    verdicts.must(says_so && said.input_hash == job.input_hash, Invariant::I3, || {
        format!("{source} counts as approved by {by}, who said {said:?}")
    });
    let may = asked.is_some_and(|wanted| keys::roles_of(by).iter().any(|role| wanted.roles.contains(role)));
    let is_own = job.actor.id.as_deref() == Some(by);
    let seen = asks(&said.snapshot).zip(asked).is_some_and(|(seen, wanted)| is_no_more(wanted, seen));
    let first = !held.given.iter().any(|who| who == by);
    let in_time = fact.record.at < held.until;
    verdicts.must(may && !is_own && seen && first && in_time, Invariant::I3, || {
        format!(
            "{source} counts as approved by {by}: may {may}, own {is_own}, saw as much {seen}, first {first}, in time {in_time}"
        )
    });
    held.given.push(by.to_owned());
}
