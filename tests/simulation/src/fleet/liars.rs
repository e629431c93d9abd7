//! Records on the reports topic that no honest worker would write: results again, with stale tokens, of other workers,
//! of jobs never handed out, and rubbish.

use serde_json::Value;
use tidegate_spine::{Headers, NewRecord};

use super::parts::named;
use crate::chance::Chance;
use crate::executor::Core;
use crate::spine::SimSpine;

/// Tells some lies between the given virtual times.
pub fn tell(seed: u64, core: &Core, spine: &SimSpine, from: u64, until: u64) {
    let mut chance = Chance::new(seed, "liars");
    for number in 0..chance.within(2..10) {
        let at = chance.within(from..until);
        let (spine, mut own) = (spine.clone(), Chance::new(seed, &format!("lie {number}")));
        core.at(at, move || {
            if let Some(record) = lie(&spine, &mut own) {
                spine.put(&named("reports.p").partition(0), record);
            }
        });
    }
}

fn lie(spine: &SimSpine, chance: &mut Chance) -> Option<NewRecord> {
    let reports = named("reports.p").partition(0);
    let results: Vec<Value> = {
        let broker = spine.broker();
        let values = broker.log(&reports).iter().filter_map(|s| s.record.value.clone());
        values.filter_map(|v| serde_json::from_slice(&v).ok()).filter(|v: &Value| v.get("result").is_some()).collect()
    };
    let record = |value: String| NewRecord { key: None, value: Some(value.into()), headers: Headers::new() };
    if results.is_empty() || chance.percent(10) {
        return Some(if chance.percent(50) { NewRecord::default() } else { record("{\"result\": 7".into()) });
    }
    let mut lie = chance.one_of(&results).clone();
    let result = lie.get_mut("result")?;
    match chance.within(0..5) {
        0 => {}
        1 => *result.pointer_mut("/token/attempt")? = Value::from(chance.within(0..3)),
        2 => *result.pointer_mut("/token/epoch")? = Value::from(chance.within(0..20)),
        3 => *result.get_mut("worker")? = Value::from(*chance.one_of(&["w0", "w1", "impostor"])),
        _ => *result.get_mut("source")? = Value::from(format!("jobs.raw/0@{}", chance.within(0..60))),
    }
    Some(record(lie.to_string()))
}
