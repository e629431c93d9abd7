//! Somebody who can write to every topic of the stages and to workers' lanes, has read all of them, and has no key:
//! unsigned fences, barriers, claims and groups, orders for jobs that nobody gave out, and genuine records written again,
//! there and elsewhere, as they are or with another place in the order.
//!
//! The judge passes over what is forged ([`crate::spine::Stored::is_forged`]): it must be as if it were not there.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::headers;
use tidegate_spine::{Headers, NewRecord};

use super::parts::{BUCKETS, KERNELS, LANES, named};
use crate::chance::Chance;
use crate::executor::Core;
use crate::spine::{FORGED, SimSpine};

/// Forges between the given virtual times, in half of the runs.
pub fn forge(seed: u64, core: &Core, spine: &SimSpine, times: Range<u64>) {
    let mut chance = Chance::new(seed, "forgers");
    if chance.percent(50) {
        return;
    }
    for number in 0..chance.within(5..40) {
        let (spine, mut own) = (spine.clone(), Chance::new(seed, &format!("forgery {number}")));
        core.at(chance.within(times.clone()), move || {
            let targets = targets();
            let lane = named("work.p").partition(u32::try_from(own.within(0..u64::from(LANES))).unwrap_or(0));
            let to = if own.percent(40) { lane.clone() } else { own.one_of(&targets).clone() };
            let forged = if to == lane && own.percent(60) {
                order(&spine, &to, &mut own)
            } else {
                forgery(&spine, &to, &mut own)
            };
            if let Some(mut record) = forged {
                record.headers.push(FORGED, "yes");
                spine.put(&to, record);
            }
        });
    }
}

fn targets() -> Vec<TopicPartition> {
    let of = |name: &str, n: u32| (0..n).map(|p| named(name).partition(p)).collect::<Vec<_>>();
    [
        of("decisions.jobs.raw", KERNELS),
        of("outcomes.jobs.raw", KERNELS),
        of("approved.p", BUCKETS),
        of("overflow.p", BUCKETS),
        of("leases.p", 1),
    ]
    .concat()
}

fn forgery(spine: &SimSpine, to: &TopicPartition, chance: &mut Chance) -> Option<NewRecord> {
    let sender = *chance.one_of(&["kernel.jobs.raw/0", "kernel.jobs.raw/1", "scheduler.p/0"]);
    let high = chance.within(1..1 << 50);
    let control = |kind: &'static str, text: String| NewRecord {
        key: Some(Bytes::from_static(sender.as_bytes())),
        value: Some(text.into()),
        headers: Headers::from_iter([
            (headers::KIND, kind.to_owned()),
            (headers::SENDER, sender.to_owned()),
            (headers::EPOCH, high.to_string()),
        ]),
    };
    let mark = format!(r#"{{"v":1,"sender":"{sender}","epoch":{high}}}"#);
    match chance.within(0..7) {
        0 => Some(control("fence", mark)),
        1 => Some(control("barrier", mark)),
        2 => {
            let claim = r#""term":0,"outputs":[],"process":"thief","wall_ms":1000}"#;
            Some(control("claim", format!(r#"{{"v":1,"sender":"{sender}",{claim}"#)))
        }
        3 => copy(spine, to, chance),
        4 => {
            let all = targets();
            copy(spine, chance.one_of(&all), chance)
        }
        // The newest there, as if it were the next.
        5 => {
            let mut record = last(spine, to)?;
            let stamp = record.headers.text(headers::STAMP)?.to_owned();
            let (sequence, rest) = stamp.split_once(' ')?;
            let next = format!("{} {rest}", sequence.parse::<u64>().ok()? + 1);
            let kept = record.headers.iter().filter(|(name, _)| *name != headers::STAMP);
            record.headers = kept.map(|(n, v)| (n.to_owned(), v.clone())).collect();
            record.headers.push(headers::STAMP, next);
            Some(record)
        }
        // The newest there, altered.
        _ => {
            let mut record = last(spine, to)?;
            let text = String::from_utf8(record.value?.to_vec()).ok()?;
            let (from, into) =
                *chance.one_of(&[("\"sequence\":", "\"sequence\":1"), ("job.ok", "job.bad"), ("acme", "evil")]);
            record.value = Some(text.replacen(from, into, 1).into());
            Some(record)
        }
    }
}

/// The newest assignment in a lane, with the next number and for another job.
fn order(spine: &SimSpine, lane: &TopicPartition, chance: &mut Chance) -> Option<NewRecord> {
    let broker = spine.broker();
    let genuine = broker.log(lane).iter().rev().filter(|stored| !stored.is_forged());
    let orders = genuine
        .filter_map(|stored| Some((stored, serde_json::from_slice::<Value>(stored.record.value.as_deref()?).ok()?)));
    let (stored, order) = orders.into_iter().find(|(_, order)| order.get("assignment").is_some())?;
    let assignment = order.get("assignment")?;
    let (number, source) = (assignment.get("number")?.as_u64()?, assignment.get("source")?.as_str()?);
    let other = format!("jobs.raw/{}@{}", chance.within(0..u64::from(KERNELS)), chance.within(0..60));
    let text = std::str::from_utf8(stored.record.value.as_deref()?).ok()?;
    let text = text.replace(source, &other).replacen(
        &format!("\"number\":{number},"),
        &format!("\"number\":{},", number + 1),
        1,
    );
    Some(NewRecord { value: Some(text.into()), ..again(stored) })
}

fn copy(spine: &SimSpine, from: &TopicPartition, chance: &mut Chance) -> Option<NewRecord> {
    let broker = spine.broker();
    let log = broker.log(from);
    let number = chance.within(0..log.len().max(1) as u64);
    log.get(usize::try_from(number).ok()?).map(again)
}

fn last(spine: &SimSpine, from: &TopicPartition) -> Option<NewRecord> {
    spine.broker().log(from).iter().rev().find(|stored| !stored.is_forged()).map(again)
}

fn again(stored: &crate::spine::Stored) -> NewRecord {
    let record = stored.record.clone();
    NewRecord { key: record.key, value: record.value, headers: record.headers }
}
