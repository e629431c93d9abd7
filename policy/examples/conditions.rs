//! Conditions: how long each shape takes, and millions of comparisons with the `cel` crate.
//!
//! `cargo run --release -p tidegate-policy --example conditions -- time` and `… -- agree 2000000`.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is; the crate itself has no clock")]

#[path = "../tests/conditions/generate.rs"]
mod generate;

use generate::{Dice, Writer, payload, types, with_facts};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tidegate_policy::when::{Facts, compile, interpret};

/// Payloads tried with each condition.
const PAYLOADS: u64 = 20;

const SHAPES: &[&str] = &[
    "job.amount > params.limit",
    "job.amount > 2 && job.name == 'ab'",
    "has(job.amount) && job.amount > params.limit",
    "job.name in ['a', 'b', 'ab']",
    "job.name.startsWith('a')",
    "job.name.lowerAscii().endsWith('b')",
    "job.name.matches('^a[b-z]+$')",
    "job.labels.env == 'a'",
    "'pii' in job.risk_tags",
    "job.count * 2 + 1 > 5",
    "job.due < now - duration('1h')",
    "job.items.exists(i, i.qty > 2)",
    "job.items.all(i, i.price >= 0 && i.sku != '')",
    "job.items.filter(i, i.qty > 2).size() == 1",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agree", count] => agree(count.parse().unwrap_or(1_000_000)),
        _ => time(),
    }
}

fn agree(wanted: u64) {
    let types = types();
    let (mut compared, mut differ, mut seed) = (0_u64, 0_u64, 1_000_000_u64);
    let mut results = [0_u64; 3];
    while compared < wanted {
        seed += 1;
        let mut dice = Dice::new(seed);
        let text = Writer::new(&mut dice, false).test(3);
        let (Ok(compiled), Ok(reference)) = (compile(&text, &types), interpret(&text, &types)) else { continue };
        for _ in 0..PAYLOADS {
            let payload = payload(&mut dice, false);
            let (ours, theirs) = with_facts(&payload, |facts| (compiled.holds(facts), reference.holds(facts)));
            compared += 1;
            if let Some(count) = results.get_mut(ours as usize) {
                *count += 1;
            }
            if ours != theirs {
                differ += 1;
                println!("{ours:?}, the crate says {theirs:?}: seed {seed}: {text}\non {payload}");
            }
        }
    }
    println!("{compared} compared ({results:?} true, false, error), {differ} differ");
    if differ > 0 {
        std::process::exit(1);
    }
}

/// A payload of 13 fields, about 600 bytes; the tape is made before.
fn time() {
    const PAYLOAD: &str = r#"{"amount": 5.5, "fee": 2, "count": 7, "name": "ab", "note": "bc", "urgent": true,
        "due": "2026-03-04T05:06:07.890Z", "to": {"iban": "ab", "rank": 2},
        "items": [{"sku": "a", "qty": 2, "price": 10, "on": true, "tags": ["x"]}, {"sku": "b", "qty": 5, "price": 0.5, "on": false, "tags": []}],
        "codes": [3, 5, 8], "sums": [1.5], "words": ["a", "ab"], "rates": {"a": 1, "b": 1.25}}"#;
    let types = types();
    with_facts(PAYLOAD, |facts| {
        println!("{:<50} {:>10} {:>10} {:>10}", "condition", "ns", "cel ns", "compile ns");
        for text in SHAPES {
            let (Ok(compiled), Ok(reference)) = (compile(text, &types), interpret(text, &types)) else {
                println!("{text:<50} refused");
                continue;
            };
            let ours = each(facts, |facts| black_box(compiled.holds(facts)));
            let theirs = each(facts, |facts| black_box(reference.holds(facts)));
            let load = each(facts, |_| black_box(compile(text, &types).is_ok()));
            println!("{text:<50} {ours:>10.1} {theirs:>10.0} {load:>10.0}");
        }
    });
}

/// Nanoseconds of the fastest of several rounds.
fn each<R>(facts: &Facts<'_>, run: impl Fn(&Facts<'_>) -> R) -> f64 {
    let mut best = f64::MAX;
    let mut count = 1_u32;
    let until = Instant::now() + Duration::from_millis(120);
    while Instant::now() < until {
        let start = Instant::now();
        (0..count).for_each(|_| drop(black_box(run(black_box(facts)))));
        let spent = start.elapsed();
        if spent < Duration::from_micros(200) {
            count = count.saturating_mul(2);
        } else {
            best = best.min(spent.as_nanos() as f64 / f64::from(count));
        }
    }
    best
}
