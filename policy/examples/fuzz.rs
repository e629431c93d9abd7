//! Judges random jobs by random policies, with the evaluator and with the naive reference, until so many pairs agree:
//! `cargo run --release -p tidegate-policy --example fuzz -- --pairs 5000000 [--seed N]`. Exits with a panic that shows
//! policy and job where they differ; the seed it prints shows it again.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect must fail"
)]

#[path = "../tests/reference/mod.rs"]
mod reference;

use reference::{compare, draw};
use std::collections::BTreeMap;
use tidegate_policy::Scratch;

/// Jobs judged by one policy.
const JOBS: u64 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let (pairs, seed) = (number("--pairs", 100_000), number("--seed", 1));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let counts: Vec<BTreeMap<String, u64>> = std::thread::scope(|scope| {
        let work = |thread: u64| move || run(pairs.div_ceil(threads), seed + thread * 1_000_000_007);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    for (effect, count) in counts.into_iter().flatten() {
        *total.entry(effect).or_default() += count;
    }
    let sum: u64 = total.values().sum();
    let shares: Vec<String> = total.iter().map(|(effect, count)| format!("{effect} {count}")).collect();
    #[expect(clippy::print_stdout, reason = "the command's result")]
    {
        println!("{sum} pairs of policy and job agree (seed {seed}): {}", shares.join(", "));
    }
}

/// How often each effect came out.
fn run(pairs: u64, first: u64) -> BTreeMap<String, u64> {
    let mut scratch = Scratch::new();
    let mut effects = BTreeMap::new();
    for seed in (first..).take(usize::try_from(pairs.div_ceil(JOBS)).unwrap()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let bundles = draw::bundles(&mut random);
        let snapshot = compare::loaded(&bundles);
        for number in 0..JOBS {
            let job = draw::job(&mut random);
            let effect = compare::agree(&bundles, &snapshot, &job, &mut scratch);
            *effects.entry(effect).or_default() += 1;
            if number == 0 {
                compare::agree_in_detail(&bundles, &snapshot, &job);
            }
        }
    }
    effects
}
