//! Every configuration under which the protocol must hold, explored to its end.
//!
//! The number of states is the one the Python model counts for the same configuration. It pins the rules: a step that is
//! missing, or one too many, changes it.

use stateright::{Checker, Model};
use tidegate_takeover::model::Takeover;
use tidegate_takeover::rules::Configuration;

const ONE: &[u8] = &[0];
const BOTH: &[u8] = &[0, 1];

fn holds(configuration: Configuration, states: usize) {
    let checker = Takeover(configuration).checker().spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states, "states explored, beside what the Python model counts");
}

#[test]
fn with_two_owners_and_two_records() {
    holds(Configuration::new(&[BOTH, BOTH], 2), 10_590);
}

#[test]
fn when_the_second_owner_knows_fewer_outputs() {
    holds(Configuration::new(&[BOTH, ONE], 2), 11_000);
}

#[test]
fn when_the_second_owner_knows_more_outputs() {
    holds(Configuration::new(&[ONE, BOTH], 2), 8_832);
}

#[test]
fn when_groups_may_be_lost() {
    holds(Configuration::new(&[ONE, ONE], 2).losing_groups(), 11_403);
}

#[test]
fn with_three_owners_and_one_record() {
    holds(Configuration::new(&[ONE, ONE, ONE], 1), 110_650);
}

#[test]
fn with_three_owners_and_two_outputs() {
    holds(Configuration::new(&[BOTH, BOTH, BOTH], 1), 381_041);
}

#[test]
fn with_three_owners_when_groups_may_be_lost() {
    holds(Configuration::new(&[ONE, ONE, ONE], 1).losing_groups(), 133_975);
}

#[test]
fn when_messages_may_be_lost() {
    holds(Configuration::new(&[ONE, ONE], 2).losing_messages(), 20_179);
}

#[test]
fn with_two_outputs_when_anything_may_be_lost() {
    holds(Configuration::new(&[BOTH, BOTH], 2).losing_groups().losing_messages(), 33_380);
}

#[test]
fn with_three_owners_that_differ_when_anything_may_be_lost() {
    holds(Configuration::new(&[BOTH, ONE, BOTH], 1).losing_groups().losing_messages(), 684_332);
}
