//! Why a verdict is what it is: every rule looked at directly, without the index.

use super::Scratch;
use super::derive::{self, Outcome};
use super::select::{label_holds, requires_hold};
use crate::compile::Snapshot;
use crate::effect::{Effect, restricts};
use crate::language::{Rule, TextSet, Tier};
use crate::subject::{Subject, present};
use crate::verdict::Verdict;
use std::sync::Arc;

/// A verdict with its whole story. Slow: looks at every rule and builds texts.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The verdict, as [`Snapshot::evaluate`] gives it.
    pub verdict: Verdict,
    /// Derivers that apply to the topic, and what they found.
    pub tags: Vec<TagTrace>,
    /// Every rule, in order of evaluation.
    pub rules: Vec<RuleTrace>,
}

/// What one deriver found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTrace {
    /// The tag it sets.
    pub tag: Arc<str>,
    /// The bundle it belongs to.
    pub bundle: Arc<str>,
    /// The JSON pointer it looks at.
    pub field: Box<str>,
    /// `Some(true)`: the tag is set; `Some(false)`: it is not; `None`: it could not be told.
    pub holds: Option<bool>,
}

/// Whether one rule matches, and if not, what failed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule.
    pub id: Arc<str>,
    /// Its bundle.
    pub bundle: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Whether it is a floor.
    pub invariant: bool,
    /// What it would decide.
    pub effect: Effect,
    /// The first predicate that does not hold, as a sentence; `None` when the rule matches.
    pub fails: Option<String>,
}

impl Snapshot {
    /// The verdict, every match, and for every other rule the first predicate that fails.
    pub fn explain(&self, subject: &Subject<'_>) -> Explanation {
        let mut scratch = Scratch::new();
        let verdict = self.evaluate(subject, &mut scratch);
        let rules = self
            .rules
            .iter()
            .map(|rule| RuleTrace {
                id: Arc::clone(&rule.id),
                bundle: Arc::clone(&rule.bundle),
                tier: rule.tier,
                invariant: rule.invariant,
                effect: rule.effect,
                fails: first_failure(rule, subject, &verdict),
            })
            .collect();
        Explanation { tags: self.trace_tags(subject, &mut scratch), verdict, rules }
    }

    fn trace_tags(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Vec<TagTrace> {
        let topic = present(subject.topic);
        let applies = |deriver: &&crate::language::Deriver| {
            topic.is_none_or(|topic| deriver.topics.iter().any(|glob| glob.matches(topic)))
        };
        scratch.payload.with(subject.payload, |tape| {
            let trace = |deriver: &crate::language::Deriver| TagTrace {
                tag: Arc::clone(&deriver.tag),
                bundle: Arc::clone(&deriver.bundle),
                field: deriver.field.text.clone(),
                holds: match topic.map_or(Outcome::Uncertain, |_| derive::outcome(deriver, tape)) {
                    Outcome::Present => Some(true),
                    Outcome::Absent => Some(false),
                    Outcome::Uncertain => None,
                },
            };
            self.derivers.iter().filter(applies).map(trace).collect()
        })
    }
}

fn first_failure(rule: &Rule, subject: &Subject<'_>, verdict: &Verdict) -> Option<String> {
    let wants = &rule.matches;
    let restricting = restricts(rule.effect);
    one_of("tenant", &wants.tenants, present(subject.tenant), restricting)
        .or_else(|| topic(rule, subject))
        .or_else(|| one_of("capability", &wants.capabilities, present(subject.capability), restricting))
        .or_else(|| tags(rule, subject, verdict))
        .or_else(|| one_of("actor id", &wants.actor_ids, subject.actor_id.and_then(present), restricting))
        .or_else(|| one_of("actor type", &wants.actor_types, subject.actor_type.and_then(present), restricting))
        .or_else(|| {
            (!requires_hold(rule, subject))
                .then(|| format!("the job does not require all of {}", listed(&wants.requires)))
        })
        .or_else(|| {
            let failing = wants.labels.iter().find(|(key, _)| !label_holds(rule, key, subject));
            failing.map(|(key, values)| format!("the label `{key}` is none of {}", listed(values)))
        })
}

fn one_of(what: &str, wanted: &TextSet, value: Option<&str>, restricting: bool) -> Option<String> {
    if wanted.is_empty() {
        return None;
    }
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
        _ if globs.is_empty() => true,
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
    let holds = wanted.is_empty()
        || any(&verdict.tags)
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
