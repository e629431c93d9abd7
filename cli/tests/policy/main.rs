//! `tidegate policy` as its users meet it: the real binary, folders and files, what it prints and how it ends.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

const BANK: &str = "id: bank
revision: 3
combine: most_restrictive
derivers:
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 100 }
rules:
  - { id: pay, match: { tenants: [acme], topics: [job.pay.>] }, decision: allow, reason: payments are fine }
  - { id: no-large, match: { topics: [job.pay.>], risk_tags: [large] }, decision: deny, reason: above the limit }
  - { id: old-wire, match: { tenants: [acme], topics: [job.pay.wire], actor_types: [agent] }, decision: allow }
  - { id: read, match: { topics: [job.read], actor_types: [agent] }, decision: allow }
";

const CASES: &str = "cases:
  - name: a small payment passes
    job: { tenant: acme, topic: job.pay.wire, capability: pay, actor: { id: a, type: agent }, payload: { amount: 5 } }
    expect: { verdict: allow, rules: [pay, old-wire] }
  - name: a large one does not
    job: { tenant: acme, topic: job.pay.wire, capability: pay, payload: { amount: 500 } }
    expect: { verdict: deny, rule: no-large, tags: [large] }
";

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What the binary prints in a folder, with the folder's name left out, and its exit code.
fn run(at: &Path, arguments: &str) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(at).arg("policy").args(arguments.split(' '));
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_SPINE", "TIDEGATE_LOG", "TIDEGATE_DATA"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (text, output.status.code().unwrap())
}

fn document(at: &Path, arguments: &str) -> (Value, i32) {
    let (text, code) = run(at, &format!("{arguments} --output json"));
    let line = text.lines().next_back().unwrap_or_default();
    (serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}")), code)
}

#[test]
fn check_names_what_cannot_decide_and_what_cannot_load() {
    let hidden = BANK.replace("decision: deny, reason", "decision: deny, invariant: true, reason");
    let hidden = hidden
        + "  - { id: never, match: { tenants: [acme], topics: [job.pay.wire], risk_tags: [large] }, decision: allow }\n";
    let home = folder(&[("bank.yaml", &hidden)]);
    let (text, code) = run(home.path(), "check .");
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("./bank.yaml:11: rule `never` is shadowed: an invariant denies whatever it matches (rule `no-large` at ./bank.yaml:8)\n"), "{text}");
    assert!(text.contains(". loads, with 1 finding: 1 bundles, 5 rules, revision 3"), "{text}");
    assert_eq!(run(home.path(), "check . --warn-only").1, 0);
    let (found, _) = document(home.path(), "check .");
    assert_eq!(found["findings"][0]["kind"], "shadowed");
    assert_eq!(found["findings"][0]["by"]["rule"], "no-large");
    let wrong = folder(&[(
        "bank.yaml",
        "id: bank\nrevision: 1\nrules:\n  - { id: r, match: { tennants: [a] }, decision: deny }\n",
    )]);
    let (text, code) = run(wrong.path(), "check .");
    assert_eq!(code, 78);
    assert!(text.contains("bank.yaml:4: unknown field `tennants` in `match` of rule `r`"), "{text}");
}

#[test]
fn test_runs_cases_and_says_what_none_reaches() {
    let home = folder(&[("bank.yaml", BANK), ("bank.test.yaml", CASES)]);
    let (text, code) = run(home.path(), "test . --coverage-min 100 --junit out.xml");
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "./bank.yaml:10: rule `read`: decides no case\n\
         2 cases, 0 failed; 3/4 (75 %) of rules decide a case, 3/9 (33 %) of conditions both hold and fail\n\
         coverage of rules: 3/4 (75 %), less than 100 %\n"
    );
    assert_eq!(
        std::fs::read_to_string(home.path().join("out.xml")).unwrap(),
        r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="0">
  <testsuite name="./bank.test.yaml" tests="2" failures="0">
    <testcase classname="./bank.test.yaml" name="a small payment passes" file="./bank.test.yaml" line="2"/>
    <testcase classname="./bank.test.yaml" name="a large one does not" file="./bank.test.yaml" line="5"/>
  </testsuite>
</testsuites>
"#
    );
    assert_eq!(run(home.path(), "test . --coverage-min 75").1, 0);
    let (report, _) = document(home.path(), "test .");
    assert_eq!((&report["cases"], &report["coverage"]["rules"]["reached"]), (&Value::from(2), &Value::from(3)));
    let wrong = folder(&[("bank.yaml", BANK), ("bank.test.yaml", &CASES.replace("verdict: deny", "verdict: allow"))]);
    let (text, code) = run(wrong.path(), "test .");
    assert_eq!(code, 1);
    assert!(
        text.starts_with("./bank.test.yaml:5: a large one does not: expected allow, got deny by `no-large`"),
        "{text}"
    );
}

#[test]
fn explain_shows_what_decides_and_what_nearly_matched() {
    let job = r#"{"tenant": "acme", "topic": "job.pay.wire", "capability": "pay", "payload": {"amount": 500}}"#;
    let home = folder(&[("bank.yaml", BANK), ("job.json", job)]);
    let (text, code) = run(home.path(), "explain job.json --policy . --at 2026-03-01T09:30:00Z");
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "deny: above the limit\n\
         tag      large (/amount of bank): set\n\
         matches  pay (allow) ./bank.yaml:7\n\
         decides  no-large (deny) ./bank.yaml:8\n\
         misses   old-wire (allow) ./bank.yaml:9: the actor type is missing, and the rule permits only `agent` (1 of 3 conditions fail)\n\
         misses   read (allow) ./bank.yaml:10: the actor type is missing, and the rule permits only `agent` (2 of 2 conditions fail)\n"
    );
    let (story, _) = document(home.path(), "explain job.json --policy . --near 1");
    assert_eq!(story["near_misses"].as_array().unwrap().len(), 1);
    assert_eq!((&story["matches"][1]["id"], &story["verdict"]), (&"no-large".into(), &"deny".into()));
}

