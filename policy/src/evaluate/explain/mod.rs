//! Why a verdict is what it is: every rule looked at directly, without the index.
//!
//! [`conditions`] says what each condition of a rule makes of the job; a rule matches when all of them hold. A rule that
//! does not is the nearer the fewer of its conditions fail.

mod conditions;

use super::Scratch;
use super::derive::{self, Outcome};
use super::residual::Sight;
use crate::compile::Snapshot;
use crate::effect::Effect;
use crate::language::{Rule, Tier};
use crate::limit::{Judgement, LimitUse, LimitView};
use crate::subject::{Subject, present};
use crate::verdict::Verdict;
use conditions::Looking;
use std::sync::Arc;

/// A verdict with its whole story. Slow: looks at every rule and builds texts.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The verdict, as [`Snapshot::judge`] gives it; where that waits, the one for exhausted limits.
    pub verdict: Verdict,
    /// Limits that must be known first; empty when it is decided.
    pub waits: Vec<LimitUse>,
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

/// What one rule makes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule.
    pub id: Arc<str>,
    /// Its bundle.
    pub bundle: Arc<str>,
    /// Its file.
    pub file: Arc<str>,
    /// The line it starts at, from 1.
    pub line: u32,
    /// Its tier.
    pub tier: Tier,
    /// Whether it is a floor.
    pub invariant: bool,
    /// What it would decide.
    pub effect: Effect,
    /// Its conditions, always the same ones in the same order whatever the job.
    pub conditions: Vec<ConditionTrace>,
}

/// What one condition makes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionTrace {
    /// What it looks at: the field of `match`, `labels.NAME`, `when`, …
    pub on: String,
    /// Why it does not hold, as a sentence; `None` when it does.
    pub fails: Option<String>,
}

impl ConditionTrace {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.fails.is_none()
    }
}

impl RuleTrace {
    /// Whether the rule matches.
    pub fn matches(&self) -> bool {
        self.conditions.iter().all(ConditionTrace::holds)
    }

    /// The first condition that does not hold, as a sentence; `None` when the rule matches.
    pub fn fails(&self) -> Option<&str> {
        self.conditions.iter().find_map(|condition| condition.fails.as_deref())
    }

    /// How many conditions do not hold.
    pub fn failing(&self) -> usize {
        self.conditions.iter().filter(|condition| !condition.holds()).count()
    }
}

impl Explanation {
    /// The rules that match, in order of evaluation; those that are only tried out among them.
    pub fn matches(&self) -> impl Iterator<Item = &RuleTrace> {
        self.rules.iter().filter(|rule| rule.matches())
    }

    /// The rules that do not, the nearest first: by how many conditions fail, then in order of evaluation.
    pub fn near_misses(&self) -> Vec<&RuleTrace> {
        let mut misses: Vec<&RuleTrace> = self.rules.iter().filter(|rule| !rule.matches()).collect();
        misses.sort_by_key(|rule| rule.failing());
        misses
    }
}

impl Snapshot {
    /// The verdict at an instant, every match, and for every other rule the conditions that fail.
    pub fn explain(&self, subject: &Subject<'_>, at_ms: u64, limits: &mut dyn LimitView) -> Explanation {
        let mut scratch = Scratch::new();
        let (verdict, waits) = match self.judge(subject, at_ms, limits, &mut scratch) {
            Judgement::Decided(verdict) => (verdict, Vec::new()),
            Judgement::Waits(waits) => (self.evaluate(subject, &mut scratch), waits),
        };
        // Leaves what is known of the subject itself, rather than of those it acts for, in the scratch.
        self.find(subject, at_ms, &mut scratch);
        let Scratch { payload, tags, memory, .. } = &mut scratch;
        let rules = payload.with(subject.payload, |tape| {
            let sight = Sight { snapshot: self, subject, tags, tape, at_ms };
            let trace = |(place, rule): (usize, &Rule)| RuleTrace {
                id: Arc::clone(&rule.id),
                bundle: Arc::clone(&rule.bundle),
                file: Arc::clone(&rule.file),
                line: rule.line,
                tier: rule.tier,
                invariant: rule.invariant,
                effect: rule.effect,
                conditions: conditions::of(place, rule, &mut Looking { sight, memory, limits, verdict: &verdict }),
            };
            self.rules.iter().enumerate().map(trace).collect()
        });
        Explanation { tags: self.trace_tags(subject, &mut scratch), verdict, waits, rules }
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
