//! The hammer, small enough for every test run; `cargo run --release -p tidegate-limits-hammer` is the large one.

use tidegate_limits_hammer::{Planted, Settings, run};

fn settings(seed: u64) -> Settings {
    Settings { seed, spends: 60_000, kernels: 8, limits: 2, skew: 2_000_000, planted: None }
}

#[test]
fn no_window_is_exceeded_through_kills_of_kernels_and_limits() {
    for seed in 1..=3 {
        let summary = run(settings(seed)).unwrap();
        assert!(summary.takeovers.0 > 0 && summary.recalls > 0 && summary.filled >= 10, "{summary:?}");
    }
}

#[test]
fn nor_when_clocks_are_off_by_far_more_than_is_allowed_for() {
    for seed in 11..=13 {
        run(Settings { skew: 20_000_000, spends: 20_000, ..settings(seed) }).unwrap();
    }
}

#[test]
fn planted_bugs_are_found() {
    for planted in [Planted::GrantTwice, Planted::SettleTwice, Planted::WindowShort] {
        let found = (1..=10).find_map(|seed| run(Settings { planted: Some(planted), ..settings(seed) }).err());
        assert!(found.is_some_and(|found| found.contains("the limit is")), "{planted:?}");
    }
}
