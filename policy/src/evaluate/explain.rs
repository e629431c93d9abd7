//! Why a verdict is what it is: every rule looked at directly, without the index.

use super::Scratch;
use super::derive::{self, Outcome};
use super::residual::{self, Sight, label, requires_hold};
use super::scratch::Memory;
use crate::compile::Snapshot;
use crate::effect::Effect;
use crate::language::{LabelTest, Rule, TextSet, Tier};
use crate::limit::{Judgement, LimitView};
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
    /// The first predicate that does not hold, as a sentence; `None` when the rule matches, as far as its limits let it.
    pub fails: Option<String>,
}

impl Snapshot {
    /// The verdict at an instant, every match, and for every other rule the first predicate that fails.
    pub fn explain(&self, subject: &Subject<'_>, at_ms: u64, limits: &mut dyn LimitView) -> Explanation {
        let mut scratch = Scratch::new();
        let verdict = match self.judge(subject, at_ms, limits, &mut scratch) {
            Judgement::Decided(verdict) => verdict,
            Judgement::Waits(_) => self.evaluate(subject, &mut scratch),
        };
        // Leaves what is known of the subject itself, rather than of those it acts for, in the scratch.
        self.find(subject, at_ms, &mut scratch);
        let Scratch { payload, tags, memory, .. } = &mut scratch;
        let rules = payload.with(subject.payload, |tape| {
            let sight = Sight { snapshot: self, subject, tags, tape, at_ms };
            let trace = |(place, rule): (usize, &Rule)| RuleTrace {
                id: Arc::clone(&rule.id),
                bundle: Arc::clone(&rule.bundle),
                tier: rule.tier,
                invariant: rule.invariant,
                effect: rule.effect,
                fails: first_failure(place, rule, sight, memory, &verdict),
            };
            self.rules.iter().enumerate().map(trace).collect()
        });
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

fn first_failure(
    place: usize,
    rule: &Rule,
    sight: Sight<'_>,
    memory: &mut Memory,
    verdict: &Verdict,
) -> Option<String> {
    let (wants, subject) = (&rule.matches, sight.subject);
    let unsure = rule.effect != Effect::Allow;
    one_of("tenant", &wants.tenants, present(subject.tenant), unsure)
        .or_else(|| topic(rule, subject))
        .or_else(|| one_of("capability", &wants.capabilities, present(subject.capability), unsure))
        .or_else(|| tags(rule, subject, verdict))
        .or_else(|| one_of("actor id", &wants.actor_ids, subject.actor_id.and_then(present), unsure))
        .or_else(|| one_of("actor type", &wants.actor_types, subject.actor_type.and_then(present), unsure))
        .or_else(|| one_of("pack", &wants.pack_ids, subject.pack_id.and_then(present), unsure))
        .or_else(|| {
            (!requires_hold(&wants.requires, subject))
                .then(|| format!("the job does not require all of {}", listed(&wants.requires)))
        })
        .or_else(|| {
            let fails =
                |key: &str, values: &TextSet| fails(label(key, subject, |value| Some(values.contains(value))), unsure);
            let failing = wants.labels.iter().find_map(|(key, values)| Some((key, values, fails(key, values)?)));
            failing.map(|(key, values, why)| format!("the label `{key}` is none of {}{why}", listed(values)))
        })
        .or_else(|| {
            let holds = |test: &LabelTest| label(&test.key, subject, |value| test.range.holds(value));
            wants.label_tests.iter().find_map(|test| {
                fails(holds(test), unsure).map(|why| format!("the label `{}` is not in its range{why}", test.key))
            })
        })
        .or_else(|| {
            fails(residual::except(&wants.except, subject), unsure)
                .map(|why| format!("the job is among what the rule excepts{why}"))
        })
        .or_else(|| {
            let wanted = wants.delegation.as_ref()?;
            fails(residual::delegation(wanted, subject), unsure)
                .map(|why| format!("the chain of delegations is not as the rule wants it{why}"))
        })
        .or_else(|| rest(place, rule, sight, memory, unsure))
}

/// What the evaluator looks at last.
fn rest(place: usize, rule: &Rule, sight: Sight<'_>, memory: &mut Memory, unsure: bool) -> Option<String> {
    let core = sight.snapshot.cores.get(place)?;
    let granted = fails(residual::granted(core, memory), unsure).map(|_| "a grant covers the job".to_owned());
    granted
        .or_else(|| {
            let window = rule.window.as_ref()?;
            fails(residual::window(core, sight, memory), unsure).map(|why| format!("it is not {window}{why}"))
        })
        .or_else(|| {
            let wanted = rule.matches.secrets_present?;
            let found = if wanted { "no secret" } else { "a secret" };
            fails(residual::secret(sight, memory, wanted), unsure).map(|why| format!("the payload shows {found}{why}"))
        })
        .or_else(|| {
            let when = rule.when.as_ref()?;
            fails(residual::condition(core.condition, sight, memory), unsure)
                .map(|why| format!("`{}` does not hold{why}", when.text))
        })
}

/// Why an outcome is no match, as the end of a sentence; `None` when it is one.
fn fails(outcome: Outcome, unsure: bool) -> Option<&'static str> {
    match outcome {
        Outcome::Present => None,
        Outcome::Uncertain if unsure => None,
        Outcome::Uncertain => Some(": it cannot be told, which is not enough for a rule that allows"),
        Outcome::Absent => Some(""),
    }
}

fn one_of(what: &str, wanted: &TextSet, value: Option<&str>, unsure: bool) -> Option<String> {
    if wanted.is_empty() {
        return None;
    }
    match value {
        Some(value) if wanted.contains(value) => None,
        Some(value) => Some(format!("the {what} `{value}` is none of {}", listed(wanted))),
        None if unsure => None,
        None => Some(format!("the {what} is missing, and the rule permits only {}", listed(wanted))),
    }
}

fn topic(rule: &Rule, subject: &Subject<'_>) -> Option<String> {
    let globs = &rule.matches.topics;
    let holds = match present(subject.topic) {
        _ if globs.is_empty() => true,
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
    let holds = wanted.is_empty()
        || any(&verdict.tags)
        || rule.effect != Effect::Allow && uncertain
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
