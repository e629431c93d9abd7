//! What `stage` does otherwise than DESIGN says, explored like the protocol itself: docs/decisions/0004 (its own epoch) and
//! docs/decisions/0007 (a claimant that vanishes).

use stateright::{Checker, HasDiscoveries, Model};
use tidegate_takeover::model::{NOTHING_LOST, Takeover};
use tidegate_takeover::rules::{Configuration, Rules};

const ONE: &[u8] = &[0];
const BOTH: &[u8] = &[0, 1];

fn states_that_hold(configuration: Configuration) -> usize {
    let checker = Takeover(configuration).checker().spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn to_ask_for_the_barrier_of_its_own_epoch_changes_nothing_for_right_owners() {
    let configurations = [
        Configuration::new(&[BOTH, BOTH], 2),
        Configuration::new(&[ONE, BOTH], 2),
        Configuration::new(&[ONE, ONE, ONE], 1),
        Configuration::new(&[BOTH, BOTH], 2).losing_groups().losing_messages(),
    ];
    for configuration in configurations {
        let own = Rules { own_epoch: true, ..Rules::PROTOCOL };
        let (as_designed, as_built) = (configuration.clone(), configuration.under(own));
        assert_eq!(states_that_hold(as_designed), states_that_hold(as_built.clone()), "{as_built:?}");
    }
}

#[test]
fn a_claimant_that_vanishes_takes_messages_with_it_unless_the_shard_is_taken_over_anew() {
    let vanishing = Configuration::new(&[ONE, ONE], 2).with_claimants_that_vanish();
    let found = Takeover(vanishing.clone()).checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let violated: Vec<_> = found.discoveries().into_keys().collect();
    assert_eq!(violated, [NOTHING_LOST], "it fenced what the live owner writes to, and nobody emits it again");
    assert!(states_that_hold(vanishing.under(Rules::CODE)) > 1_000);
}

#[test]
fn with_a_third_owner_that_does_nothing_is_lost() {
    let three = Configuration::new(&[BOTH, ONE, BOTH], 1).with_claimants_that_vanish().under(Rules::CODE);
    assert!(states_that_hold(three) > 100_000);
}
