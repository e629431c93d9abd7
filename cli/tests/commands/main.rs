//! Commands of the real binary as people and scripts run them: exit codes, text, and the document on the last line.
//!
//! | module | what is run |
//! |---|---|
//! | `bench` | `tidegate bench`, short, on an embedded spine |
//! | `demo` | `tidegate demo` |
//! | `doctor` | `tidegate doctor` beside `tidegate dev`, and without |
//! | `jobs` | `submit`, `jobs list`, `jobs watch` beside `tidegate dev` |
//! | `on_spine` | the same with `--spine`, nothing else running |
//! | `topics` | `topics export` |
//! | `wrong` | what was typed wrong, or asked of nobody |
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

mod bench;
mod demo;
#[path = "../dev/mod.rs"]
mod dev;
mod doctor;
mod jobs;
mod on_spine;
mod topics;
mod wrong;

use std::path::Path;

use serde_json::{Value, json};

const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: ok, match: { topics: [job.ok.>] }, decision: allow, reason: it may run }
";

/// A line of input.
fn line(id: &str, topic: &str, capability: &str) -> String {
    json!({"id": id, "tenant": "acme", "topic": topic, "capability": capability, "payload": {"n": 1}}).to_string()
        + "\n"
}

/// Runs a command to its end: exit code, standard output, standard error.
fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = dev::tidegate(home).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The document on the last line.
fn last(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Runs it with `--output json`: exit code, and the document on the last line.
fn document(home: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out, err) = run(home, &[arguments, &["--output", "json"]].concat());
    assert!(!out.is_empty(), "{arguments:?}: {err}");
    (code, last(&out))
}
