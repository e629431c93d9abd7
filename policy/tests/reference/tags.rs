//! Derived tags.

use super::matching::glob_matches;
use super::{Job, Known, told};
use serde_json::Value;

/// Every tag that can be derived, sorted, and what is known of it.
pub(crate) fn derived(bundles: &[Value], job: &Job) -> Vec<(String, Known)> {
    let mut tags: Vec<(String, Known)> = Vec::new();
    for bundle in bundles {
        let syntax = bundle["topic_syntax"].as_str().unwrap_or("dots");
        for deriver in bundle["derivers"].as_array().into_iter().flatten() {
            let topics = deriver["topics"].as_array().unwrap();
            let applies = topics.iter().any(|glob| glob_matches(syntax, glob.as_str().unwrap(), &job.topic));
            let found = match (job.topic.is_empty(), applies) {
                (true, _) => Known::Unsure,
                (false, false) => Known::No,
                (false, true) => finds(deriver, job),
            };
            let tag = deriver["tag"].as_str().unwrap();
            match tags.iter_mut().find(|(name, _)| name == tag) {
                Some((_, known)) => *known = found.max(*known),
                None => tags.push((tag.to_owned(), found)),
            }
        }
    }
    tags.sort();
    tags
}

fn finds(deriver: &Value, job: &Job) -> Known {
    let Ok(payload) = serde_json::from_str::<Value>(&job.payload) else { return Known::Unsure };
    let field = deriver["field"].as_str().unwrap();
    let (path, each) = match field.strip_suffix("/*") {
        Some(path) => (path, true),
        None => (field, false),
    };
    let mut at = &payload;
    for token in path.split('/').skip(1) {
        match at {
            Value::Object(map) => match map.get(token) {
                Some(value) => at = value,
                None => return missing(deriver),
            },
            Value::Null => return missing(deriver),
            _ => return Known::Unsure,
        }
    }
    match at {
        Value::Null => missing(deriver),
        Value::Array(items) if each => items.iter().map(|item| test(deriver, item)).max().unwrap_or(Known::No),
        _ if each => Known::Unsure,
        value => test(deriver, value),
    }
}

fn missing(deriver: &Value) -> Known {
    match (deriver["test"] == "missing", deriver["optional"] == true) {
        (true, _) => Known::Yes,
        (_, true) => Known::No,
        (_, false) => Known::Unsure,
    }
}

fn test(deriver: &Value, value: &Value) -> Known {
    if value.is_null() {
        return missing(deriver);
    }
    let wanted = &deriver["value"];
    let same_kind = |listed: &Value| {
        listed.is_string() && value.is_string()
            || listed.is_number() && value.is_number()
            || listed.is_boolean() && value.is_boolean()
    };
    let equal = |listed: &Value| match (listed.as_f64(), value.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => listed == value,
    };
    let list = || wanted.as_array().unwrap();
    let number = |holds: fn(f64, f64) -> bool| value.as_f64().map(|number| holds(number, wanted.as_f64().unwrap()));
    let holds = match deriver["test"].as_str().unwrap() {
        "missing" => Some(false),
        "eq" => same_kind(wanted).then(|| equal(wanted)),
        "in" => list().iter().all(same_kind).then(|| list().iter().any(equal)),
        "not_in" => list().iter().all(same_kind).then(|| !list().iter().any(equal)),
        "prefix" => value.as_str().map(|text| text.starts_with(wanted.as_str().unwrap())),
        "gt" => number(|a, b| a > b),
        "lt" => number(|a, b| a < b),
        "address_not_in" => value.as_str().map(|text| {
            let parts: Vec<&str> = text.split('@').collect();
            match parts.as_slice() {
                [_, domain] => !list().iter().any(|entry| entry == text || *entry == format!("@{domain}")),
                _ => true,
            }
        }),
        other => panic!("no test `{other}`"),
    };
    holds.map_or(Known::Unsure, told)
}
