//! Whether a rule matches.

use super::draw::{CONDITIONS, HOURS};
use super::{Job, Known, told};
use serde_json::Value;

pub(crate) fn glob_matches(syntax: &str, glob: &str, topic: &str) -> bool {
    fn dots(glob: &[&str], topic: &[&str]) -> bool {
        match (glob, topic) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", glob @ ..], [_, topic @ ..]) => dots(glob, topic),
            ([a, glob @ ..], [b, topic @ ..]) => a == b && dots(glob, topic),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }
    fn path(glob: &[char], topic: &[char]) -> bool {
        match (glob, topic) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                let run = topic.iter().take_while(|c| **c != '/').count();
                (0..=run).any(|taken| path(rest, &topic[taken..]))
            }
            (['?', rest @ ..], [c, topic @ ..]) => *c != '/' && path(rest, topic),
            ([a, rest @ ..], [b, topic @ ..]) => a == b && path(rest, topic),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }
    match syntax {
        "path" => path(&glob.chars().collect::<Vec<_>>(), &topic.chars().collect::<Vec<_>>()),
        _ => dots(&glob.split('.').collect::<Vec<_>>(), &topic.split('.').collect::<Vec<_>>()),
    }
}

pub(crate) fn has(list: &Value, text: &str) -> bool {
    list.as_array().unwrap().iter().any(|entry| entry == text)
}

/// `[..]` or `{in, not_in}` about one value.
fn one(spec: &Value, value: Option<&str>, contains: impl Fn(&Value, &str) -> bool) -> Known {
    let (wanted, unwanted) = match spec {
        Value::Null => return Known::Yes,
        Value::Array(_) => (spec, &Value::Null),
        _ => (&spec["in"], &spec["not_in"]),
    };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Known::Unsure };
    told((wanted.is_null() || contains(wanted, value)) && (unwanted.is_null() || !contains(unwanted, value)))
}

/// What a `match` makes of the job.
pub(crate) fn matched(spec: &Value, syntax: &str, job: &Job) -> Known {
    let topics = |list: &Value, topic: &str| {
        list.as_array().unwrap().iter().any(|glob| glob_matches(syntax, glob.as_str().unwrap(), topic))
    };
    let requires = spec["requires"].as_array().into_iter().flatten();
    [
        one(&spec["tenants"], Some(&job.tenant), has),
        one(&spec["topics"], Some(&job.topic), topics),
        one(&spec["capabilities"], Some(&job.capability), has),
        one(&spec["actor_ids"], job.actor_id.as_deref(), has),
        one(&spec["actor_types"], job.actor_type.as_deref(), has),
        one(&spec["pack_ids"], job.pack_id.as_deref(), has),
        told(requires.clone().all(|name| job.requires.iter().any(|given| name == given))),
        labels(&spec["labels"], job),
        mcp(&spec["mcp"], job),
        delegation(&spec["delegation"], job),
        secrets(&spec["secrets_present"], job),
    ]
    .into_iter()
    .min()
    .unwrap()
}

/// The best of the label's values; unsure when it is missing.
fn label(key: &str, job: &Job, test: impl Fn(&str) -> Option<bool>) -> Known {
    let values = job.labels.iter().filter(|(name, _)| name == key);
    values.map(|(_, value)| test(value).map_or(Known::Unsure, told)).max().unwrap_or(Known::Unsure)
}

fn labels(spec: &Value, job: &Job) -> Known {
    let mut all = Known::Yes;
    for (key, wanted) in spec.as_object().into_iter().flatten() {
        match wanted {
            Value::String(text) => all = all.min(label(key, job, |value| Some(value == text))),
            Value::Array(_) => all = all.min(label(key, job, |value| Some(has(wanted, value)))),
            _ => {
                for (word, bound) in wanted.as_object().unwrap() {
                    all = all.min(label(key, job, |value| match word.as_str() {
                        "in" => Some(has(bound, value)),
                        "not_in" => Some(!has(bound, value)),
                        _ => {
                            let (value, bound) = (value.parse::<f64>().ok()?, bound.as_f64().unwrap());
                            Some(match word.as_str() {
                                "gt" => value > bound,
                                "gte" => value >= bound,
                                "lt" => value < bound,
                                _ => value <= bound,
                            })
                        }
                    }));
                }
            }
        }
    }
    all
}

