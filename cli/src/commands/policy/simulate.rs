//! `tidegate policy simulate`.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_policy::Scratch;

use super::args::SimulateArgs;
use super::judge::{judge, texts};
use super::{at, folder_of, job, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

/// The document of `--output json`.
#[derive(Debug, Default, Serialize)]
struct Simulation {
    snapshot: String,
    at_ms: u64,
    jobs: usize,
    by_verdict: BTreeMap<String, usize>,
    /// Winning rules; `default` where none matched.
    by_rule: BTreeMap<String, usize>,
    /// What rules that are only tried out would have said.
    by_shadow: BTreeMap<String, usize>,
    /// Lines that are no jobs.
    unreadable: Vec<Unreadable>,
    /// Every job, where `--each` asks for it; always when there is one only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    each: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    line: usize,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Outcome {
    line: usize,
    id: Option<String>,
    verdict: String,
    rules: Vec<String>,
    reason: String,
    risk_tags: Vec<String>,
}

pub(super) fn run(global: &Global, args: &SimulateArgs) -> Result<Exit, Failure> {
    let policy = load(&folder_of(global, args.given.policy.clone())?)?;
    let (jobs, unreadable) = job::all(&args.jobs)?;
    let at_ms = args.given.at.unwrap_or_else(at::now);
    let mut simulation = Simulation {
        snapshot: policy.name().to_owned(),
        at_ms,
        jobs: jobs.len(),
        unreadable: unreadable.into_iter().map(|(line, reason)| Unreadable { line, reason }).collect(),
        ..Simulation::default()
    };
    let mut scratch = Scratch::new();
    let wants_each = args.each || jobs.len() == 1;
    for recorded in &jobs {
        let principals = recorded.job.principals();
        let judged = judge(&policy, &recorded.job.subject(&principals), at_ms, args.given.limits, &mut scratch);
        let outcome = match judged {
            Ok(verdict) => {
                for (rule, effect, _) in &verdict.shadow {
                    *simulation.by_shadow.entry(format!("{rule}: {effect}")).or_default() += 1;
                }
                Outcome {
                    line: recorded.line,
                    id: recorded.job.id.clone(),
                    verdict: verdict.effect.to_string(),
                    rules: texts(&verdict.rule_ids),
                    reason: verdict.reason.to_string(),
                    risk_tags: texts(&verdict.tags),
                }
            }
            Err(limits) => Outcome {
                line: recorded.line,
                id: recorded.job.id.clone(),
                verdict: "waits".to_owned(),
                rules: Vec::new(),
                reason: format!("waits for the limits {}", limits.join(", ")),
                risk_tags: Vec::new(),
            },
        };
        *simulation.by_verdict.entry(outcome.verdict.clone()).or_default() += 1;
        if outcome.rules.is_empty() {
            *simulation.by_rule.entry("default".to_owned()).or_default() += 1;
        }
        for rule in &outcome.rules {
            *simulation.by_rule.entry(rule.clone()).or_default() += 1;
        }
        if wants_each {
            simulation.each.push(outcome);
        }
    }
    match global.output {
        Output::Json => output::json(&simulation),
        Output::Text => output::text_line(&told(&simulation)),
    }
    Ok(if simulation.unreadable.is_empty() { Exit::Done } else { Exit::Data })
}

fn told(simulation: &Simulation) -> String {
    let mut lines: Vec<String> = Vec::new();
    for job in &simulation.each {
        let id = job.id.as_deref().unwrap_or("-");
        let by = if job.rules.is_empty() { "default".to_owned() } else { job.rules.join(", ") };
        lines.push(format!("{}: {id}: {} by {by}: {}", job.line, job.verdict, job.reason));
    }
    for bad in &simulation.unreadable {
        lines.push(format!("{}: no job: {}", bad.line, bad.reason));
    }
    lines.push(format!("{} jobs", simulation.jobs));
    for (head, counts) in
        [("verdict", &simulation.by_verdict), ("rule", &simulation.by_rule), ("tried out", &simulation.by_shadow)]
    {
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
        lines.extend(counts.iter().map(|(name, count)| format!("{head:<10}{count:>8}  {name}")));
    }
    lines.join("\n")
}
