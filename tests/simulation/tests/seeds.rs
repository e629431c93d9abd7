//! Fresh seeds are green, one seed gives one trace, and each planted bug is found.

use std::collections::BTreeMap;
use std::thread::available_parallelism;

use tidegate_simulation::ledger::verdicts::Invariant;
use tidegate_simulation::plants::{Bug, bugs, bugs_of_limits, right};
use tidegate_simulation::scenario::{Scenario, run};
use tidegate_simulation::seeds::{Outcome, guarded, run_many};

const SEEDS: u64 = 300;

/// What must have been there to be judged in so many seeds, and how often at least.
const TRIED: [(&str, u64); 10] = [
    ("records of control inputs lost and given up", SEEDS / 6),
    ("requests for limits lost and given up", SEEDS / 10),
    ("requests for limits asked again", SEEDS / 10),
    ("held jobs released", SEEDS / 2),
    ("leases for whoever's turn it was", SEEDS),
    ("leases of a key that others have", SEEDS / 2),
    ("leases that ask for labels", SEEDS / 2),
    ("runs in which everything is written twice", SEEDS / 20),
    ("lives of workers with wrong clocks", SEEDS / 6),
    ("workers that rose above an earlier life", SEEDS / 6),
];

fn outcomes(base: u64, count: u64, bug: Bug, each: impl FnMut(Outcome) -> bool) {
    let threads = available_parallelism().map_or(1, usize::from);
    run_many(base, count, threads, &|seed| run(seed, bug, false), each);
}

#[test]
fn three_hundred_seeds_keep_every_promise() {
    // Fixed, so that a change is judged by the same seeds each time; `make sim` draws fresh ones.
    let base = 2_026;
    let mut failed = Vec::new();
    let (mut takeovers, mut alarms) = (0, 0);
    let mut tried: BTreeMap<&str, u64> = BTreeMap::new();
    outcomes(base, SEEDS, right(), |outcome| {
        takeovers += outcome.takeovers;
        alarms += outcome.ended.get("input_lost").copied().unwrap_or(0);
        outcome.tried.iter().for_each(|(what, times)| *tried.entry(what).or_default() += times);
        if !outcome.passed() {
            let first = outcome.violations.first().map(ToString::to_string).unwrap_or_default();
            failed.push(format!("make sim SEED={}: {first}", outcome.seed));
        }
        true
    });
    assert!(failed.is_empty(), "base {base}, {} of {SEEDS} seeds failed:\n{}", failed.len(), failed.join("\n"));
    assert!(takeovers > SEEDS * 5, "{takeovers} takeovers in {SEEDS} seeds: the faults do nothing");
    assert!(alarms > SEEDS / 20, "{alarms} alarms of lost inputs in {SEEDS} seeds");
    for (what, least) in TRIED {
        let times = tried.get(what).copied().unwrap_or(0);
        assert!(times >= least, "{what}: {times} in {SEEDS} seeds, {least} expected: nothing tries it; all: {tried:?}");
    }
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let base = fastrand::u64(..) >> 24;
    let seeds: Vec<u64> = (0..1_000).map(|number| tidegate_simulation::seeds::seed_of(base, number)).collect();
    let two_of = |scenario| seeds.iter().copied().filter(move |seed| Scenario::of(*seed) == scenario).take(2);
    let two_of_each: Vec<u64> = Scenario::ALL.into_iter().flat_map(two_of).collect();
    assert_eq!(two_of_each.len(), 2 * Scenario::ALL.len());
    for seed in two_of_each {
        let (first, again) = (run(seed, right(), true), run(seed, right(), false));
        assert_eq!((first.hash, first.events, first.steps), (again.hash, again.events, again.steps), "seed {seed}");
        assert!(first.events > 300 && first.lines.len() as u64 == first.events, "seed {seed}: {} events", first.events);
        let same_scenario = seed ^ 8;
        let other = run(same_scenario, right(), false);
        assert_ne!(first.hash, other.hash, "seeds {seed} and {same_scenario}");
    }
}

