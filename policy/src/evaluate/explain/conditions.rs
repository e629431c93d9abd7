//! The conditions of one rule, each on its own.

use super::super::derive::Outcome;
use super::super::limits::wanted;
use super::super::residual::{self, Sight, label, requires_hold};
use super::super::scratch::Memory;
use super::ConditionTrace;
use crate::effect::Effect;
use crate::language::{Match, Rule, TextSet};
use crate::limit::{LimitView, Standing};
use crate::subject::{Subject, present};
use crate::verdict::Verdict;
use std::sync::Arc;

/// What a rule is held against.
pub(super) struct Looking<'a, 'l> {
    pub(super) sight: Sight<'a>,
    pub(super) memory: &'l mut Memory,
    pub(super) limits: &'l mut dyn LimitView,
    pub(super) verdict: &'l Verdict,
}

/// The conditions found so far.
struct Conditions {
    all: Vec<ConditionTrace>,
    /// What cannot be told is enough: the rule takes something away.
    unsure: bool,
}

impl Conditions {
    fn add(&mut self, on: impl Into<String>, fails: Option<String>) {
        self.all.push(ConditionTrace { on: on.into(), fails });
    }

    /// By an outcome, and how a sentence begins that says it does not hold.
    fn outcome(&mut self, on: impl Into<String>, outcome: Outcome, says: impl FnOnce() -> String) {
        let why = match outcome {
            Outcome::Present => None,
            Outcome::Uncertain if self.unsure => None,
            Outcome::Uncertain => Some(": it cannot be told, which is not enough for a rule that allows"),
            Outcome::Absent => Some(""),
        };
        self.add(on, why.map(|why| says() + why));
    }

    fn single(&mut self, on: &str, what: &str, wanted: &TextSet, value: Option<&str>) {
        if wanted.is_empty() {
            return;
        }
        let fails = match value {
            Some(value) if wanted.contains(value) => None,
            Some(value) => Some(format!("the {what} `{value}` is none of {}", listed(wanted))),
            None if self.unsure => None,
            None => Some(format!("the {what} is missing, and the rule permits only {}", listed(wanted))),
        };
        self.add(on, fails);
    }
}

/// What the rule's conditions make of the job, in the order in which a person would look at them.
pub(super) fn of(place: usize, rule: &Rule, looking: &mut Looking<'_, '_>) -> Vec<ConditionTrace> {
    let mut conditions = Conditions { all: Vec::new(), unsure: rule.effect != Effect::Allow };
    let subject = looking.sight.subject;
    names(&mut conditions, &rule.matches, subject);
    if !rule.matches.topics.is_empty() {
        let fails = topic(rule, subject);
        conditions.add("topics", fails);
    }
    if !rule.matches.risk_tags.is_empty() {
        let fails = tags(rule, subject, looking.verdict);
        conditions.add("risk_tags", fails);
    }
    sets(&mut conditions, &rule.matches, subject);
    rest(place, rule, &mut conditions, looking);
    conditions.all
}

fn names(conditions: &mut Conditions, wants: &Match, subject: &Subject<'_>) {
    conditions.single("tenants", "tenant", &wants.tenants, present(subject.tenant));
    conditions.single("capabilities", "capability", &wants.capabilities, present(subject.capability));
    conditions.single("actor_ids", "actor id", &wants.actor_ids, subject.actor_id.and_then(present));
    conditions.single("actor_types", "actor type", &wants.actor_types, subject.actor_type.and_then(present));
    conditions.single("pack_ids", "pack", &wants.pack_ids, subject.pack_id.and_then(present));
}

fn sets(conditions: &mut Conditions, wants: &Match, subject: &Subject<'_>) {
    if !wants.requires.is_empty() {
        let fails = (!requires_hold(&wants.requires, subject))
            .then(|| format!("the job does not require all of {}", listed(&wants.requires)));
        conditions.add("requires", fails);
    }
    for (key, values) in &wants.labels {
        let outcome = label(key, subject, |value| Some(values.contains(value)));
        conditions
            .outcome(format!("labels.{key}"), outcome, || format!("the label `{key}` is none of {}", listed(values)));
    }
    for test in &wants.label_tests {
        let outcome = label(&test.key, subject, |value| test.range.holds(value));
        conditions.outcome(format!("labels.{}", test.key), outcome, || {
            format!("the label `{}` is not in its range", test.key)
        });
    }
    if wants.mcp_calls {
        let fails =
            (!residual::calls_mcp(subject)).then(|| "the job calls no MCP server: it has no label `mcp.…`".to_owned());
        conditions.add("mcp", fails);
    }
    if !wants.except.is_empty() {
        let outcome = residual::except(&wants.except, subject);
        conditions.outcome("not_in", outcome, || "the job is among what the rule excepts".to_owned());
    }
    if let Some(wanted) = &wants.delegation {
        let outcome = residual::delegation(wanted, subject);
        conditions.outcome("delegation", outcome, || "the chain of delegations is not as the rule wants it".to_owned());
    }
}

/// What the evaluator looks at last.
fn rest(place: usize, rule: &Rule, conditions: &mut Conditions, looking: &mut Looking<'_, '_>) {
    let Looking { sight, memory, limits, .. } = looking;
    let Some(core) = sight.snapshot.cores.get(place) else { return };
    if core.ungranted {
        conditions.outcome("grants", residual::granted(core, memory), || "a grant covers the job".to_owned());
    }
    if let Some(window) = &rule.window {
        conditions.outcome("window", residual::window(core, *sight, memory), || format!("it is not {window}"));
    }
    if let Some(wanted) = rule.matches.secrets_present {
        let found = if wanted { "no secret" } else { "a secret" };
        let outcome = residual::secret(*sight, memory, wanted);
        conditions.outcome("secrets_present", outcome, || format!("the payload shows {found}"));
    }
    if let Some(when) = &rule.when {
        let outcome = residual::condition(core.condition, *sight, memory);
        conditions.outcome("when", outcome, || format!("`{}` does not hold", when.text));
    }
    for (number, state) in rule.state.iter().enumerate() {
        let on = format!("state#{number}");
        // What would be spent cannot be told: as if exceeded.
        let standing = wanted(state, *sight).map_or(Standing::Exceeded, |wanted| limits.standing(&wanted));
        let fails = match standing {
            Standing::Exceeded => None,
            Standing::Within => Some(format!("the limit `{}` admits the job", state.limit)),
            Standing::Unknown => Some(format!("the limit `{}` is not known yet", state.limit)),
        };
        conditions.add(on, fails);
    }
}

fn topic(rule: &Rule, subject: &Subject<'_>) -> Option<String> {
    let globs = &rule.matches.topics;
    let holds = match present(subject.topic) {
        Some(topic) => globs.iter().any(|glob| glob.matches(topic)),
        None => rule.effect != Effect::Allow,
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
    let holds =
        any(&verdict.tags) || rule.effect != Effect::Allow && uncertain || rule.matches.trusts_claims && claimed;
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
