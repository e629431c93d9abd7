//! Times the evaluator at 10, 1,000 and 10,000 rules: `cargo run -p tidegate-policy --example evaluate`.
//!
//! Three shapes: rules spread over tenants and topics as in a real set; the same with a deriver that makes every
//! evaluation parse a 1 KiB payload; and rules that all match, the worst the index can meet.

use std::fmt::Write;
use std::time::Instant;
use tidegate_policy::{Effect, Scratch, Subject, load};

const EVALUATIONS: u32 = 200_000;

fn main() {
    let payload = format!(r#"{{"to": "alice", "amount": 12.5, "note": "{}"}}"#, "x".repeat(980));
    let mut lines = String::new();
    for rules in [10, 1_000, 10_000] {
        let spread = time(&realistic(rules, false), &payload);
        let parsed = time(&realistic(rules, true), &payload);
        let matching = time(&all_matching(rules), &payload);
        let _ = writeln!(
            lines,
            "{rules:>6} rules: {spread:>6.0} ns spread, {parsed:>6.0} ns spread with a 1 KiB payload parsed, \
             {matching:>6.0} ns all matching"
        );
    }
    #[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
    {
        print!("{lines}");
    }
}

/// Nanoseconds an evaluation.
fn time(text: &str, payload: &str) -> f64 {
    let snapshot = match load([("bench.yaml", text)], None) {
        Ok(snapshot) => snapshot,
        Err(refused) => {
            #[expect(clippy::panic, reason = "the policy is built above; anything else is a bug of this program")]
            {
                panic!("{refused}");
            }
        }
    };
    let mut scratch = Scratch::new();
    let mut subject = Subject::new("tenant-3", "job.area-3.act-1", "act-1");
    subject.actor_id = Some("agent-7");
    subject.actor_type = Some("agent");
    subject.labels = &[("env", "prod"), ("zone", "eu")];
    subject.payload = payload.as_bytes();
    let mut run =
        |count: u32| (0..count).filter(|_| snapshot.evaluate(&subject, &mut scratch).effect == Effect::Deny).count();
    run(EVALUATIONS / 10);
    #[expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is; the crate itself has no clock")]
    let start = Instant::now();
    let denied = run(EVALUATIONS);
    let spent = start.elapsed();
    assert!(denied == 0 || denied == EVALUATIONS as usize, "one subject has one verdict");
    spent.as_nanos() as f64 / f64::from(EVALUATIONS)
}

fn realistic(rules: usize, payload: bool) -> String {
    let mut text = "id: bench\nrevision: 1\ncombine: first_match\n".to_owned();
    if payload {
        text.push_str("derivers:\n  - { tag: large, topics: [job.>], field: /amount, test: gt, value: 100 }\n");
        text.push_str("  - { tag: stranger, topics: [job.>], field: /to, test: not_in, value: [alice, bob] }\n");
    }
    text.push_str("rules:\n");
    if payload {
        text.push_str("  - { id: floor, invariant: true, match: { risk_tags: [large, stranger] }, decision: deny }\n");
    }
    for at in 0..rules {
        let (tenant, area, act) = (at % 97, at % 31, at % 13);
        let decision = if at % 3 == 0 { "deny" } else { "allow" };
        let extra = match at % 4 {
            0 => ", labels: { env: prod }",
            1 => ", actor_types: [agent]",
            2 => ", capabilities: [act-1, act-2]",
            _ => "",
        };
        let _ = writeln!(
            text,
            "  - {{ id: r{at}, match: {{ tenants: [tenant-{tenant}], topics: [job.area-{area}.*, job.other-{at}.act-{act}]{extra} }}, \
             decision: {decision} }}"
        );
    }
    text
}

fn all_matching(rules: usize) -> String {
    let mut text = "id: bench\nrevision: 1\ncombine: most_restrictive\nrules:\n".to_owned();
    for at in 0..rules {
        let _ =
            writeln!(text, "  - {{ id: r{at}, match: {{ topics: [job.>], actor_types: [agent] }}, decision: allow }}");
    }
    text
}
