//! Records on the reports topic that no honest worker would write: results again, with stale tokens, of other workers,
//! of jobs never handed out, and rubbish.

use serde_json::{Value, json};
use tidegate_spine::{Headers, NewRecord};

use super::parts::{forgets_soon, named};
use crate::chance::Chance;
use crate::executor::Core;
use crate::spine::SimSpine;

/// Tells some lies between the given virtual times.
pub fn tell(seed: u64, core: &Core, spine: &SimSpine, from: u64, until: u64) {
    let mut chance = Chance::new(seed, "liars");
    for number in 0..chance.within(4..16) {
        let at = chance.within(from..until);
        let (spine, mut own) = (spine.clone(), Chance::new(seed, &format!("lie {number}")));
        core.at(at, move || {
            if let Some(record) = lie(&spine, &mut own, forgets_soon(seed)) {
                spine.put(&named("reports.p").partition(0), record);
            }
        });
    }
}

/// Who takes a worker's name, with a number above its own and another lane, has it until it is forgotten (a pool is a trust domain): such
/// lies only where `names_return` within the run.
fn lie(spine: &SimSpine, chance: &mut Chance, names_return: bool) -> Option<NewRecord> {
    let reports = named("reports.p").partition(0);
    let results: Vec<Value> = {
        let broker = spine.broker();
        let values = broker.log(&reports).iter().filter_map(|s| s.record.value.clone());
        values.filter_map(|v| serde_json::from_slice(&v).ok()).filter(|v: &Value| v.get("result").is_some()).collect()
    };
    let record =
        |value: String| -> NewRecord { NewRecord { key: None, value: Some(value.into()), headers: Headers::new() } };
    if chance.percent(50) {
        return stale(spine, chance).map(record);
    }
    if results.is_empty() || chance.percent(10) {
        return Some(if chance.percent(50) { NewRecord::default() } else { record("{\"result\": 7".into()) });
    }
    let mut lie = chance.one_of(&results).clone();
    let result = lie.get_mut("result")?;
    match chance.within(0..5) {
        0 => {}
        1 => *result.pointer_mut("/token/attempt")? = Value::from(chance.within(0..3)),
        2 => *result.pointer_mut("/token/epoch")? = Value::from(chance.within(0..20)),
        3 => {
            let name = *chance.one_of(&["w0", "w1", "impostor"]);
            *result.get_mut("worker")? = Value::from(if names_return { name } else { "impostor" });
        }
        _ => *result.get_mut("source")? = Value::from(format!("jobs.raw/0@{}", chance.within(0..60))),
    }
    Some(record(lie.to_string()))
}

/// A result in the holder's own words, with a token below the one it was given last.
fn stale(spine: &SimSpine, chance: &mut Chance) -> Option<String> {
    let broker = spine.broker();
    let log = broker.log(&named("leases.p").partition(0));
    let groups: Vec<Value> =
        log.iter().filter_map(|s| serde_json::from_slice(s.record.value.as_deref().unwrap_or_default()).ok()).collect();
    let facts = groups.iter().filter_map(|g| g.get("facts")?.as_array()).flatten();
    let grants: Vec<&Value> = facts.filter_map(|f| f.pointer("/fact/lease_granted")).collect();
    let recent = grants.get(grants.len().saturating_sub(6)..)?;
    if recent.is_empty() {
        return None;
    }
    let grant = *chance.one_of(recent);
    let (epoch, attempt) = (grant.pointer("/token/epoch")?.as_u64()?, grant.pointer("/token/attempt")?.as_u64()?);
    let mut token = json!({"epoch": epoch, "attempt": attempt.saturating_sub(1)});
    if chance.percent(30) {
        token = json!({"epoch": epoch.saturating_sub(1), "attempt": attempt});
    }
    let result = json!({"worker": grant.get("worker")?, "incarnation": grant.get("incarnation")?, "lane": grant.get("lane")?,
        "epoch": epoch, "source": grant.get("source")?, "token": token, "outcome": "succeeded", "credit": 0});
    Some(json!({"result": result}).to_string())
}
