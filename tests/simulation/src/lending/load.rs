//! Jobs that meet limits, and an operator who redrives them, whether they have ended or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, JobId, PersonId, SourceName, TenantId};
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::kept::KeptBytes;
use tidegate_protocol::redrive::{RawRecord, Redriven};
use tidegate_protocol::signature::{Sign as _, signed};
use tidegate_spine::{Headers, NewRecord};

use super::parts::TOPICS;
use crate::chance::Chance;
use crate::clock::broker_us;
use crate::executor::{Core, locked};
use crate::fleet::parts::{TENANTS, named};
use crate::keys;
use crate::spine::SimSpine;

/// Submits to one partition until virtual time `until`; every job ends by its deadline.
pub fn submit(seed: u64, shard: u32, core: &Core, spine: &SimSpine, to: &TopicPartition, until: u64) {
    let mut chance = Chance::new(seed, &format!("jobs {shard}"));
    // A few of the limits a run, so that each is full now and then.
    let busy: Vec<&str> = (0..2).map(|_| *chance.one_of(&TOPICS)).collect();
    for number in 0..chance.within(20..70) {
        let at = chance.within(0..until);
        let topic = if chance.percent(80) { *chance.one_of(&busy) } else { *chance.one_of(&TOPICS) };
        let deadline = broker_us(at) / 1_000 + chance.within(20..2_500);
        let job = json!({
            "id": format!("{shard}-{number}"), "tenant": *chance.one_of(&TENANTS), "topic": topic, "capability": "echo",
            "deadline": deadline, "payload": {"n": chance.within(1..7)},
        });
        let record = NewRecord { key: None, value: Some(job.to_string().into()), headers: Headers::new() };
        let (spine, to) = (spine.clone(), to.clone());
        core.at(at, move || spine.put(&to, record));
    }
}

/// Redrives records of one partition until virtual time `until`, in half of the runs: mostly ones that came of late, with a
/// deadline of their own, as the same job or as another.
pub fn redrive(seed: u64, shard: u32, core: &Core, spine: &SimSpine, from: &TopicPartition, until: u64) {
    let mut chance = Chance::new(seed, "redrives");
    if chance.percent(50) {
        return;
    }
    // Commands so far of each record: the lives there may be.
    let lives: Arc<Mutex<BTreeMap<Offset, u32>>> = Arc::default();
    for number in 0..chance.within(5..25) {
        let mut own = Chance::new(seed, &format!("redrive {shard} {number}"));
        let (core_then, spine, from, lives) = (core.clone(), spine.clone(), from.clone(), lives.clone());
        core.at(chance.within(200_000..until), move || {
            let found = {
                let broker = spine.broker();
                let log = broker.log(&from);
                let recent = log.get(log.len().saturating_sub(12)..).unwrap_or_default();
                (!recent.is_empty()).then(|| own.one_of(recent).record.clone())
            };
            let Some(record) = found else { return };
            let value = record.value.as_deref().unwrap_or_default();
            let Ok(mut job) = serde_json::from_slice::<Value>(value) else { return };
            job["deadline"] = json!(broker_us(core_then.now()) / 1_000 + own.within(20..2_500));
            if own.percent(60) {
                job["id"] = json!(format!("again-{shard}-{number}"));
            }
            let redrive = {
                let mut lives = locked(&lives);
                let life = lives.entry(record.offset).or_default();
                *life += 1;
                *life - 1
            };
            let source = SourcePosition::new(SourceName::new("jobs.raw").unwrap(), shard, record.offset);
            let value = command(&core_then, (shard, number), source.redriven(redrive), &job);
            let record = NewRecord { key: None, value: Some(value), headers: Headers::new() };
            spine.put(&named("commands.jobs.raw").partition(shard), record);
        });
    }
}

fn command(core: &Core, (shard, number): (u32, u64), died: SourcePosition, job: &Value) -> Bytes {
    let key = keys::operator();
    let value = KeptBytes::new(job.to_string().as_bytes());
    let command = Command {
        v: 1,
        id: CommandId::new(format!("d-{shard}-{number}")).unwrap(),
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
        redrive: Some(Box::new(Redriven::Record(RawRecord { value, key: None, headers: Vec::new() }))),
    };
    signed(&*key, KIND, serde_json::to_vec(&command).unwrap()).into()
}
