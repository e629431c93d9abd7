//! What cases reach: which rules decide, and which conditions are seen both to hold and to fail.

use crate::compile::Snapshot;
use crate::evaluate::Explanation;
use crate::limit::NoLimits;
use crate::subject::Subject;
use serde::Serialize;
use serde::ser::SerializeStruct;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What the cases run so far have reached of a snapshot.
#[derive(Clone, Debug)]
pub struct Coverage {
    rules: Vec<Reached>,
    places: HashMap<Arc<str>, usize, crate::compile::FixedState>,
}

#[derive(Clone, Debug)]
struct Reached {
    id: Arc<str>,
    file: Arc<str>,
    line: u32,
    /// It was among the winning rules, or among those tried out that would have spoken.
    decided: bool,
    conditions: Vec<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    on: String,
    held: bool,
    failed: bool,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Reached.
    pub reached: usize,
    /// There are.
    pub of: usize,
}

/// Something no case reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The rule's file.
    pub file: Arc<str>,
    /// The rule's line, from 1.
    pub line: u32,
    /// The rule.
    pub rule: Arc<str>,
    /// The condition; `None` when the rule itself decides no case.
    pub condition: Option<String>,
    /// What is missing, as a sentence.
    pub missing: &'static str,
}

impl Share {
    /// Of a hundred; all of nothing is everything.
    pub fn percent(self) -> f64 {
        if self.of == 0 { 100.0 } else { self.reached as f64 * 100.0 / self.of as f64 }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded down, so that 100 % is all.
        write!(f, "{}/{} ({} %)", self.reached, self.of, self.percent().floor())
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: rule `{}`", self.file, self.line, self.rule)?;
        if let Some(condition) = &self.condition {
            write!(f, ", `{condition}`")?;
        }
        write!(f, ": {}", self.missing)
    }
}

impl Coverage {
    /// Nothing of it reached yet.
    pub fn of(snapshot: &Snapshot) -> Self {
        // Which conditions a rule has does not depend on the job.
        let any = snapshot.explain(&Subject::new("", "", ""), 0, &mut NoLimits);
        let rules: Vec<Reached> = any
            .rules
            .into_iter()
            .map(|rule| Reached {
                id: rule.id,
                file: rule.file,
                line: rule.line,
                decided: false,
                conditions: rule
                    .conditions
                    .into_iter()
                    .map(|condition| Seen { on: condition.on, held: false, failed: false })
                    .collect(),
            })
            .collect();
        let places = rules.iter().enumerate().map(|(place, rule)| (Arc::clone(&rule.id), place)).collect();
        Self { rules, places }
    }

    /// Notes what a judgement reached.
    pub(super) fn note(&mut self, explanation: &Explanation) {
        if explanation.waits.is_empty() {
            let verdict = &explanation.verdict;
            for id in verdict.rule_ids.iter().chain(verdict.shadow.iter().map(|(rule, ..)| rule)) {
                if let Some(rule) = self.places.get(id).and_then(|&place| self.rules.get_mut(place)) {
                    rule.decided = true;
                }
            }
        }
        for (rule, trace) in self.rules.iter_mut().zip(&explanation.rules) {
            for (seen, condition) in rule.conditions.iter_mut().zip(&trace.conditions) {
                seen.held |= condition.holds();
                seen.failed |= !condition.holds();
            }
        }
    }

    /// Rules that decide a case.
    pub fn rules(&self) -> Share {
        Share { reached: self.rules.iter().filter(|rule| rule.decided).count(), of: self.rules.len() }
    }

    /// Conditions that hold in one case and fail in another.
    pub fn conditions(&self) -> Share {
        let all = || self.rules.iter().flat_map(|rule| &rule.conditions);
        Share { reached: all().filter(|seen| seen.held && seen.failed).count(), of: all().count() }
    }

    /// What is missing, in order of evaluation.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.rules.iter().flat_map(|rule| {
            let gap = |condition: Option<String>, missing| Gap {
                file: Arc::clone(&rule.file),
                line: rule.line,
                rule: Arc::clone(&rule.id),
                condition,
                missing,
            };
            let undecided = (!rule.decided).then(|| gap(None, "decides no case"));
            let half_seen = rule.conditions.iter().filter_map(move |seen| {
                let missing = match (seen.held, seen.failed) {
                    (true, true) => return None,
                    (true, false) => "holds in every case",
                    (false, true) => "fails in every case",
                    (false, false) => "is met by no case",
                };
                Some(gap(Some(seen.on.clone()), missing))
            });
            undecided.into_iter().chain(half_seen)
        })
    }
}

impl Serialize for Coverage {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut document = to.serialize_struct("Coverage", 3)?;
        document.serialize_field("rules", &self.rules())?;
        document.serialize_field("conditions", &self.conditions())?;
        document.serialize_field("gaps", &self.gaps().collect::<Vec<_>>())?;
        document.end()
    }
}
