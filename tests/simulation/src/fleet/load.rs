//! What is submitted to the source, and what must become of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::headers;
use tidegate_spine::{Headers, NewRecord, Record};

use super::families::{SPOILT, without_ticket};
use super::parts::TENANTS;
use crate::chance::Chance;
use crate::executor::Core;
use crate::spine::{SimSpine, Stored};

fn plain(value: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: None, value: Some(value.into()), headers: Headers::new() }
}

fn job(id: &str, tenant: &str, topic: &str, capability: &str, n: u64) -> String {
    // The same number is the same job: some start later, some are wanted for a time only, some by all means first.
    let mut job = json!({"id": id, "tenant": tenant, "topic": topic, "capability": capability, "payload": {"n": n}});
    match n % 7 {
        1 => job["delay_ms"] = json!(n * 60),
        2 => job["ttl_ms"] = json!(2_000 + n * 100),
        3 => job["priority"] = json!(9),
        _ => {}
    }
    if n.is_multiple_of(5) {
        job["ordering_key"] = json!(format!("k{}", n % 2));
    }
    match n % 6 {
        4 => job["retry"] = json!({"max_attempts": 1 + n % 3}),
        5 => job["retry"] = json!({"max_attempts": 4, "backoff_ms": 20 * n, "max_backoff_ms": 400}),
        _ => {}
    }
    job.to_string()
}

/// What a job asks of its worker beside its capability: a worker that has all of it is always there in the end ([`super::worker`]).
fn choosy(job: String, chance: &mut Chance) -> String {
    let Ok(mut job) = serde_json::from_str::<serde_json::Value>(&job) else { return job };
    let echo = job["capability"] == "echo";
    match chance.within(0..6) {
        0 => job["select"] = json!({"zone": "a"}),
        1 => job["select"] = json!({"gpu": true, "zone": ["a", "c"]}),
        2 if echo => job["select"] = json!({"zone": ["b", "c"], "gpu": false}),
        3 if echo => job["select"] = json!({"zone": "b"}),
        4 => job["prefer"] = json!({"zone": "b"}),
        _ => job["requires"] = json!(["sum"]),
    }
    job.to_string()
}

/// A job that people have to approve, made by one of them or by an agent.
fn asking(id: &str, tenant: &str, capability: &str, n: u64, by: &str) -> String {
    let actor = json!({"id": by, "type": "agent"});
    json!({"id": id, "tenant": tenant, "topic": "job.ask.x", "actor": actor, "capability": capability, "payload": {"n": n}})
        .to_string()
}

/// Submits to one partition until virtual time `until`. When it is `contended`, many plain jobs of both tenants come at once, and none is
/// particular about its worker.
pub fn submit(
    (seed, contended): (u64, bool),
    shard: u32,
    core: &Core,
    spine: &SimSpine,
    to: &TopicPartition,
    until: u64,
) {
    let mut chance = Chance::new(seed, &format!("jobs {shard}"));
    let mut wishes = Chance::new(seed, &format!("wishes {shard}"));
    let put = |at: u64, record: NewRecord| {
        let (spine, to) = (spine.clone(), to.clone());
        core.at(at, move || spine.put(&to, record));
    };
    if contended {
        let at = wishes.within(1..until / 2);
        for number in 0..wishes.within(10..24) {
            let (id, tenant) = (format!("{shard}-plain-{number}"), *wishes.one_of(&TENANTS));
            let capability = *wishes.one_of(&["echo", "sum"]);
            let job = json!({"id": id, "tenant": tenant, "topic": "job.ok.x", "capability": capability, "payload": {"n": number}});
            put(at + wishes.within(0..200_000), plain(job.to_string()));
        }
    }
    let burst = chance.within(1..until);
    for number in 0..chance.within(10..32) {
        let at = if chance.percent(30) { burst } else { chance.within(0..until) };
        // Some ids are used on both partitions.
        let id = if chance.percent(6) { format!("both-{}", number % 3) } else { format!("{shard}-{number}") };
        let tenant = *chance.one_of(&TENANTS);
        let capability = *chance.one_of(&["echo", "sum"]);
        match chance.within(0..100) {
            0..46 => {
                let mut value = job(&id, tenant, "job.ok.x", capability, number);
                if !contended && wishes.percent(35) {
                    value = choosy(value, &mut wishes);
                }
                put(at, plain(value.clone()));
                if chance.percent(12) {
                    put(at + chance.within(0..1_500_000), plain(value));
                } else if chance.percent(8) {
                    put(at + chance.within(1..1_500_000), plain(job(&id, tenant, "job.ok.x", capability, 9_999)));
                }
            }
            46..60 => {
                let by = *chance.one_of(&["ada", "cem", "robot", "robot"]);
                let value = asking(&id, tenant, capability, number, by);
                put(at, plain(value.clone()));
                if chance.percent(15) {
                    put(at + chance.within(0..1_500_000), plain(value));
                }
            }
            60..76 => put(at, plain(job(&id, tenant, "job.bad.x", capability, number))),
            76..81 => put(at, plain(job(&id, tenant, "job.ok.x", "fly", number))),
            81..85 => put(at, plain(job(&id, "initech", "job.ok.x", capability, number))),
            85..88 => put(at, plain(json!({"id": id, "tenant": tenant}).to_string())),
            88..91 => put(at, plain(&b"{\"id\": \"half"[..])),
            91..94 => put(at, plain(&b"\xff\xfe"[..])),
            94..97 => put(at, NewRecord::default()),
            _ => {
                let kind = *chance.one_of(&["fence", "barrier", "group", "claim"]);
                let list = [(headers::KIND, kind), (headers::SENDER, "kernel.jobs.raw/0"), (headers::EPOCH, "999999")];
                let value = Some(job(&id, tenant, "job.ok.x", capability, number).into());
                put(at, NewRecord { key: None, value, headers: Headers::from_iter(list) });
            }
        }
    }
}