/// A base is fixed here: the test says that the bug can be found, not that luck holds every time.
fn must_find(name: &str) {
    let found = bugs().into_iter().find(|bug| bug.name == name);
    assert!(found.is_some(), "no planted bug `{name}`");
    let bug = found.unwrap_or_else(right);
    let (mut tried, mut found) = (0, false);
    let mut others: BTreeMap<Invariant, String> = BTreeMap::new();
    outcomes(20_261_123, SEEDS, bug, |outcome| {
        tried += 1;
        for violation in &outcome.violations {
            found |= bug.breaks.contains(&violation.of);
            others.entry(violation.of).or_insert_with(|| format!("seed {}: {violation}", outcome.seed));
        }
        !found
    });
    let expected = bug.breaks;
    assert!(found, "`{name}` is planted, and in {tried} seeds none of {expected:?} is broken, only: {others:#?}");
}

#[test]
fn what_a_planted_bug_breaks_is_named_and_no_panic_counts_as_finding_it() {
    for Bug { name, breaks, .. } in bugs().into_iter().chain(bugs_of_limits()) {
        assert!(!breaks.is_empty() && !breaks.contains(&Invariant::Panic), "`{name}` breaks {breaks:?}");
    }
    assert!(right().breaks.is_empty());
    let outcome = guarded(7, &|_| panic!("the judge itself"));
    let of: Vec<Invariant> = outcome.violations.iter().map(|violation| violation.of).collect();
    assert_eq!(of, [Invariant::Panic]);
}

macro_rules! planted {
    ($($test:ident: $name:literal;)*) => {
        $(#[test] fn $test() { must_find($name); })*

        #[test]
        fn every_planted_bug_has_a_test() {
            let tested: Vec<&str> = vec![$($name),*];
            let all: Vec<&str> = bugs().iter().map(|bug| bug.name).collect();
            assert_eq!(tested, all);
        }
    };
}

planted! {
    message_before_facts_is_found: "message before facts";
    deciding_twice_is_found: "decide twice";
    no_fences_is_found: "no fences";
    barrier_before_fences_is_found: "barrier before fences";
    released_believed_too_long_is_found: "released believed too long";
    a_gap_among_groups_is_found: "a gap among groups is not void";
    a_gap_among_messages_is_found: "a gap among messages is believed";
    a_snapshot_of_memory_is_found: "a snapshot of memory";
    a_place_without_its_ranges_is_found: "a place without its ranges";
    believing_what_is_not_signed_is_found: "what is not signed is believed";
    expiring_before_reading_is_found: "expire before reading";
    passing_over_what_is_lost_is_found: "what is lost is passed over";
    beginning_at_the_end_is_found: "reading begins at the end";
    taking_a_duplicate_as_new_is_found: "a duplicate is taken as new";
    failing_open_is_found: "fail open";
    accepting_a_stale_token_is_found: "accept a stale token";
    approving_for_another_input_is_found: "approve for another input";
    a_ticket_not_checked_is_found: "ticket not checked";
    a_child_of_a_revoked_parent_is_found: "a child of a revoked parent";
    a_cancel_lost_at_takeover_is_found: "a cancel lost at takeover";
    a_retry_that_forgets_strikes_is_found: "a retry that forgets strikes";
    a_share_ignored_is_found: "a tenant's share ignored";
    a_spend_lost_at_takeover_is_found: "a spend lost at takeover";
    running_by_an_expired_ticket_is_found: "an expired ticket runs";
    a_worker_that_looks_at_no_tickets_time_is_found: "a worker that looks at no ticket's time";
    a_redrive_that_is_no_other_life_is_found: "a redrive is no other life";
    ignoring_an_order_is_found: "an order that is ignored";
    ignoring_a_selector_is_found: "a selector that is ignored";
    serving_a_tenant_out_of_turn_is_found: "a tenant served out of turn";
    relying_on_a_workers_clock_is_found: "a worker that relies on its clock";
    not_hearing_of_progress_is_found: "progress that nobody hears of";
}
