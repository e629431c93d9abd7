//! Jobs that meet limits.

use serde_json::json;
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{Headers, NewRecord};

use super::parts::TOPICS;
use crate::chance::Chance;
use crate::clock::broker_us;
use crate::executor::Core;
use crate::fleet::parts::TENANTS;
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
