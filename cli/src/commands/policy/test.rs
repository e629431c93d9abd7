//! `tidegate policy test`.

use std::path::Path;

use tidegate_policy::{CaseResult, Coverage, is_case_file, run_cases};

use super::args::TestArgs;
use super::{folder_of, junit, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: TestArgs) -> Result<Exit, Failure> {
    let folder = folder_of(global, args.folder)?;
    let policy = load(&folder)?;
    let mut coverage = Coverage::of(&policy);
    let mut results: Vec<CaseResult> = Vec::new();
    for (file, text) in case_files(&folder)? {
        let ran = run_cases(&policy, &file, &text, &mut coverage);
        results.extend(ran.map_err(|refused| Failure::new(Exit::Config, refused))?);
    }
    if results.is_empty() {
        return Err(Failure::say(
            Exit::Config,
            format!("no case in `{}`; write `*.test.yaml` files there", folder.display()),
        ));
    }
    if let Some(to) = &args.junit {
        std::fs::write(to, junit::xml(&results))
            .map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be written: {error}", to.display())))?;
    }
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    let wanted = [
        ("rules", coverage.rules(), args.coverage_min),
        ("conditions", coverage.conditions(), args.condition_coverage_min),
    ];
    let short: Vec<String> = wanted
        .iter()
        .filter_map(|(what, share, least)| {
            let least = (*least)?;
            (share.percent() < f64::from(least)).then(|| format!("{what}: {share}, less than {least} %"))
        })
        .collect();
    match global.output {
        Output::Json => output::json(&document(&results, &coverage, &short)),
        Output::Text => {
            output::text_line(&told(
                &results,
                &coverage,
                args.coverage_min.is_some(),
                args.condition_coverage_min.is_some(),
            ));
            for line in &short {
                output::text_line(&format!("coverage of {line}"));
            }
        }
    }
    Ok(if failed == 0 && short.is_empty() { Exit::Done } else { Exit::Unsuccessful })
}

/// Names and texts, by name.
fn case_files(folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let unread = |error: std::io::Error| {
        Failure::say(Exit::Config, format!("folder `{}` cannot be read: {error}", folder.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_case_file) {
            let text = std::fs::read_to_string(&path).map_err(unread)?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}

fn document(results: &[CaseResult], coverage: &Coverage, short: &[String]) -> serde_json::Value {
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result.failure.is_some())
        .map(|r| serde_json::json!({ "name": r.name, "file": r.file, "line": r.line, "failure": r.failure }))
        .collect();
    serde_json::json!({ "cases": results.len(), "failed": failed, "coverage": coverage, "short": short })
}

fn told(results: &[CaseResult], coverage: &Coverage, rules: bool, conditions: bool) -> String {
    let mut lines = Vec::new();
    let mut failed = 0;
    for result in results {
        if let Some(failure) = &result.failure {
            failed += 1;
            lines.push(format!("{}:{}: {}: {failure}", result.file, result.line, result.name));
        }
    }
    for gap in coverage.gaps().filter(|gap| if gap.condition.is_some() { conditions } else { rules }) {
        lines.push(gap.to_string());
    }
    lines.push(format!(
        "{} cases, {failed} failed; {} of rules decide a case, {} of conditions both hold and fail",
        results.len(),
        coverage.rules(),
        coverage.conditions()
    ));
    lines.join("\n")
}
