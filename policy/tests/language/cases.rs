//! Policy test files.

use tidegate_policy::{CaseResult, Coverage, Refused, Snapshot, is_bundle_file, is_case_file, load};

const BANK: &str = "
id: bank
revision: 1
derivers: [{ tag: large, topics: [job.pay], field: /amount, test: gt, value: 10 }]
rules:
  - { id: pay, match: { topics: [job.pay], actor_types: [agent], labels: { env: prod } }, decision: allow }
  - { id: no-large, match: { risk_tags: [large] }, decision: deny }
";

const CASES: &str = r#"
cases:
  - name: small passes
    job: { tenant: acme, topic: job.pay, capability: pay, actor: { id: a, type: agent }, labels: { env: prod }, payload: { amount: 5 } }
    expect: { verdict: allow, rule: pay, tags: [], uncertain_tags: [] }
  - name: large does not
    job: { tenant: acme, topic: job.pay, capability: pay, payload: { amount: 50 } }
    expect: { verdict: deny, rule: no-large, tags: [large] }
  - name: nothing names reading
    job: { tenant: acme, topic: job.read, capability: read }
    expect: { verdict: deny, rule: default }
  - name: not json
    job: { tenant: acme, topic: job.pay, capability: pay, payload_text: '{' }
    expect: { verdict: deny, uncertain_tags: [large] }
  - name: wrong verdict
    job: { tenant: acme, topic: job.pay, capability: pay, payload: { amount: 50 } }
    expect: { verdict: allow }
  - name: wrong rule
    job: { tenant: acme, topic: job.pay, capability: pay, payload: { amount: 50 } }
    expect: { verdict: deny, rule: pay }
  - name: not the default
    job: { tenant: acme, topic: job.pay, capability: pay, payload: { amount: 50 } }
    expect: { verdict: deny, rule: default }
  - name: wrong tags
    job: { tenant: acme, topic: job.pay, capability: pay, payload: { amount: 50 } }
    expect: { verdict: deny, tags: [] }
"#;

fn run_cases(snapshot: &Snapshot, file: &str, text: &str) -> Result<Vec<CaseResult>, Refused> {
    tidegate_policy::run_cases(snapshot, file, text, &mut Coverage::of(snapshot))
}

#[test]
fn cases_run_and_say_what_differs() {
    let snapshot = load([("bank.yaml", BANK), ("bank.test.yaml", CASES)], None).unwrap();
    let results = run_cases(&snapshot, "bank.test.yaml", CASES).unwrap();
    let failures: Vec<Option<&str>> = results.iter().map(|result| result.failure.as_deref()).collect();
    assert_eq!(
        failures,
        [
            None,
            None,
            None,
            None,
            Some("expected allow, got deny by `no-large`: rule no-large: deny"),
            Some("expected rule `pay` to decide, but `no-large` did"),
            Some("expected the default to decide, but `no-large` did"),
            Some("expected the tags [], got [`large`]"),
        ]
    );
    assert_eq!((results[1].name.as_str(), results[1].line), ("large does not", 6));
}

#[test]
fn a_file_of_cases_is_read_as_strictly_as_a_bundle() {
    let snapshot = load([("bank.yaml", BANK)], None).unwrap();
    let text = "cases:\n  - name: x\n    job: { tennant: a }\n    expect: { verdict: maybe }\n  - job: {}\n";
    let refused = run_cases(&snapshot, "bank.test.yaml", text).unwrap_err();
    let lines: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "bank.test.yaml:3: unknown field `tennant` in `job` of case `x`; remove or correct it; known here: id, tenant, \
             topic, actor, capability, requires, risk_tags, labels, pack_id, priority, deadline, delegation, payload, payload_text",
            "bank.test.yaml:4: unknown verdict `maybe`; use one of: allow, allow_with_constraints, require_approval, throttle, \
             deny, waits",
            "bank.test.yaml:5: a case has no `name`; add `name`",
        ]
    );
    assert!(run_cases(&snapshot, "bank.test.yaml", "cases: []").is_err(), "no case tests nothing");
}

#[test]
fn what_no_case_reaches_is_named() {
    let snapshot = load([("bank.yaml", BANK)], None).unwrap();
    let mut coverage = Coverage::of(&snapshot);
    assert_eq!((coverage.rules().reached, coverage.rules().of), (0, 2));
    let some = "cases:
  - name: small passes
    job: { tenant: acme, topic: job.pay, capability: pay, actor: { id: a, type: agent }, labels: { env: prod }, payload: { amount: 5 } }
    expect: { verdict: allow }
  - name: nothing names reading
    job: { tenant: acme, topic: job.read, capability: read }
    expect: { verdict: deny }
";
    tidegate_policy::run_cases(&snapshot, "some.test.yaml", some, &mut coverage).unwrap();
    let gaps: Vec<String> = coverage.gaps().map(|gap| gap.to_string()).collect();
    assert_eq!(
        gaps,
        [
            "bank.yaml:7: rule `no-large`: decides no case",
            "bank.yaml:7: rule `no-large`, `risk_tags`: fails in every case",
        ]
    );
    assert_eq!(coverage.rules().to_string(), "1/2 (50 %)");
    tidegate_policy::run_cases(&snapshot, "bank.test.yaml", CASES, &mut coverage).unwrap();
    assert_eq!(coverage.rules().percent(), 100.0);
}

#[test]
fn names_tell_bundles_from_cases() {
    assert!(
        is_bundle_file("a.yaml")
            && is_bundle_file("a.yml")
            && is_case_file("a.test.yaml")
            && is_case_file("a.test.yml")
    );
    assert!(!is_bundle_file(".a.yaml.yaml") && !is_bundle_file("dir/.#a.yaml") && !is_case_file(".a.test.yaml"));
    assert!(!is_bundle_file("a.test.yaml") && !is_bundle_file("README.md") && !is_case_file("a.yaml"));
}