const JOBS: &str = r#"{"id":"1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount":5}}
{"v":1,"job":{"id":"2","tenant":"acme","topic":"job.pay.wire","capability":"pay","submitted_ms":1700000000000},"decision":{"verdict":"deny","reason":"above the limit","rule_ids":["no-large"],"snapshot":"s"},"payload":{"amount":500}}
{"id":"3","tenant":"acme","topic":"job.shred","capability":"shred"}
"#;

#[test]
fn simulate_counts_verdicts_and_rules() {
    let home = folder(&[("bank.yaml", BANK), ("jobs.jsonl", JOBS)]);
    let (text, code) = run(home.path(), "simulate jobs.jsonl --policy .");
    assert_eq!(code, 0);
    assert_eq!(
        text,
        "3 jobs\nverdict          2  deny\nverdict          1  allow\n\
         rule             1  default\nrule             1  no-large\nrule             1  pay\n"
    );
    let (report, _) = document(home.path(), "simulate jobs.jsonl --policy . --each");
    assert_eq!((&report["by_verdict"]["deny"], &report["each"][2]["id"]), (&2.into(), &"3".into()));
    std::fs::write(home.path().join("bad.jsonl"), format!("{JOBS}nonsense\n")).unwrap();
    let (report, code) = document(home.path(), "simulate bad.jsonl --policy .");
    assert_eq!((code, &report["jobs"], &report["unreadable"][0]["line"]), (65, &3.into(), &4.into()));
}

#[test]
fn diff_tells_relaxed_from_tightened_and_ends_with_1() {
    let home = folder(&[("jobs.jsonl", JOBS)]);
    let (old, same, new) = (home.path().join("old"), home.path().join("same"), home.path().join("new"));
    let looser = BANK.replace("value: 100", "value: 1000").replace("[job.read]", "[job.read, job.shred]");
    let other = looser.replace("actor_types: [agent] }, decision: allow }\n", "requires: [key] }, decision: allow }\n");
    let tighter =
        other.replace("{ id: pay,", "{ id: pay-only, match: { tenants: [acme] }, decision: deny }\n  - { id: pay,");
    for (folder, text) in [(&old, BANK), (&same, BANK), (&new, &looser)] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("bank.yaml"), text).unwrap();
    }
    let (text, code) = run(home.path(), "diff old same --decisions jobs.jsonl");
    assert_eq!(
        (code, text.as_str()),
        (0, "3 decisions: 3 same, 0 relaxed, 0 tightened, 0 changed; the old policy differs from 0 records\n")
    );
    let (text, code) = run(home.path(), "diff old new --decisions jobs.jsonl");
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "relaxed   2: 2: deny by no-large -> allow by pay: payments are fine\n\
         3 decisions: 2 same, 1 relaxed, 0 tightened, 0 changed; the old policy differs from 0 records\n"
    );
    std::fs::write(new.join("bank.yaml"), tighter).unwrap();
    let (report, code) = document(home.path(), "diff old new --decisions jobs.jsonl");
    assert_eq!(code, 1);
    // The first is denied now, the second by another rule, the third by a rule instead of the default.
    let kinds: Vec<_> =
        report["changes"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["tightened", "changed", "changed"]);
    // What the records say is no longer what the first of two policies says.
    let (report, _) = document(home.path(), "diff new new --decisions jobs.jsonl");
    assert_eq!((&report["off_record"], &report["same"]), (&0.into(), &3.into()));
}

const SAFETY: &str = "version: v1
default_decision: deny
rules:
  - { id: pay, match: { tenants: [acme], topics: [\"job.pay.*\"], actor_types: [agent] }, decision: require_approval }
  - { id: read, match: { topics: [\"job.read\"] }, decision: allow }
";

#[test]
fn import_writes_a_bundle_that_decides_alike_or_refuses_by_line() {
    let at = folder(&[("safety.yaml", SAFETY), ("bad.yaml", "rules: [{ id: a, decision: deny, quota: 5 }]")]);
    std::fs::create_dir(at.path().join("out")).unwrap();
    let (text, code) = run(at.path(), "import safety.yaml --out out --id office --revision 4");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 rules imported"), "{text}");
    assert!(text.contains("note: safety.yaml:4: rule `pay` restricts"), "{text}");
    let (text, code) = run(at.path(), "check out --warn-only");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("revision 4"), "{text}");
    let (text, code) = run(at.path(), "import safety.yaml --out out --id office");
    assert_eq!(code, 78, "a bundle that is there is not replaced: {text}");
    let (text, code) = run(at.path(), "import bad.yaml");
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("bad.yaml:1: unknown field `quota`"), "{text}");
    let (document, code) = document(at.path(), "import safety.yaml");
    assert_eq!(code, 0);
    assert!(document["bundle"].as_str().unwrap().contains("combine: first_match"), "{document}");
}

#[test]
fn bench_says_what_each_engine_took() {
    let at = folder(&[]);
    let (document, code) = document(at.path(), "bench --rules 10,50 --seconds 1 --engines tidegate,cel");
    assert_eq!(code, 0);
    let rows = document["rows"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| (row["engine"].as_str().unwrap(), row["rules"].as_u64().unwrap())).collect();
    assert_eq!(names, [("tidegate", 10), ("cel", 10), ("tidegate", 50), ("cel", 50)]);
    for figure in ["p50_us", "p99_us", "heap_bytes", "build_ms"] {
        assert!(rows.iter().all(|row| row[figure].as_f64().unwrap() > 0.0), "{figure}: {document}");
    }
}
