//! Rules that can never decide anything, and rules that do the opposite of what they read like.
//!
//! A rule is *hidden* by another when that one matches every job the first matches, and the way rules combine then leaves
//! the first without a say: removing it would change no verdict. What is said here is true of every job that has a tenant,
//! a topic and a capability, as every job the kernel judges has; what several rules hide only together is not found. The
//! search asks each rule for one that hides it, among those that share a tenant with it. Rules that are only tried out hide
//! nothing and are not looked at.
//!
//! | finding | the hiding rule |
//! |---|---|
//! | unreachable | stands before it in a `first_match` bundle of the same tier, or in a more specific tier |
//! | shadowed | is stricter, in the same tier of `most_restrictive` bundles; or is an invariant that denies |
//! | contradictory | as either, and asks for exactly the same, one permitting and one restricting |
//! | unreachable | none: it wants a tag that nothing derives on its topics |
//! | inverted | none: it restricts what it does not list. `mcp: {deny_tools: [x]}` matches calls of all tools but `x`, so a rule with it that denies bans everything else |

mod covers;
mod globs;

use crate::compile::{Block, Enforced, Snapshot, Stage};
use crate::effect::Effect;
use crate::language::{Combine, Rule};
use covers::{Surely, covers};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What is wrong with a rule that loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A stricter rule always decides instead.
    Shadowed,
    /// It is never looked at, or never matches.
    Unreachable,
    /// Another rule says the opposite about the same jobs, and wins.
    Contradictory,
    /// It restricts everything but what it lists as denied.
    Inverted,
}

/// A rule that can never decide or does not do what it reads like, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The rule.
    pub rule: Arc<str>,
    /// Its file.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u32,
    /// The rule that hides it, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Place>,
    /// Why, as a sentence.
    pub why: String,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The rule.
    pub rule: Arc<str>,
    /// Its file.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u32,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FindingKind::Shadowed => "shadowed",
            FindingKind::Unreachable => "unreachable",
            FindingKind::Contradictory => "contradictory",
            FindingKind::Inverted => "inverted",
        };
        write!(f, "{}:{}: rule `{}` is {kind}: {}", self.file, self.line, self.rule, self.why)?;
        if let Some(by) = &self.by {
            write!(f, " (rule `{}` at {}:{})", by.rule, by.file, by.line)?;
        }
        Ok(())
    }
}

/// A rule with what its surroundings make of it.
#[derive(Clone, Copy)]
struct Standing<'s> {
    rule: &'s Rule,
    block: Block,
    place: usize,
}

impl Snapshot {
    /// Rules that can never decide or do the opposite of what they read like, in order of evaluation, at most one finding a
    /// rule.
    pub fn findings(&self) -> Vec<Finding> {
        let standing = |place: usize, rule| {
            let core = self.cores.get(place)?;
            if core.enforced != Enforced::Always || core.ungranted {
                return None;
            }
            let block = self.blocks.iter().find(|block| (block.start as usize..block.end as usize).contains(&place))?;
            Some(Standing { rule, block: *block, place })
        };
        let rules: Vec<Standing<'_>> =
            self.rules.iter().enumerate().filter_map(|(place, rule)| standing(place, rule)).collect();
        let mut by_tenant: HashMap<Option<&str>, Vec<&Standing<'_>>, crate::compile::FixedState> = HashMap::default();
        for hiding in &rules {
            let tenants = &hiding.rule.matches.tenants;
            if tenants.is_empty() {
                by_tenant.entry(None).or_default().push(hiding);
            }
            for tenant in tenants {
                by_tenant.entry(Some(tenant)).or_default().push(hiding);
            }
        }
        let find = |hidden: &Standing<'_>| {
            // Whoever covers it covers its first tenant.
            let first = hidden.rule.matches.tenants.first().map(|tenant| &**tenant);
            let for_all = by_tenant.get(&None).into_iter().flatten();
            let for_first = first.and_then(|tenant| by_tenant.get(&Some(tenant))).into_iter().flatten();
            let hide = |hiding: &&Standing<'_>| hiding.hides(hidden);
            for_all
                .chain(for_first)
                .find_map(hide)
                .or_else(|| self.underived(hidden.rule))
                .or_else(|| inverted(hidden.rule))
        };
        rules.iter().filter_map(find).collect()
    }

    /// A rule that wants a tag where nothing derives it.
    fn underived(&self, rule: &Rule) -> Option<Finding> {
        let wants = &rule.matches;
        if wants.risk_tags.is_empty() || wants.trusts_claims || wants.topics.is_empty() {
            return None;
        }
        let derived = self
            .derivers
            .iter()
            .filter(|deriver| wants.risk_tags.contains(&*deriver.tag))
            .any(|deriver| deriver.topics.iter().any(|a| wants.topics.iter().any(|b| globs::meet(a, b))));
        (!derived).then(|| finding(FindingKind::Unreachable, rule, None, "nothing derives its tags on its topics"))
    }
}

