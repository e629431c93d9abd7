//! The indexed evaluator against the naive one, on random policies and jobs. `cargo run --release -p tidegate-policy
//! --example fuzz -- --pairs 5000000` does the same at length.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect must fail"
)]

mod reference;

use reference::{compare, draw};
use serde_json::json;
use tidegate_policy::Scratch;

#[test]
fn the_index_and_the_naive_evaluator_agree() {
    let mut scratch = Scratch::new();
    for seed in 0..1_500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let bundles = draw::bundles(&mut random);
        let snapshot = compare::loaded(&bundles);
        for number in 0..30 {
            let job = draw::job(&mut random);
            compare::agree(&bundles, &snapshot, &job, &mut scratch);
            if number < 5 {
                compare::agree_in_detail(&bundles, &snapshot, &job);
            }
        }
    }
}

#[test]
fn they_agree_on_ten_thousand_rules() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut pool = Vec::new();
    let mut bundle = None;
    while pool.len() < 400 {
        for drawn in draw::bundles(&mut random) {
            if drawn["topic_syntax"] == "dots" && drawn["derivers"].is_array() {
                pool.extend(drawn["rules"].as_array().unwrap().iter().cloned());
                bundle = Some(drawn);
            }
        }
    }
    let mut bundle = bundle.unwrap();
    // Rare tenants make most rules miss, so that whole words and summary words are skipped.
    let rules = (0..10_000).map(|at| {
        let mut rule = pool[at % pool.len()].clone();
        rule["id"] = format!("many-{at}").into();
        if at % 97 != 0 {
            rule["match"]["tenants"] = json!([format!("tenant-{}", at / 10)]);
        }
        rule
    });
    bundle["rules"] = rules.collect();
    let bundles = [bundle];
    let snapshot = compare::loaded(&bundles);
    let mut scratch = Scratch::new();
    for number in 0..60 {
        let mut job = draw::job(&mut random);
        if number % 2 == 0 {
            job.tenant = format!("tenant-{}", number * 16);
        }
        compare::agree(&bundles, &snapshot, &job, &mut scratch);
    }
}
