//! `tidegate policy diff`.

use std::cmp::Ordering;

use serde::Serialize;
use tidegate_policy::{Scratch, Snapshot, Verdict};

use super::args::DiffArgs;
use super::job::{self, Recorded};
use super::judge::{judge, texts};
use super::{at, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

/// The document of `--output json`.
#[derive(Debug, Default, Serialize)]
struct Diff {
    old: String,
    new: String,
    /// Decisions judged again.
    decisions: usize,
    /// Same verdict, rules, constraints and approval.
    same: usize,
    /// A less severe verdict.
    relaxed: usize,
    /// A more severe one.
    tightened: usize,
    /// As severe, by other rules, with other constraints or another approval.
    changed: usize,
    /// The old policy does not give the recorded verdict: it was another policy's, or depended on limits or the hour.
    off_record: usize,
    /// What differs, in the records' order, at most `--most`.
    changes: Vec<Change>,
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    line: usize,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Change {
    line: usize,
    id: Option<String>,
    kind: Kind,
    old: Side,
    new: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Relaxed,
    Tightened,
    Changed,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Side {
    verdict: String,
    rules: Vec<String>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<serde_json::Value>,
}

pub(super) fn run(global: &Global, args: &DiffArgs) -> Result<Exit, Failure> {
    let (old, new) = (load(&args.old)?, load(&args.new)?);
    let (records, unreadable) = job::all(&args.decisions)?;
    let diff = compare(&old, &new, &records, unreadable, args);
    match global.output {
        Output::Json => output::json(&diff),
        Output::Text => output::text_line(&told(&diff)),
    }
    let differs = diff.relaxed + diff.tightened + diff.changed > 0;
    Ok(match (differs, diff.unreadable.is_empty()) {
        (true, _) => Exit::Unsuccessful,
        (false, false) => Exit::Data,
        (false, true) => Exit::Done,
    })
}

fn compare(
    old: &Snapshot,
    new: &Snapshot,
    records: &[Recorded],
    unreadable: Vec<(usize, String)>,
    args: &DiffArgs,
) -> Diff {
    let mut diff = Diff {
        old: old.name().to_owned(),
        new: new.name().to_owned(),
        decisions: records.len(),
        unreadable: unreadable.into_iter().map(|(line, reason)| Unreadable { line, reason }).collect(),
        ..Diff::default()
    };
    let (mut scratch, now) = (Scratch::new(), at::now());
    for recorded in records {
        let principals = recorded.job.principals();
        let subject = recorded.job.subject(&principals);
        // Close to when it was judged; policies with windows are asked about that hour.
        let at_ms = recorded.job.submitted_ms.unwrap_or(now);
        let was = judge(old, &subject, at_ms, args.limits, &mut scratch);
        let is = judge(new, &subject, at_ms, args.limits, &mut scratch);
        let severity = |side: &Result<Verdict, Vec<String>>| side.as_ref().ok().map(|verdict| verdict.effect);
        if recorded.decision.as_ref().is_some_and(|decision| severity(&was) != Some(decision.verdict)) {
            diff.off_record += 1;
        }
        let order = severity(&was).cmp(&severity(&is));
        let (was, is) = (Side::of(was), Side::of(is));
        let kind = match order {
            Ordering::Greater => Kind::Relaxed,
            Ordering::Less => Kind::Tightened,
            Ordering::Equal
                if was.rules != is.rules || was.constraints != is.constraints || was.approval != is.approval =>
            {
                Kind::Changed
            }
            Ordering::Equal => {
                diff.same += 1;
                continue;
            }
        };
        *match kind {
            Kind::Relaxed => &mut diff.relaxed,
            Kind::Tightened => &mut diff.tightened,
            Kind::Changed => &mut diff.changed,
        } += 1;
        if diff.changes.len() < args.most {
            diff.changes.push(Change { line: recorded.line, id: recorded.job.id.clone(), kind, old: was, new: is });
        }
    }
    diff
}

impl Side {
    fn of(judged: Result<Verdict, Vec<String>>) -> Self {
        match judged {
            Ok(verdict) => Self {
                verdict: verdict.effect.to_string(),
                rules: texts(&verdict.rule_ids),
                reason: verdict.reason.to_string(),
                constraints: verdict.constraints.as_deref().and_then(|one| serde_json::to_value(one).ok()),
                approval: verdict.approval.as_deref().and_then(|one| serde_json::to_value(one).ok()),
            },
            Err(limits) => Self {
                verdict: "waits".to_owned(),
                rules: Vec::new(),
                reason: format!("waits for the limits {}", limits.join(", ")),
                constraints: None,
                approval: None,
            },
        }
    }
}

fn told(diff: &Diff) -> String {
    let by = |side: &Side| {
        let rules = if side.rules.is_empty() { "default".to_owned() } else { side.rules.join(", ") };
        format!("{} by {rules}", side.verdict)
    };
    let mut lines: Vec<String> = Vec::new();
    for change in &diff.changes {
        let kind = match change.kind {
            Kind::Relaxed => "relaxed  ",
            Kind::Tightened => "tightened",
            Kind::Changed => "changed  ",
        };
        let id = change.id.as_deref().unwrap_or("-");
        lines.push(format!(
            "{kind} {}: {id}: {} -> {}: {}",
            change.line,
            by(&change.old),
            by(&change.new),
            change.new.reason
        ));
    }
    let named = diff.changes.len();
    let differing = diff.relaxed + diff.tightened + diff.changed;
    if named < differing {
        lines.push(format!("and {} more", differing - named));
    }
    for bad in &diff.unreadable {
        lines.push(format!("{}: no job: {}", bad.line, bad.reason));
    }
    lines.push(format!(
        "{} decisions: {} same, {} relaxed, {} tightened, {} changed; the old policy differs from {} records",
        diff.decisions, diff.same, diff.relaxed, diff.tightened, diff.changed, diff.off_record
    ));
    lines.join("\n")
}
