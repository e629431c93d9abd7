//! What a case expects.

use super::{any_list, known_rule};
use crate::compile::Snapshot;
use crate::effect::Effect;
use crate::language::TextSet;
use crate::limit::Judgement;
use crate::source::{Node, Reader, Value};
use crate::verdict::Verdict;
use std::sync::Arc;

pub(super) struct Expect {
    /// `None`: it waits.
    verdict: Option<Effect>,
    /// One of the winning rules, or `default`.
    rule: Option<Box<str>>,
    /// Exactly the winning rules.
    rules: Option<TextSet>,
    tags: Option<TextSet>,
    uncertain_tags: Option<TextSet>,
    /// Exactly the rules that are only tried out and would have spoken.
    shadow: Option<TextSet>,
    constraints: Option<serde_json::Value>,
    approval: Option<serde_json::Value>,
}

const WAITS: &str = "waits";

impl Expect {
    /// What differs, as a sentence.
    pub(super) fn differs(&self, judgement: &Judgement) -> Option<String> {
        let verdict = match (judgement, self.verdict) {
            (Judgement::Decided(verdict), Some(_)) => verdict,
            (Judgement::Waits(_), None) => return None,
            (Judgement::Decided(verdict), None) => {
                return Some(format!(
                    "expected it to wait, got {} by {}: {}",
                    verdict.effect,
                    decided(verdict),
                    verdict.reason
                ));
            }
            (Judgement::Waits(uses), Some(effect)) => {
                let limits = quoted(uses.iter().map(|one| one.limit.as_str()));
                return Some(format!("expected {effect}, but it waits for {limits}"));
            }
        };
        if self.verdict != Some(verdict.effect) {
            let wanted = self.verdict.map_or(WAITS, Effect::word);
            return Some(format!(
                "expected {wanted}, got {} by {}: {}",
                verdict.effect,
                decided(verdict),
                verdict.reason
            ));
        }
        self.other_rule(verdict).or_else(|| self.other_sets(verdict)).or_else(|| self.other_terms(verdict))
    }

    fn other_rule(&self, verdict: &Verdict) -> Option<String> {
        match self.rule.as_deref()? {
            "default" if !verdict.default_used => {
                Some(format!("expected the default to decide, but {} did", decided(verdict)))
            }
            "default" => None,
            rule if !verdict.rule_ids.iter().any(|id| **id == *rule) => {
                Some(format!("expected rule `{rule}` to decide, but {} did", decided(verdict)))
            }
            _ => None,
        }
    }

    fn other_sets(&self, verdict: &Verdict) -> Option<String> {
        let shadow: Vec<Arc<str>> = verdict.shadow.iter().map(|(rule, ..)| Arc::clone(rule)).collect();
        let sets = [
            ("rules", &self.rules, &verdict.rule_ids),
            ("tags", &self.tags, &verdict.tags),
            ("uncertain tags", &self.uncertain_tags, &verdict.uncertain_tags),
            ("rules tried out", &self.shadow, &shadow),
        ];
        sets.into_iter().find_map(|(what, wanted, got)| {
            let wanted = wanted.as_ref()?;
            let got: TextSet = got.iter().map(|name| Box::from(&**name)).collect();
            let named = |set: &TextSet| quoted(set.iter().map(|name| &**name));
            (*wanted != got).then(|| format!("expected the {what} [{}], got [{}]", named(wanted), named(&got)))
        })
    }

    fn other_terms(&self, verdict: &Verdict) -> Option<String> {
        let constraints = verdict.constraints.as_deref().map(serde_json::to_value);
        let approval = verdict.approval.as_deref().map(serde_json::to_value);
        let terms = [("constraints", &self.constraints, constraints), ("approval", &self.approval, approval)];
        terms.into_iter().find_map(|(what, wanted, got)| {
            let wanted = wanted.as_ref()?;
            // What has no JSON text is none; the types here all have one.
            let got = got.and_then(Result::ok).unwrap_or(serde_json::Value::Null);
            (*wanted != got).then(|| format!("expected the {what} {wanted}, got {got}"))
        })
    }
}

fn decided(verdict: &Verdict) -> String {
    if verdict.default_used {
        return "the default".to_owned();
    }
    quoted(verdict.rule_ids.iter().map(|id| &**id))
}

fn quoted<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

const KNOWN: &[&str] = &["verdict", "rule", "rules", "tags", "uncertain_tags", "shadow", "constraints", "approval"];

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, what: &str, snapshot: &Snapshot) -> Option<Expect> {
    let what = format!("`expect` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(
        fields,
        &what,
        KNOWN,
        &[("reason", "remove it; a case is about the verdict and the rules that gave it")],
    );
    let node = reader.required(fields, "verdict", &what)?;
    let words: Vec<(&str, Option<Effect>)> =
        [Effect::Allow, Effect::AllowWithConstraints, Effect::RequireApproval, Effect::Throttle, Effect::Deny]
            .into_iter()
            .map(|effect| (effect.word(), Some(effect)))
            .chain([(WAITS, None)])
            .collect();
    let verdict = reader.choice(node, "verdict", &words)?;
    let rule = reader.optional_text(fields, "rule", &what);
    if let (Some(rule), Some(node)) = (rule.as_deref(), fields.get("rule"))
        && rule != "default"
    {
        known_rule(reader, node.line, rule, &what, snapshot);
    }
    let mut set = |name: &str| {
        let node = fields.get(name)?;
        let what = format!("`{name}` of {what}");
        match any_list(reader, node, &what)? {
            [] => Some(TextSet::new()),
            _ => reader.text_set(node, &what),
        }
    };
    let (rules, tags, uncertain_tags, shadow) = (set("rules"), set("tags"), set("uncertain_tags"), set("shadow"));
    for (name, rules) in [("rules", &rules), ("shadow", &shadow)] {
        if let (Some(rules), Some(node)) = (rules, fields.get(name)) {
            for rule in rules {
                known_rule(reader, node.line, rule, &what, snapshot);
            }
        }
    }
    // Written as the record of a decision has them, so that nothing about them is implied.
    let mut term = |name: &str| {
        let node = fields.get(name)?;
        match &node.value {
            Value::Map(_) | Value::Null => Some(node.to_json()),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                reader.fields(node, &format!("`{name}` of {what}"));
                None
            }
        }
    };
    let (constraints, approval) = (term("constraints"), term("approval"));
    Some(Expect { verdict, rule, rules, tags, uncertain_tags, shadow, constraints, approval })
}
