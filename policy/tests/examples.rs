//! Every example policy loads as the kernel loads it, has no finding, passes its own cases, and has every rule tried; and
//! docs/policy.md says what is so.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

use std::fs;
use std::path::{Path, PathBuf};
use tidegate_policy::{Coverage, Snapshot, is_bundle_file, is_case_file, load, run_cases};

/// One for each kind of work that people start with.
const NEEDED: [&str; 4] = ["bank", "coding", "office", "support"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies")
}

/// Names and texts of a folder's files that have such a name.
#[expect(clippy::disallowed_methods, reason = "the crate has no IO; a test of example files does")]
fn files(folder: &str, wanted: fn(&str) -> bool) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if wanted(&name) {
            files.push((format!("{folder}/{name}"), fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

fn folders() -> Vec<String> {
    let entries = fs::read_dir(root()).unwrap();
    let mut all: Vec<String> = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn policy(folders: &[String]) -> Snapshot {
    let bundles: Vec<_> = folders.iter().flat_map(|folder| files(folder, is_bundle_file)).collect();
    load(bundles, None).unwrap_or_else(|refused| panic!("{refused}"))
}

/// Runs the cases of these folders and returns what they reach of `snapshot`.
fn tried(snapshot: &Snapshot, folders: &[String]) -> Coverage {
    let mut coverage = Coverage::of(snapshot);
    for (file, text) in folders.iter().flat_map(|folder| files(folder, is_case_file)) {
        let cases = run_cases(snapshot, &file, &text, &mut coverage).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(!cases.is_empty(), "{file} has no cases");
        for case in cases {
            assert_eq!(case.failure, None, "{}:{} {}", case.file, case.line, case.name);
        }
    }
    coverage
}

#[test]
fn every_rule_of_every_example_decides_a_case() {
    let all = folders();
    for needed in NEEDED {
        assert!(all.iter().any(|folder| folder == needed), "{needed} is not in {all:?}");
    }
    for folder in &all {
        let folder = std::slice::from_ref(folder);
        let snapshot = policy(folder);
        let findings: Vec<String> = snapshot.findings().iter().map(ToString::to_string).collect();
        assert_eq!(findings, [""; 0], "{folder:?}");
        let coverage = tried(&snapshot, folder);
        let missing: Vec<String> =
            coverage.gaps().filter(|gap| gap.condition.is_none()).map(|gap| gap.to_string()).collect();
        assert_eq!(missing, [""; 0], "{folder:?}");
        assert_eq!(coverage.rules().percent(), 100.0, "{folder:?}");
    }
}

#[test]
fn loaded_together_they_judge_their_cases_as_they_do_alone() {
    let all = NEEDED.map(str::to_owned);
    let coverage = tried(&policy(&all), &all);
    assert_eq!(coverage.rules().percent(), 100.0);
}

/// The blocks of a page that are fenced as `kind`, with the line each begins on.
fn blocks(page: &str, kind: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            if let Some((_, text)) = found.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        } else if line == format!("```{kind}") {
            inside = true;
            found.push((number + 1, String::new()));
        }
    }
    found
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the crate has no IO; a test of a page does")]
fn the_reference_shows_bundles_that_load_and_cases_that_pass() {
    let page = fs::read_to_string(root().join("../../docs/policy.md")).unwrap();
    let (bundles, cases) = (blocks(&page, "yaml bundle"), blocks(&page, "yaml cases"));
    assert_eq!((bundles.len(), cases.len()), (2, 1));
    let mut snapshots = Vec::new();
    for (line, text) in bundles {
        let name = format!("policy.md:{line}");
        snapshots.push(load([(name.as_str(), text.as_str())], None).unwrap_or_else(|refused| panic!("{refused}")));
    }
    let (line, text) = &cases[0];
    let mut coverage = Coverage::of(&snapshots[0]);
    let run = run_cases(&snapshots[0], &format!("policy.md:{line}"), text, &mut coverage);
    for case in run.unwrap_or_else(|refused| panic!("{refused}")) {
        assert_eq!(case.failure, None, "{} {}", case.file, case.name);
    }
    assert_eq!(coverage.rules().percent(), 100.0);
}