/// Lists about MCP calls, which are described by labels.
pub(crate) fn mcp(spec: &Value, job: &Job) -> Known {
    let mut all = Known::Yes;
    for (list, texts) in spec.as_object().into_iter().flatten() {
        let (wanted, kind) = list.split_once('_').unwrap();
        let key = format!("mcp.{}", kind.strip_suffix('s').unwrap());
        all = all.min(label(&key, job, |value| Some(has(texts, value) == (wanted == "allow"))));
    }
    all
}

fn delegation(spec: &Value, job: &Job) -> Known {
    if spec.is_null() {
        return Known::Yes;
    }
    let depth = job.chain.as_ref().map_or(0, Vec::len) as u64;
    let in_depth = spec["min_depth"].as_u64().is_none_or(|least| depth >= least)
        && spec["max_depth"].as_u64().is_none_or(|most| depth <= most);
    let scope = match (spec["required_scope"].as_array(), &job.chain, &job.scope) {
        (None, _, _) | (_, None, _) => Known::Yes,
        (Some(_), Some(_), None) => Known::Unsure,
        (Some(wanted), Some(_), Some(scope)) => told(wanted.iter().all(|name| scope.iter().any(|given| name == given))),
    };
    told(in_depth).min(scope)
}

fn secrets(spec: &Value, job: &Job) -> Known {
    match (spec.as_bool(), serde_json::from_str::<Value>(&job.payload)) {
        (None, _) => Known::Yes,
        (Some(_), Err(_)) => Known::Unsure,
        (Some(wanted), Ok(_)) => told(job.payload.contains(super::draw::SECRET) == wanted),
    }
}

fn window(spec: &Value, job: &Job) -> Known {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    if spec.is_null() {
        return Known::Yes;
    }
    let hour = &HOURS[job.hour];
    let (day, minute) = if spec["tz"] == "UTC" { hour.utc } else { hour.berlin };
    let listed = |day: usize| has(&spec["days"], DAYS[day]);
    let minutes = |text: &str| text[..2].parse::<u32>().unwrap() * 60 + text[3..].parse::<u32>().unwrap();
    let (from, to) = spec["hours"].as_str().unwrap().split_once('-').unwrap();
    let (from, to) = (minutes(from), minutes(to));
    let inside = if from < to {
        listed(day) && (from..to).contains(&minute)
    } else {
        listed(day) && minute >= from || listed((day + 6) % 7) && minute < to
    };
    told(inside != (spec["outside"] == true))
}

fn condition(spec: &Value, job: &Job) -> Known {
    let Some(text) = spec.as_str() else { return Known::Yes };
    let (_, holds) = CONDITIONS.iter().find(|(condition, _)| *condition == text).unwrap();
    holds(job, serde_json::from_str(&job.payload).ok().as_ref())
}

fn risk_tags(rule: &Value, job: &Job, derived: &[(String, Known)]) -> Known {
    let Some(wanted) = rule["match"]["risk_tags"].as_array() else { return Known::Yes };
    let known = |tag: &Value| {
        let derived = derived.iter().find(|(name, _)| tag == name).map_or(Known::No, |(_, known)| *known);
        let claimed = rule["trust"] == "claimed" && job.claims.iter().any(|claim| tag == claim);
        derived.max(told(claimed))
    };
    wanted.iter().map(known).max().unwrap()
}

/// What all predicates but limits make of the job.
pub(crate) fn rule(rule: &Value, syntax: &str, job: &Job, derived: &[(String, Known)]) -> Known {
    matched(&rule["match"], syntax, job)
        .min(risk_tags(rule, job, derived))
        .min(window(&rule["window"], job))
        .min(condition(&rule["when"], job))
}
