//! The conditions of one rule, each on its own.

use super::super::select::{label_holds, requires_hold};
use super::ConditionTrace;
use crate::effect::restricts;
use crate::language::{Rule, TextSet};
use crate::subject::{Subject, present};
use crate::verdict::Verdict;
use std::sync::Arc;

/// What the rule's conditions make of the job, in the order in which a person would look at them.
pub(super) fn of(rule: &Rule, subject: &Subject<'_>, verdict: &Verdict) -> Vec<ConditionTrace> {
    let wants = &rule.matches;
    let restricting = restricts(rule.effect);
    let mut all = Vec::new();
    let mut add = |on: &str, there: bool, fails: &dyn Fn() -> Option<String>| {
        if there {
            all.push(ConditionTrace { on: on.to_owned(), fails: fails() });
        }
    };
    let mut single = |on: &str, what: &str, wanted: &TextSet, value: Option<&str>| {
        add(on, !wanted.is_empty(), &|| one_of(what, wanted, value, restricting));
    };
    single("tenants", "tenant", &wants.tenants, present(subject.tenant));
    single("capabilities", "capability", &wants.capabilities, present(subject.capability));
    single("actor_ids", "actor id", &wants.actor_ids, subject.actor_id.and_then(present));
    single("actor_types", "actor type", &wants.actor_types, subject.actor_type.and_then(present));
    add("topics", !wants.topics.is_empty(), &|| topic(rule, subject));
    add("risk_tags", !wants.risk_tags.is_empty(), &|| tags(rule, subject, verdict));
    add("requires", !wants.requires.is_empty(), &|| {
        (!requires_hold(rule, subject)).then(|| format!("the job does not require all of {}", listed(&wants.requires)))
    });
    for (key, values) in &wants.labels {
        add(&format!("labels.{key}"), true, &|| {
            let fails = || format!("the label `{key}` is none of {}", listed(values));
            (!label_holds(rule, key, subject)).then(fails)
        });
    }
    all
}

fn one_of(what: &str, wanted: &TextSet, value: Option<&str>, restricting: bool) -> Option<String> {
    match value {
        Some(value) if wanted.contains(value) => None,
        Some(value) => Some(format!("the {what} `{value}` is none of {}", listed(wanted))),
        None if restricting => None,
        None => Some(format!("the {what} is missing, and the rule permits only {}", listed(wanted))),
    }
}

fn topic(rule: &Rule, subject: &Subject<'_>) -> Option<String> {
    let globs = &rule.matches.topics;
    let holds = match present(subject.topic) {
        Some(topic) => globs.iter().any(|glob| glob.matches(topic)),
        None => restricts(rule.effect),
    };
    (!holds).then(|| {
        let globs: Vec<String> = globs.iter().take(MOST).map(|glob| format!("`{}`", glob.as_str())).collect();
        format!("the topic `{}` matches none of {}", subject.topic, globs.join(", "))
    })
}

fn tags(rule: &Rule, subject: &Subject<'_>, verdict: &Verdict) -> Option<String> {
    let wanted = &rule.matches.risk_tags;
    let any = |tags: &[Arc<str>]| tags.iter().any(|tag| wanted.contains(&**tag));
    let mut claimed = false;
    subject.risk_tags.each(&mut |tag| claimed |= wanted.contains(tag));
    let uncertain = any(&verdict.uncertain_tags);
    let holds = any(&verdict.tags)
        || restricts(rule.effect) && uncertain
        || rule.matches.trusts_claims && claimed;
    if holds {
        return None;
    }
    let why = match (uncertain, claimed) {
        (true, _) => "; one could not be told, which is not enough for a rule that permits",
        (false, true) => "; one is only claimed, and the rule does not say `trust: claimed`",
        (false, false) => "",
    };
    Some(format!("the job has none of the tags {}{why}", listed(wanted)))
}

/// The most values named in a sentence.
const MOST: usize = 8;

fn listed(values: &TextSet) -> String {
    let mut text: Vec<String> = values.iter().take(MOST).map(|value| format!("`{value}`")).collect();
    if values.len() > MOST {
        text.push(format!("{} more", values.len() - MOST));
    }
    text.join(", ")
}
