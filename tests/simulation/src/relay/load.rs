//! What is submitted: jobs of all kinds, rubbish, releases, credits, and control records where they have no meaning.

use bytes::Bytes;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::headers;
use tidegate_spine::{Headers, NewRecord};

use super::stage::{Control, Job, Todo};
use crate::chance::Chance;
use crate::executor::Core;
use crate::spine::SimSpine;

fn record(value: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: None, value: Some(value.into()), headers: Headers::new() }
}

fn control(control: &Control) -> NewRecord {
    record(serde_json::to_vec(control).unwrap_or_default())
}

fn forged(chance: &mut Chance) -> NewRecord {
    let kind = *chance.one_of(&["fence", "barrier", "group", "claim"]);
    let list =
        [(headers::KIND, kind.to_owned()), (headers::SENDER, "a/0".to_owned()), (headers::EPOCH, "9999".to_owned())];
    NewRecord { key: None, value: Some("{}".into()), headers: Headers::from_iter(list) }
}

/// Submits jobs to `jobs` and control records to `control`, until virtual time `until`; then credit for everything.
pub fn submit(
    seed: u64,
    shard: usize,
    core: &Core,
    spine: &SimSpine,
    jobs: &TopicPartition,
    orders: &TopicPartition,
    until: u64,
) {
    let mut chance = Chance::new(seed, &format!("load {shard}"));
    // Now and then so many are held between others that places come to their bounds.
    let heavy = chance.percent(8);
    let count = if heavy { chance.within(70..110) } else { chance.within(12..40) };
    let put = |at: u64, to: &TopicPartition, record: NewRecord| {
        let (spine, to) = (spine.clone(), to.clone());
        core.at(at, move || spine.put(&to, record));
    };
    let burst = chance.within(1..until);
    for number in 0..count {
        let at = if chance.percent(30) { burst } else { chance.within(0..until) };
        let id = format!("{shard}-{number}");
        let todo = match chance.within(0..100) {
            0..50 if heavy => Todo::Hold,
            0..45 => Todo::Go,
            45..60 => Todo::Deny,
            60..80 => Todo::Hold,
            80..93 => Todo::Queue,
            _ => {
                let rubbish = match chance.within(0..4) {
                    0 => NewRecord::default(),
                    1 => forged(&mut chance),
                    2 => record(&b"\xff{\x00"[..]),
                    _ => record(&b"{\"id\":"[..]),
                };
                put(at, jobs, rubbish);
                continue;
            }
        };
        let hold_us = if heavy { chance.within(2_000_000..2_500_000) } else { chance.within(300_000..2_500_000) };
        if todo == Todo::Hold && chance.percent(if heavy { 10 } else { 75 }) {
            put(at + chance.within(0..hold_us + 500_000), orders, control(&Control::Release(id.clone())));
        }
        if todo == Todo::Queue && chance.percent(80) {
            put(at + chance.within(0..2_000_000), orders, control(&Control::Credit(chance.within(1..3))));
        }
        let job = Job { id, todo, hold_us, until: None };
        put(at, jobs, record(serde_json::to_vec(&job).unwrap_or_default()));
    }
    for _ in 0..chance.within(0..4) {
        let at = chance.within(0..until);
        let rubbish = if chance.percent(50) { forged(&mut chance) } else { record(&b"?"[..]) };
        put(at, orders, rubbish);
    }
    put(until + 4_000_000, orders, control(&Control::Credit(1_000)));
}
