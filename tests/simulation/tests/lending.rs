//! The scenario of limits: fixed seeds are green, and each planted bug is found.

use std::thread::available_parallelism;

use tidegate_simulation::lending;
use tidegate_simulation::plants::{Bug, LimitsPlant, bugs_of_limits, right};
use tidegate_simulation::seeds::{Outcome, run_many};

const SEEDS: u64 = 60;

fn outcomes(base: u64, count: u64, bug: Bug, each: impl FnMut(Outcome) -> bool) {
    let threads = available_parallelism().map_or(1, usize::from);
    run_many(base, count, threads, &|seed| lending::scenario::run(seed, bug.rules, bug.limits, false), each);
}

#[test]
fn no_window_is_exceeded_and_every_job_gets_its_verdict() {
    let (mut failed, mut takeovers) = (Vec::new(), 0);
    outcomes(2_026, SEEDS, right(), |outcome| {
        takeovers += outcome.takeovers;
        if let Some(first) = outcome.violations.first() {
            failed.push(format!("seed {}: {first}", outcome.seed));
        }
        true
    });
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed:\n{}", failed.len(), failed.join("\n"));
    assert!(takeovers > SEEDS * 8, "{takeovers} takeovers in {SEEDS} seeds: the faults do nothing");
}

#[test]
fn every_planted_bug_is_found_as_a_window_that_is_exceeded() {
    for bug in bugs_of_limits() {
        let mut found = None;
        outcomes(20_261_123, 5 * SEEDS, bug, |outcome| {
            // What is given back too early shows before any window is full.
            let early = bug.limits == LimitsPlant::RedriveUnsettled;
            let exceeded = |of: &&tidegate_simulation::ledger::verdicts::Violation| {
                of.what.contains("but the limit is")
                    || (early && of.what.contains("what an earlier life took is not settled"))
            };
            found = found.take().or_else(|| outcome.violations.iter().find(exceeded).map(ToString::to_string));
            found.is_none()
        });
        assert!(found.is_some(), "`{}` is planted, and {} seeds are green", bug.name, 5 * SEEDS);
    }
}