/// A rule that restricts and lists as denied what it lets pass.
fn inverted(rule: &Rule) -> Option<Finding> {
    if rule.effect.permits() {
        return None;
    }
    let list = rule.matches.label_tests.iter().find_map(|test| test.list)?;
    let why = format!(
        "what `{list}` lists does not match, so `{}` holds for every other call; list what is meant under `{}`",
        rule.effect,
        list.replace("deny_", "allow_")
    );
    Some(finding(FindingKind::Inverted, rule, None, &why))
}

impl Standing<'_> {
    /// Whether this rule hides the other, and how.
    fn hides(&self, hidden: &Self) -> Option<Finding> {
        let (kind, surely, why) = self.outdoes(hidden)?;
        if self.place == hidden.place || !covers(self.rule, hidden.rule, surely) {
            return None;
        }
        let opposite = self.rule.effect.permits() != hidden.rule.effect.permits();
        let (kind, why) = if opposite && covers(hidden.rule, self.rule, Surely::Known) {
            (FindingKind::Contradictory, "another rule says the opposite about the same jobs, and wins")
        } else {
            (kind, why)
        };
        Some(finding(kind, hidden.rule, Some(self.rule), why))
    }

    /// Whether this rule leaves the other without a say wherever both match, and how surely it must match.
    fn outdoes(&self, other: &Self) -> Option<(FindingKind, Surely, &'static str)> {
        use FindingKind::{Shadowed, Unreachable};
        let (mine, its) = (self.block, other.block);
        // What another rule constrains, or whom it asks, may be added to this one's verdict; only a deny ends all.
        let plain = other.rule.effect == Effect::Allow && other.rule.constraints.is_none();
        let stricter = self.rule.effect > other.rule.effect && (self.rule.effect == Effect::Deny || plain);
        if mine.stage == Stage::Invariants {
            let denies = self.rule.effect == Effect::Deny;
            let hides = if its.stage == Stage::Invariants { stricter } else { denies };
            return hides.then_some((Shadowed, Surely::Heard, "an invariant denies whatever it matches"));
        }
        if its.stage == Stage::Invariants || mine.stage > its.stage {
            return None;
        }
        if mine.stage < its.stage {
            let why = "a rule of a more specific tier matches whatever it matches";
            return Some((Unreachable, Surely::Certain, why));
        }
        match (mine.combine, its.combine) {
            (Combine::FirstMatch, Combine::FirstMatch) if mine.start == its.start && self.place < other.place => {
                Some((Unreachable, Surely::Certain, "a rule before it matches whatever it matches"))
            }
            (Combine::MostRestrictive, Combine::MostRestrictive) if stricter => {
                Some((Shadowed, Surely::Heard, "a stricter rule matches whatever it matches"))
            }
            (Combine::FirstMatch | Combine::MostRestrictive, Combine::FirstMatch | Combine::MostRestrictive) => None,
        }
    }
}

fn finding(kind: FindingKind, rule: &Rule, by: Option<&Rule>, why: &str) -> Finding {
    let place = |rule: &Rule| Place { rule: Arc::clone(&rule.id), file: Arc::clone(&rule.file), line: rule.line };
    let Place { rule, file, line } = place(rule);
    Finding { kind, rule, file, line, by: by.map(place), why: why.to_owned() }
}