/// What a record of the source must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Allowed and run.
    Allowed,
    /// Denied.
    Denied,
    /// Held until people have approved it, or denied.
    Asked,
    /// A job, but no pool takes it.
    Unroutable,
    /// A job that acts for another: allowed, or denied where that was revoked.
    Child,
    /// Its parent's ticket was altered.
    Spoilt,
    /// No job.
    Rejected,
    /// The same as an earlier one.
    Repeated,
}

fn alone(record: &Record) -> (Due, Option<Name>) {
    let rejected = (Due::Rejected, None);
    if record.headers.get(headers::KIND).is_some() {
        return rejected;
    }
    let Some(value) = record.value.as_deref() else { return rejected };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(value) else { return rejected };
    let text = |name: &str| value.get(name).and_then(|v| v.as_str()).map(str::to_owned);
    let (Some(id), Some(tenant), Some(topic), Some(capability)) =
        (text("id"), text("tenant"), text("topic"), text("capability"))
    else {
        return rejected;
    };
    if !TENANTS.contains(&tenant.as_str()) {
        return rejected;
    }
    let due = match (topic.as_str(), capability.as_str()) {
        _ if value.get("parent_ticket").is_some() && id.ends_with(SPOILT) => Due::Spoilt,
        _ if value.get("parent_ticket").is_some() => Due::Child,
        ("job.bad.x", _) => Due::Denied,
        ("job.ask.x", _) => Due::Asked,
        (_, "fly") => Due::Unroutable,
        _ => Due::Allowed,
    };
    (due, Some((tenant, id)))
}

/// The same job: a parent that runs again may have another ticket.
fn is_same(a: &Record, b: &Record) -> bool {
    let (Some(one), Some(other)) = (a.value.as_deref(), b.value.as_deref()) else { return a.value == b.value };
    match (without_ticket(one), without_ticket(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Tenant and id of a job.
pub type Name = (String, String);

/// What a record must lead to.
pub struct Wanted<'a> {
    /// The record.
    pub record: &'a Record,
    /// What must become of it.
    pub due: Due,
    /// The first record of its job's name; itself, where it is no job.
    pub first: Offset,
    /// Its job's name.
    pub name: Option<Name>,
}

/// What each record of one partition must lead to, in the order of the log.
#[must_use]
pub fn dues(log: &[Stored]) -> Vec<Wanted<'_>> {
    let mut firsts: BTreeMap<Name, &Record> = BTreeMap::new();
    log.iter()
        .map(|stored| {
            let record = &stored.record;
            let (due, name) = alone(record);
            let known = name.as_ref().and_then(|name| firsts.get(name)).copied();
            let (due, first) = match known {
                Some(known) if is_same(known, record) => (Due::Repeated, known.offset),
                Some(known) => (Due::Rejected, known.offset),
                None => (due, record.offset),
            };
            if let (Some(name), None) = (&name, known) {
                firsts.insert(name.clone(), record);
            }
            Wanted { record, due, first, name }
        })
        .collect()
}
