//! A naive reading of a safety file: what its users know it to mean.

use super::draw::Job;
use serde_json::Value;
use tidegate_policy::Effect;

#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) effect: Effect,
    /// The rule that must be among those named; `None` where several may be.
    pub(crate) rule: Option<String>,
    /// No rule matches, and the default denies.
    pub(crate) by_default: bool,
}

impl Ruling {
    fn of(effect: Effect, rule: Option<String>) -> Self {
        Self { effect, rule, by_default: false }
    }
}

pub(crate) fn judge(file: &Value, job: &Job, beyond: bool) -> Ruling {
    let tenant = &file["tenants"][job.tenant.as_str()];
    let by_rules = rules(file, job, beyond);
    let rules_there = file["rules"].as_array().is_some_and(|rules| !rules.is_empty());
    let outside = rules_there
        && (any_topic(&tenant["deny_topics"], job)
            || !none(&tenant["allow_topics"]) && !any_topic(&tenant["allow_topics"], job));
    if !let_through(&tenant["mcp"], job) || outside {
        return Ruling::of(Effect::Deny, None);
    }
    if beyond
        && tenant["max_concurrent_jobs"].as_u64().is_some_and(|most| most > 0)
        && by_rules.effect <= Effect::Throttle
    {
        return Ruling::of(Effect::Throttle, None);
    }
    by_rules
}

fn rules(file: &Value, job: &Job, beyond: bool) -> Ruling {
    let rules = file["rules"].as_array().cloned().unwrap_or_default();
    for rule in &rules {
        if matches(&rule["match"], job) && (rule["velocity"].is_null() || beyond) {
            return Ruling::of(effect(rule), Some(rule["id"].as_str().unwrap().to_owned()));
        }
    }
    if rules.is_empty() {
        let tenant = &file["tenants"][job.tenant.as_str()];
        if any_topic(&tenant["deny_topics"], job) {
            return Ruling::of(Effect::Deny, Some(format!("import.deny.{}", job.tenant)));
        }
        if any_topic(&tenant["allow_topics"], job) {
            return Ruling::of(Effect::Allow, Some(format!("import.allow.{}", job.tenant)));
        }
    }
    match file["default_decision"] == "allow" {
        true => Ruling::of(Effect::Allow, Some("import.default".to_owned())),
        false => Ruling { by_default: true, ..Ruling::of(Effect::Deny, None) },
    }
}

fn effect(rule: &Value) -> Effect {
    let constrained = !rule["constraints"].is_null();
    match rule["decision"].as_str().unwrap() {
        "allow" | "permit" | "allow_with_constraints" if constrained => Effect::AllowWithConstraints,
        "allow" | "permit" | "allow_with_constraints" => Effect::Allow,
        "require_approval" | "require_human" => Effect::RequireApproval,
        "throttle" => Effect::Throttle,
        "deny" | "block" => Effect::Deny,
        other => panic!("{other}"),
    }
}

fn none(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

/// Without regard to case; a missing value is never listed.
fn listed(list: &Value, value: &str) -> bool {
    let value = value.trim();
    let is = |one: &Value| one.as_str().unwrap().trim().eq_ignore_ascii_case(value);
    !value.is_empty() && list.as_array().is_some_and(|list| list.iter().any(is))
}

fn matches(wants: &Value, job: &Job) -> bool {
    let single = [
        ("tenants", &job.tenant),
        ("capabilities", &job.capability),
        ("actor_ids", &job.actor_id),
        ("actor_types", &job.actor_type),
        ("pack_ids", &job.pack_id),
    ];
    let has = |required: &Value| job.requires.iter().any(|name| name.eq_ignore_ascii_case(required.as_str().unwrap()));
    single.iter().all(|(name, value)| none(&wants[*name]) || listed(&wants[*name], value))
        && (none(&wants["topics"]) || any_topic(&wants["topics"], job))
        && (none(&wants["risk_tags"]) || job.tags.iter().any(|tag| listed(&wants["risk_tags"], tag)))
        && wants["requires"].as_array().is_none_or(|required| required.iter().all(has))
        && labels(&wants["labels"], |key, value| label(job, key) == value.as_str())
        && any_label(&wants["label_allowlist"], |key, values| label(job, key).is_some_and(|is| !listed(values, is)))
        && any_label(&wants["label_threshold"], |key, most| {
            label(job, key).and_then(|is| is.trim().parse::<f64>().ok()).is_some_and(|is| is > most.as_f64().unwrap())
        })
        && let_through(&wants["mcp"], job)
}

fn label<'j>(job: &'j Job, key: &str) -> Option<&'j str> {
    job.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
}

fn labels(wants: &Value, holds: impl Fn(&str, &Value) -> bool) -> bool {
    wants.as_object().is_none_or(|wants| wants.iter().all(|(key, value)| holds(key, value)))
}

fn any_label(wants: &Value, holds: impl Fn(&str, &Value) -> bool) -> bool {
    wants.as_object().is_none_or(|wants| wants.is_empty() || wants.iter().any(|(key, value)| holds(key, value)))
}

/// Whether the lists let an MCP call through; a job that calls nothing passes.
fn let_through(lists: &Value, job: &Job) -> bool {
    let fields =
        [("mcp.server", "servers"), ("mcp.tool", "tools"), ("mcp.resource", "resources"), ("mcp.action", "actions")];
    let value = |name: &str| label(job, name).unwrap_or_default().trim();
    if fields.iter().all(|(name, _)| value(name).is_empty()) {
        return true;
    }
    fields.iter().all(|(name, list)| {
        let (allow, deny) = (&lists[format!("allow_{list}")], &lists[format!("deny_{list}")]);
        !listed(deny, value(name)) && (none(allow) || listed(allow, value(name)))
    })
}

fn any_topic(patterns: &Value, job: &Job) -> bool {
    patterns
        .as_array()
        .is_some_and(|list| list.iter().any(|pattern| path(pattern.as_str().unwrap().as_bytes(), job.topic.as_bytes())))
}

/// `*` is any run without `/`, `?` one character that is none.
fn path(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            path(rest, text) || matches!(text, [first, more @ ..] if *first != b'/' && path(pattern, more))
        }
        ([b'?', rest @ ..], [first, more @ ..]) => *first != b'/' && path(rest, more),
        ([wanted, rest @ ..], [first, more @ ..]) => wanted == first && path(rest, more),
        _ => false,
    }
}
