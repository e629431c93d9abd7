//! An operator who has dead records judged again: as they are, mended, and by mistake also what never died, lives on or has
//! ended well; sends a command twice or to the wrong shard; and others who may not and try. What must be true of it: each life
//! of a record but the first is somebody's word, and no word counts twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::headers;
use tidegate_protocol::ids::{CommandId, JobId, PersonId, SourceName, TenantId};
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::kept::{ExactJson, KeptBytes};
use tidegate_protocol::redrive::{RawRecord, Redriven};
use tidegate_protocol::signature::{Sign as _, Signed, Trust as _, signed};
use tidegate_spine::{Headers, NewRecord};

use super::cuts::is_lost;
use super::load::Name;
use super::parts::{BUCKETS, KERNELS, TENANTS, named};
use crate::chance::Chance;
use crate::clock::broker_us;
use crate::executor::Core;
use crate::keys;
use crate::ledger::facts::{ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::spine::{Broker, SimSpine, Stored};

/// Redrives between the given virtual times, in most of the runs.
pub fn redrive(seed: u64, core: &Core, spine: &SimSpine, from: u64, until: u64) {
    let mut chance = Chance::new(seed, "redrives");
    for number in 0..chance.within(0..9) {
        let (core_then, spine) = (core.clone(), spine.clone());
        let mut own = Chance::new(seed, &format!("redrive {number}"));
        core.at(chance.within(from..until), move || {
            let found = {
                let broker = spine.broker();
                match own.within(0..100) {
                    0..60 => dead(&broker, number, &mut own),
                    60..80 => raw(&broker, number, &mut own),
                    _ => released(&broker, &mut own),
                }
            };
            if let Some((died, what)) = found {
                say(&core_then, &spine, number, died, what, &mut own);
            }
        });
    }
}

fn say(core: &Core, spine: &SimSpine, number: u64, died: SourcePosition, what: Redriven, chance: &mut Chance) {
    let key = match chance.within(0..100) {
        0..85 => keys::operator(),
        85..95 => keys::key("ada"),
        _ => keys::key("mallory"),
    };
    let mut partition = died.partition;
    if chance.percent(5) {
        partition = (partition + 1) % KERNELS;
    }
    let command = Command {
        v: 1,
        id: CommandId::new(format!("d-{number}")).unwrap(),
        action: Action::Redrive,
        source: died,
        job_id: JobId::new("-").unwrap(),
        tenant: TenantId::new("-").unwrap(),
        input_hash: InputHash::of(b"", []),
        snapshot: String::new(),
        by: PersonId::new(key.key().as_str()).unwrap(),
        at_ms: broker_us(core.now()) / 1_000,
        reason: "mended".into(),
        pool: None,
        redrive: Some(Box::new(what)),
    };
    let value = Bytes::from(signed(&*key, KIND, serde_json::to_vec(&command).unwrap()));
    let to = named("commands.jobs.raw").partition(partition);
    let record = NewRecord { key: None, value: Some(value), headers: Headers::new() };
    if chance.percent(30) {
        let (spine, to, record) = (spine.clone(), to.clone(), record.clone());
        core.after(chance.within(0..1_500_000), move || spine.put(&to, record));
    }
    spine.put(&to, record);
}

type Found = Option<(SourcePosition, Redriven)>;

/// One that died: mended by hand, or as it stands there.
fn dead(broker: &Broker, number: u64, chance: &mut Chance) -> Found {
    let log = broker.log(&named("dead").partition(0));
    let genuine: Vec<&Stored> = log.iter().filter(|stored| !stored.is_forged()).collect();
    if genuine.is_empty() {
        return None;
    }
    let record = &chance.one_of(&genuine).record;
    let died = record.headers.text(headers::SOURCE)?.parse().ok()?;
    let value = record.value.as_deref()?;
    let read = serde_json::from_slice::<Value>(value).ok();
    if read.as_ref().is_some_and(|value| value.get("decision").is_some()) {
        let work = ExactJson::new(std::str::from_utf8(value).ok()?).ok()?;
        return Some((died, Redriven::Work(work)));
    }
    let what = if chance.percent(60) { mended(read, number, chance) } else { as_it_is(value) };
    Some((died, what))
}

/// Any record of the source, whatever has become of it.
fn raw(broker: &Broker, number: u64, chance: &mut Chance) -> Found {
    let partition = u32::try_from(chance.within(0..u64::from(KERNELS))).unwrap_or(0);
    let log = broker.log(&named("jobs.raw").partition(partition));
    if log.is_empty() {
        return None;
    }
    let record = &chance.one_of(log).record;
    let source = SourcePosition::new(SourceName::new("jobs.raw").unwrap(), partition, record.offset);
    let value = record.value.as_deref()?;
    let what = match chance.percent(30) {
        true => mended(serde_json::from_slice(value).ok(), number, chance),
        false => as_it_is(value),
    };
    Some((source, what))
}

/// Any job that was released, whatever has become of it.
fn released(broker: &Broker, chance: &mut Chance) -> Found {
    let bucket = u32::try_from(chance.within(0..u64::from(BUCKETS))).unwrap_or(0);
    let log = broker.log(&named("approved.p").partition(bucket));
    if log.is_empty() {
        return None;
    }
    let value = chance.one_of(log).record.value.clone()?;
    let text = std::str::from_utf8(&value).ok()?;
    let source = serde_json::from_str::<Value>(text).ok()?.pointer("/job/source")?.as_str()?.parse().ok()?;
    Some((source, Redriven::Work(ExactJson::new(text).ok()?)))
}

fn as_it_is(value: &[u8]) -> Redriven {
    Redriven::Record(RawRecord { value: KeptBytes::new(value), key: None, headers: Vec::new() })
}

/// The job as its submitter meant it; another one where that cannot be told.
fn mended(read: Option<Value>, number: u64, chance: &mut Chance) -> Redriven {
    let text = |name: &str| read.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let id = text("id").unwrap_or_else(|| format!("mended-{number}"));
    let tenant = text("tenant").filter(|tenant| TENANTS.contains(&tenant.as_str()));
    let tenant = tenant.unwrap_or_else(|| (*chance.one_of(&TENANTS)).to_owned());
    let topic = *chance.one_of(&["job.ok.x", "job.ok.x", "job.ask.x", "job.bad.x"]);
    let job = json!({"id": id, "tenant": tenant, "topic": topic, "capability": "echo", "payload": {"mended": number}});
    as_it_is(job.to_string().as_bytes())
}

/// Genuine commands to redrive, by their ids: numbers of their landings, and what they say; and those of which a record was lost.
fn genuine(
    broker: &Broker,
    commands: &TopicPartition,
    groups: &[ValidGroup<KernelFact>],
) -> (BTreeMap<CommandId, (u64, Command)>, BTreeSet<CommandId>) {
    let mut gone = BTreeSet::new();
    let mut all = BTreeMap::new();
    for stored in broker.log(commands) {
        let value = stored.record.value.as_deref().unwrap_or_default();
        let (Some(signed), Ok(command)) = (Signed::read(value), serde_json::from_slice::<Command>(value)) else {
            continue;
        };
        let proven = keys::stages().verify(signed.key, &signed.statement(KIND), signed.signature()).is_ok();
        if proven && signed.key == keys::operator().key().as_str() && command.action == Action::Redrive {
            if is_lost(groups, commands, stored.record.offset) {
                gone.insert(command.id.clone());
            }
            all.entry(command.id.clone()).or_insert((stored.number, command));
        }
    }
    (all, gone)
}

/// What each life but the first was judged from, by one kernel shard.
pub type Inputs = BTreeMap<SourcePosition, Redriven>;

/// Judges what one kernel shard made of commands to redrive.
pub fn check(
    broker: &Broker,
    commands: &TopicPartition,
    groups: &[ValidGroup<KernelFact>],
    verdicts: &mut Verdicts,
) -> Inputs {
    let (genuine, gone) = genuine(broker, commands, groups);
    let mut inputs = Inputs::new();
    let mut answered: BTreeSet<CommandId> = BTreeSet::new();
    // Sent twice, one that was refused may count the second time.
    let mut counted: BTreeSet<CommandId> = BTreeSet::new();
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    for fact in facts(groups) {
        if let KernelFact::RecordRedriven { source, command, .. } = &fact.record.fact {
            let said = genuine.get(command).filter(|(number, _)| *number < fact.number);
            let of_it = said.filter(|(_, said)| said.source.redriven(said.source.redrive + 1) == *source);
            verdicts.must(of_it.is_some(), Invariant::I3, || {
                format!("{source} was redriven by {command}, which says {said:?}")
            });
            let before = last.insert(source.offset, source.redrive).unwrap_or_default();
            let counted = counted.insert(command.clone());
            answered.insert(command.clone());
            verdicts.must(before < source.redrive && counted, Invariant::I4, || {
                format!("{source} was redriven by {command}, after life {before} of the record")
            });
            if let Some(what) = of_it.and_then(|(_, said)| said.redrive.as_deref()) {
                inputs.insert(source.clone(), what.clone());
            }
        } else if let KernelFact::CommandRefused { command, action: Action::Redrive, .. } = &fact.record.fact {
            answered.insert(command.clone());
        }
    }
    for id in genuine.keys().filter(|id| !answered.contains(*id) && !gone.contains(*id)) {
        verdicts.must_in_the_end(false, Invariant::I1, || format!("nobody knows what became of {id}"));
    }
    inputs
}

/// Names of the jobs that redriven records are.
#[must_use]
pub fn names(groups: &[ValidGroup<KernelFact>]) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for fact in facts(groups) {
        let job = if let KernelFact::JobDecided { job, .. }
        | KernelFact::JobHeld { job, .. }
        | KernelFact::JobDeferred { job, .. } = &fact.record.fact
        {
            Some(job)
        } else if let KernelFact::RecordRejected { job, .. } = &fact.record.fact {
            job.as_deref()
        } else {
            None
        };
        if let Some(job) = job.filter(|job| job.source.redrive > 0) {
            names.insert((job.tenant.to_string(), job.id.to_string()));
        }
    }
    names
}
