//! Rules that can never decide, held against every job of a small world.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::cell::Cell;
use std::fmt::Write;
use tidegate_policy::{FindingKind, Scratch, Snapshot, Subject, Supported, load, load_for};

const SCHEMAS: &str = "schemas: [{ topics: ['>'], fields: { n: number? } }]\n";
const DERIVERS: &str = "derivers:
  - { tag: t0, topics: [job.a.>], field: /n, test: gt, value: 0 }
  - { tag: t1, topics: [job.>], field: /n, test: lt, value: 0, optional: true }
";

fn bundle(rules: &str) -> Snapshot {
    let text = format!("id: b\nrevision: 1\ncombine: most_restrictive\n{SCHEMAS}{DERIVERS}rules:{rules}");
    load([("b.yaml", text.as_str())], None).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

fn findings(rules: &str) -> Vec<String> {
    bundle(rules).findings().iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_that_can_never_decide_is_named_with_the_rule_that_hides_it() {
    let stricter = "
  - { id: wire, match: { topics: [job.pay.wire], tenants: [acme] }, decision: allow }
  - { id: no-pay, match: { topics: [job.pay.>] }, decision: deny }
";
    assert_eq!(
        findings(stricter),
        ["b.yaml:9: rule `wire` is shadowed: a stricter rule matches whatever it matches (rule `no-pay` at b.yaml:10)"]
    );
    let tiers = "
  - { id: pay, match: { topics: [job.pay.*] }, decision: deny }
  - { id: job-pay, tier: job, match: { topics: [job.pay.>] }, decision: deny }
";
    assert_eq!(
        findings(tiers),
        [
            "b.yaml:9: rule `pay` is unreachable: a rule of a more specific tier matches whatever it matches (rule `job-pay` at b.yaml:10)"
        ]
    );
    let opposite = "
  - { id: yes, match: { topics: [job.x], tenants: [a, b] }, decision: allow }
  - { id: no, match: { tenants: [b, a], topics: [job.x] }, decision: deny }
";
    assert_eq!(
        findings(opposite),
        [
            "b.yaml:9: rule `yes` is contradictory: another rule says the opposite about the same jobs, and wins (rule `no` at b.yaml:10)"
        ]
    );
    assert_eq!(bundle(opposite).findings()[0].kind, FindingKind::Contradictory);
    let floor = "
  - { id: yes, tier: job, match: { topics: [job.x.y], requires: [a, b] }, decision: deny }
  - { id: floor, invariant: true, match: { topics: ['job.*.y'], requires: [a] }, decision: deny }
";
    assert_eq!(
        findings(floor),
        ["b.yaml:9: rule `yes` is shadowed: an invariant denies whatever it matches (rule `floor` at b.yaml:10)"]
    );
    let elsewhere = "
  - { id: tagged, match: { topics: [job.b.>], risk_tags: [t0] }, decision: deny }
";
    assert_eq!(findings(elsewhere), ["b.yaml:9: rule `tagged` is unreachable: nothing derives its tags on its topics"]);
    let sound = "
  - { id: deny-without-actor, match: { actor_types: [agent] }, decision: deny }
  - { id: deny-all-of-acme, match: { tenants: [acme], actor_types: [agent] }, decision: deny }
  - { id: tagged, match: { risk_tags: [t0] }, decision: deny }
  - { id: claimed, match: { risk_tags: [t0] }, trust: claimed, decision: allow }
  - { id: any, match: {}, decision: allow }
";
    assert_eq!(findings(sound), [""; 0]);
}

#[test]
fn a_rule_that_bans_all_but_what_it_lists_as_denied_is_named() {
    let inverted = "
  - { id: bans, match: { mcp: { deny_tools: [rm] } }, decision: deny }
  - { id: permits, match: { mcp: { allow_servers: [files], deny_tools: [mv] } }, decision: allow }
  - { id: listed, match: { mcp: { allow_tools: [rm] } }, decision: deny }
  - { id: meant, match: { labels: { mcp.server: { not_in: [files] } } }, decision: deny }
";
    assert_eq!(
        findings(inverted),
        [
            "b.yaml:9: rule `bans` is inverted: what `deny_tools` lists does not match, so `deny` holds for every other call; \
             list what is meant under `allow_tools`"
        ]
    );
}

#[test]
fn in_a_first_match_bundle_the_order_hides() {
    let text = "id: b\nrevision: 1\ncombine: first_match\nrules:
  - { id: all-of-acme, match: { tenants: [acme] }, decision: allow }
  - { id: acme-pays, match: { tenants: [acme], topics: [job.pay] }, decision: allow }
  - { id: acme-denied, match: { tenants: [acme], topics: [job.pay] }, decision: deny }
  - { id: rest, match: {}, decision: deny }
  - { id: never, match: { topics: [job.x] }, decision: allow }
";
    let snapshot = load([("b.yaml", text)], None).unwrap();
    let found: Vec<_> =
        snapshot.findings().into_iter().map(|f| (f.rule.to_string(), f.by.unwrap().rule.to_string())).collect();
    let wanted = [("acme-pays", "all-of-acme"), ("acme-denied", "all-of-acme"), ("never", "rest")];
    assert_eq!(found, wanted.map(|(rule, by)| (rule.to_owned(), by.to_owned())));
}

/// A rule as written, without its id.
fn rule() -> impl Strategy<Value = String> {
    let list = |field: &'static str, names: &'static [&'static str]| {
        prop_oneof![
            1 => Just(String::new()),
            2 => subsequence(names, 1..=names.len()).prop_map(move |names| format!("{field}: [{}]", names.join(", "))),
        ]
    };
    let topics = list("topics", &["job.a.x", "job.a.*", "job.a.>", "job.b", "'job.*'", "job.>"]);
    let labels = prop_oneof![
        Just(""),
        Just("labels: { k: v0 }"),
        Just("labels: { k: [v0, v1] }"),
        Just("labels: { k: v1, l: v0 }")
    ];
    let fields = (
        list("tenants", &["a", "b"]),
        topics,
        list("capabilities", &["c0", "c1"]),
        list("risk_tags", &["t0", "t1"]),
        list("requires", &["r0", "r1"]),
        labels,
    );
    let more = (
        list("actor_types", &["agent", "person"]),
        list("actor_ids", &["i"]),
        select(
            &[
                "",
                "",
                "",
                ", when: job.n > 0",
                ", when: 'has(job.n)'",
                ", mode: shadow",
                ", window: { tz: UTC, days: mon-fri }",
            ][..],
        ),
        select(
            &[
                "",
                "",
                "",
                "labels: { k: { not_in: [v0] } }",
                "labels: { k: { gt: 1 } }",
                "secrets_present: false",
                "delegation: { max_depth: 1 }",
            ][..],
        ),
    );
    let decision = select(
        &[
            "allow",
            "deny",
            "deny",
            "require_approval",
            "throttle",
            "allow_with_constraints, constraints: { budgets: { max_retries: 1 } }",
        ][..],
    );
    let tier = select(&["global", "global", "workflow", "job"][..]);
    (fields, more, decision, tier, prop::bool::weighted(0.2), any::<bool>()).prop_map(
        |((tenants, topics, capabilities, tags, requires, labels), more, decision, tier, invariant, claimed)| {
            let trust = if claimed && !tags.is_empty() { ", trust: claimed" } else { "" };
            let (actor_types, actor_ids, when, other) = more;
            let labels = if other.starts_with("labels") || labels.is_empty() { other } else { labels };
            let fields = [tenants, topics, capabilities, tags, requires, labels.to_owned(), actor_types, actor_ids];
            let fields: Vec<_> = fields.into_iter().filter(|field| !field.is_empty()).collect();
            let invariant = if invariant && decision != "allow" { ", invariant: true" } else { "" };
            format!("match: {{ {} }}, decision: {decision}, tier: {tier}{invariant}{trust}{when}", fields.join(", "))
        },
    )
}

/// Bundles as written: how each combines, and its rules.
type Written = Vec<(&'static str, Rules)>;

/// Ids, and rules without them.
type Rules = Vec<(String, String)>;

fn bundles() -> impl Strategy<Value = Written> {
    // Now and then a rule's opposite stands behind it.
    let opposed = (rule(), prop::bool::weighted(0.2)).prop_map(|(rule, opposed)| {
        let opposite = rule.replace("decision: allow,", "decision: deny,");
        if opposed && opposite != rule { vec![rule, opposite] } else { vec![rule] }
    });
    let bundle = (select(&["first_match", "most_restrictive"][..]), prop::collection::vec(opposed, 2..5));
    prop::collection::vec(bundle, 1..3).prop_map(|bundles| {
        let named = |(at, (combine, rules)): (usize, (&'static str, Vec<Vec<String>>))| {
            let rules = rules.concat().into_iter().enumerate();
            let rules = rules.map(|(number, rule)| (format!("r{at}-{number}"), rule)).collect();
            (combine, rules)
        };
        bundles.into_iter().enumerate().map(named).collect()
    })
}

/// Loads them without one rule.
fn compiled(bundles: &Written, without: &str) -> Snapshot {
    let file = |(at, (combine, rules)): (usize, &(&str, Rules))| {
        let mut text = format!(
            "id: b{at}\nrevision: 1\ncombine: {combine}\n{SCHEMAS}{}rules:\n",
            if at == 0 { DERIVERS } else { "" }
        );
        // What stands in place of a rule that is taken out, and of all rules of an emptied bundle, never matches.
        text.push_str(&format!("  - {{ id: none-{at}, match: {{ actor_ids: [nobody] }}, decision: allow }}\n"));
        for (id, rule) in rules.iter().filter(|(id, _)| id != without) {
            let _ = writeln!(text, "  - {{ id: {id}, {rule} }}");
        }
        (format!("b{at}.yaml"), text)
    };
    load_for(bundles.iter().enumerate().map(file), None, Supported::EVERYTHING)
        .unwrap_or_else(|refused| panic!("{refused}"))
}

/// Calls `look` with every job of a world that has each value a rule can name, one it cannot, and what can be missing.
fn every_job(look: &mut dyn FnMut(&Subject<'_>)) {
    let labels: [&[(&str, &str)]; 5] =
        [&[], &[("k", "v0")], &[("k", "v1")], &[("k", "v1"), ("l", "v0")], &[("l", "x")]];
    let requires: [&[&str]; 4] = [&[], &["r0"], &["r1"], &["r0", "r1"]];
    let claims: [&[&str]; 3] = [&[], &["t0"], &["t1"]];
    for topic in ["job.a.x", "job.a.y.z", "job.b", "job.c", "x.y"] {
        for tenant in ["a", "b", "c"] {
            for capability in ["c", "c0", "c1"] {
                for payload in [r#"{"n": 1}"#, r#"{"n": -1}"#, r#"{"n": 0}"#, "{}", "not json"] {
                    for requires in &requires {
                        for labels in &labels {
                            for claims in &claims {
                                let mut job = Subject::new(tenant, topic, capability);
                                (job.payload, job.requires) = (payload.as_bytes(), requires);
                                (job.labels, job.risk_tags) = (labels, claims);
                                for (id, kind) in
                                    [(None, None), (Some("i"), Some("agent")), (Some("j"), Some("person"))]
                                {
                                    (job.actor_id, job.actor_type) = (id, kind);
                                    look(&job);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

thread_local! {
    static FOUND: Cell<[usize; 3]> = const { Cell::new([0; 3]) };
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        // The same policies in every run: how many findings of each kind they have is counted below.
        rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        ..ProptestConfig::with_cases(400)
    })]

    fn without_a_rule_that_is_found_every_verdict_stays(bundles in bundles()) {
        let whole = compiled(&bundles, "");
        let (mut scratch, mut other) = (Scratch::new(), Scratch::new());
        for finding in whole.findings().iter().filter(|finding| !finding.rule.starts_with("none-")) {
            let mut found = FOUND.get();
            if let Some(count) = found.get_mut(finding.kind as usize) {
                *count += 1;
            }
            FOUND.set(found);
            let without = compiled(&bundles, &finding.rule);
            let mut wrong = None;
            every_job(&mut |job| {
                let (a, b) = (whole.evaluate(job, &mut scratch), without.evaluate(job, &mut other));
                if (a.effect, &a.rule_ids, &a.constraints) != (b.effect, &b.rule_ids, &b.constraints) && wrong.is_none() {
                    wrong = Some(format!("{} {} {}: {a:?} and without it {b:?}", job.tenant, job.topic, job.capability));
                }
            });
            prop_assert!(wrong.is_none(), "{}: {}", finding, wrong.unwrap_or_default());
        }
    }
}

#[test]
fn what_is_found_is_true_of_every_job() {
    without_a_rule_that_is_found_every_verdict_stays();
    let found = FOUND.get();
    assert!(found.iter().all(|&count| count > 3), "too few of a kind were found to say anything: {found:?}");
}
