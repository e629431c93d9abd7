//! The protocol with one part left out: each variant must be found out, by the violation the Python model finds.

use stateright::{Checker, HasDiscoveries, Model};
use tidegate_takeover::model::{BELIEVED_ONCE, NOTHING_LOST, Takeover};
use tidegate_takeover::rules::{Configuration, ReleasedUntil, Rules};

const ONE: &[u8] = &[0];
const BOTH: &[u8] = &[0, 1];

/// Explores until something is violated, and wants it to be this.
fn violates(expected: &str, configuration: Configuration) {
    let whole = Takeover(Configuration { rules: Rules::PROTOCOL, ..configuration.clone() });
    whole.checker().spawn_bfs().join().assert_properties(); // it is the missing part, not the configuration

    let checker = Takeover(configuration).checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let violated: Vec<_> = checker.discoveries().into_keys().collect();
    assert_eq!(violated, [expected], "after {} states", checker.unique_state_count());
}

#[test]
fn the_fences_before_the_barrier() {
    let rules = Rules { fences_before_barrier: false, ..Rules::PROTOCOL };
    violates(BELIEVED_ONCE, Configuration::new(&[BOTH, BOTH], 1).under(rules));
}

#[test]
fn readers_that_honour_fences() {
    let rules = Rules { readers_honour_fences: false, ..Rules::PROTOCOL };
    violates(BELIEVED_ONCE, Configuration::new(&[BOTH, BOTH], 1).under(rules));
}

#[test]
fn fences_for_the_outputs_of_earlier_claims() {
    let rules = Rules { earlier_claims_fenced: false, ..Rules::PROTOCOL };
    violates(BELIEVED_ONCE, Configuration::new(&[ONE, BOTH], 2).under(rules));
}

#[test]
fn released_marks_that_end_at_the_next_claim() {
    let rules = Rules { released_until: ReleasedUntil::Barrier, ..Rules::PROTOCOL };
    violates(NOTHING_LOST, Configuration::new(&[ONE, ONE], 2).under(rules));
}

#[test]
fn a_gap_among_messages_that_voids_the_rest() {
    let rules = Rules { message_gap_voids: false, ..Rules::PROTOCOL };
    violates(NOTHING_LOST, Configuration::new(&[ONE, ONE], 2).losing_messages().under(rules));
}

#[test]
fn a_gap_among_groups_that_voids_the_rest() {
    let rules = Rules { group_gap_voids: false, ..Rules::PROTOCOL };
    violates(NOTHING_LOST, Configuration::new(&[ONE, ONE], 2).losing_groups().under(rules));
}

#[test]
fn the_barrier() {
    let rules = Rules { barrier: false, ..Rules::PROTOCOL };
    violates(BELIEVED_ONCE, Configuration::new(&[BOTH, BOTH, BOTH], 1).under(rules));
}
