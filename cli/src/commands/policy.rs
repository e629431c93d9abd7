//! `tidegate policy`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_node::policy_folder::{PolicyError, load_folder};
use tidegate_policy::{CaseResult, Effect, Explanation, NoLimits, Snapshot, Subject, is_case_file, run_cases};

use super::config_of;
use crate::args::{Global, Output, PolicyCommand};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check { folder } => {
            let folder = folder_of(global, folder)?;
            let policy = load(&folder)?;
            match global.output {
                Output::Json => output::json(&facts(&policy)),
                Output::Text => output::text_line(&format!(
                    "{} is right: {} bundles, {} rules, revision {}, snapshot {}",
                    folder.display(),
                    policy.bundles().len(),
                    policy.rules().len(),
                    policy.revision(),
                    policy.short_name()
                )),
            }
            Ok(Exit::Done)
        }
        PolicyCommand::Test { folder } => test(global, &folder_of(global, folder)?),
        PolicyCommand::Explain { job, policy } => explain(global, &job, &folder_of(global, policy)?),
    }
}

fn folder_of(global: &Global, folder: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match folder {
        Some(folder) => Ok(folder),
        None => Ok(config_of(global)?.policy),
    }
}

fn load(folder: &Path) -> Result<Snapshot, Failure> {
    load_folder(folder, None).map_err(|error: PolicyError| Failure::new(Exit::Config, error))
}

fn facts(policy: &Snapshot) -> serde_json::Value {
    let bundles: Vec<_> = policy
        .bundles()
        .iter()
        .map(|b| serde_json::json!({ "id": &*b.id, "revision": b.revision, "file": &*b.file, "rules": b.rules }))
        .collect();
    serde_json::json!({ "snapshot": policy.name(), "revision": policy.revision(), "bundles": bundles })
}

fn test(global: &Global, folder: &Path) -> Result<Exit, Failure> {
    let policy = load(folder)?;
    let unread = |error: std::io::Error| {
        Failure::say(Exit::Config, format!("folder `{}` cannot be read: {error}", folder.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_case_file) {
            files.push(path);
        }
    }
    files.sort();
    let mut results: Vec<CaseResult> = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(unread)?;
        let ran = run_cases(&policy, &file.display().to_string(), &text);
        results.extend(ran.map_err(|refused| Failure::new(Exit::Config, refused))?);
    }
    if results.is_empty() {
        return Err(Failure::say(
            Exit::Config,
            format!("no case in `{}`; write `*.test.yaml` files there", folder.display()),
        ));
    }
    let failed: Vec<&CaseResult> = results.iter().filter(|result| result.failure.is_some()).collect();
    match global.output {
        Output::Json => {
            let told: Vec<_> = failed
                .iter()
                .map(|r| serde_json::json!({ "name": r.name, "file": r.file, "line": r.line, "failure": r.failure }))
                .collect();
            output::json(&serde_json::json!({ "cases": results.len(), "failed": told }));
        }
        Output::Text => {
            for result in &failed {
                let failure = result.failure.as_deref().unwrap_or_default();
                output::text_line(&format!("{}:{}: {}: {failure}", result.file, result.line, result.name));
            }
            output::text_line(&format!("{} cases, {} failed", results.len(), failed.len()));
        }
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Unsuccessful })
}

/// A job as a submitter writes it.
#[derive(Deserialize)]
struct JobWritten {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    capability: String,
    #[serde(default)]
    actor: tidegate_protocol::job::Actor,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    risk_tags: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
}

fn explain(global: &Global, file: &Path, folder: &Path) -> Result<Exit, Failure> {
    let policy = load(folder)?;
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    let bad =
        |error: String| Failure::say(Exit::Data, format!("job `{}`: {error}; give one job as JSON", file.display()));
    read.map_err(|error| bad(error.to_string()))?;
    let job: JobWritten = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let mut subject = Subject::new(&job.tenant, &job.topic, &job.capability);
    subject.actor_id = job.actor.id.as_deref();
    subject.actor_type = job.actor.kind.as_deref();
    subject.requires = &job.requires;
    subject.risk_tags = &job.risk_tags;
    subject.labels = &job.labels;
    subject.payload = job.payload.as_ref().map_or(b"null", |payload| payload.get().as_bytes());
    let explanation = {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        policy.explain(&subject, at_ms, &mut NoLimits)
    };
    match global.output {
        Output::Json => output::json(&as_json(&explanation)),
        Output::Text => output::text_line(&as_text(&explanation)),
    }
    Ok(if explanation.verdict.effect == Effect::Allow { Exit::Done } else { Exit::Unsuccessful })
}

fn as_json(explanation: &Explanation) -> serde_json::Value {
    let strings = |list: &[std::sync::Arc<str>]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    let verdict = &explanation.verdict;
    let tags: Vec<_> = explanation
        .tags
        .iter()
        .map(|t| serde_json::json!({ "tag": &*t.tag, "bundle": &*t.bundle, "field": &*t.field, "holds": t.holds }))
        .collect();
    let rules: Vec<_> = explanation
        .rules
        .iter()
        .map(|r| {
            serde_json::json!({
                "id": &*r.id, "bundle": &*r.bundle, "invariant": r.invariant, "effect": r.effect.to_string(), "fails": r.fails,
            })
        })
        .collect();
    serde_json::json!({
        "verdict": verdict.effect.to_string(), "reason": &*verdict.reason, "rule_ids": strings(&verdict.rule_ids),
        "risk_tags": strings(&verdict.tags), "uncertain_tags": strings(&verdict.uncertain_tags), "tags": tags, "rules": rules,
    })
}

fn as_text(explanation: &Explanation) -> String {
    let verdict = &explanation.verdict;
    let mut lines = vec![format!("{}: {}", verdict.effect, verdict.reason)];
    for tag in &explanation.tags {
        let holds = match tag.holds {
            Some(true) => "set",
            Some(false) => "not set",
            None => "cannot be told, so restrictions on it match",
        };
        lines.push(format!("tag   {} ({} of {}): {holds}", tag.tag, tag.field, tag.bundle));
    }
    for rule in &explanation.rules {
        let fails =
            rule.fails.as_deref().map_or_else(|| "matches".to_owned(), |fails| format!("does not match: {fails}"));
        lines.push(format!("rule  {} ({}): {fails}", rule.id, rule.effect));
    }
    lines.join("\n")
}
