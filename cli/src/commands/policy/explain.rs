//! `tidegate policy explain`.

use tidegate_policy::{Explanation, RuleTrace};

use super::args::ExplainArgs;
use super::judge::texts;
use super::{at, folder_of, job, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &ExplainArgs) -> Result<Exit, Failure> {
    let policy = load(&folder_of(global, args.given.policy.clone())?)?;
    let recorded = job::one(&args.job)?;
    let at_ms = args.given.at.unwrap_or_else(at::now);
    let mut limits = args.given.limits;
    let principals = recorded.job.principals();
    let explanation = policy.explain(&recorded.job.subject(&principals), at_ms, &mut limits);
    match global.output {
        Output::Json => output::json(&document(&explanation, at_ms, args.near)),
        Output::Text => output::text_line(&told(&explanation, args.near)),
    }
    Ok(if explanation.verdict.effect.permits() { Exit::Done } else { Exit::Unsuccessful })
}

fn rule(trace: &RuleTrace) -> serde_json::Value {
    let conditions: Vec<_> = trace
        .conditions
        .iter()
        .map(|condition| serde_json::json!({ "on": condition.on, "holds": condition.holds() }))
        .collect();
    serde_json::json!({
        "id": &*trace.id, "bundle": &*trace.bundle, "file": &*trace.file, "line": trace.line,
        "tier": trace.tier.name(), "invariant": trace.invariant, "effect": trace.effect,
        "fails": trace.fails(), "conditions": conditions,
    })
}

fn document(explanation: &Explanation, at_ms: u64, near: usize) -> serde_json::Value {
    let verdict = &explanation.verdict;
    let tags: Vec<_> = explanation
        .tags
        .iter()
        .map(|t| serde_json::json!({ "tag": &*t.tag, "bundle": &*t.bundle, "field": &*t.field, "holds": t.holds }))
        .collect();
    let shadow: Vec<_> = verdict
        .shadow
        .iter()
        .map(|(rule, effect, mode)| serde_json::json!({ "rule": &**rule, "effect": effect, "mode": mode }))
        .collect();
    let matches: Vec<_> = explanation.matches().map(rule).collect();
    let near: Vec<_> = explanation.near_misses().into_iter().take(near).map(rule).collect();
    serde_json::json!({
        "at_ms": at_ms, "verdict": verdict.effect, "reason": &*verdict.reason, "rule_ids": texts(&verdict.rule_ids),
        "default_used": verdict.default_used, "constraints": verdict.constraints.as_deref(),
        "approval": verdict.approval.as_deref(), "shadow": shadow, "risk_tags": texts(&verdict.tags),
        "uncertain_tags": texts(&verdict.uncertain_tags), "tags": tags, "matches": matches, "near_misses": near,
        "rules": explanation.rules.len(),
    })
}

fn told(explanation: &Explanation, near: usize) -> String {
    let verdict = &explanation.verdict;
    let mut lines = vec![format!("{}: {}", verdict.effect, verdict.reason)];
    for tag in &explanation.tags {
        let holds = match tag.holds {
            Some(true) => "set",
            Some(false) => "not set",
            None => "cannot be told, so restrictions on it match",
        };
        lines.push(format!("tag      {} ({} of {}): {holds}", tag.tag, tag.field, tag.bundle));
    }
    let place = |rule: &RuleTrace| {
        let floor = if rule.invariant { ", invariant" } else { "" };
        format!("{} ({}{floor}) {}:{}", rule.id, rule.effect, rule.file, rule.line)
    };
    for rule in explanation.matches() {
        let decides = if verdict.rule_ids.contains(&rule.id) { "decides  " } else { "matches  " };
        lines.push(format!("{decides}{}", place(rule)));
    }
    let misses = explanation.near_misses();
    for rule in misses.iter().take(near) {
        let fails = rule.fails().unwrap_or_default();
        lines.push(format!(
            "misses   {}: {fails} ({} of {} conditions fail)",
            place(rule),
            rule.failing(),
            rule.conditions.len()
        ));
    }
    if misses.len() > near {
        lines.push(format!("         {} more rules do not match", misses.len() - near));
    }
    lines.join("\n")
}
