//! The state space and what must hold in every state of it.

use stateright::{Model, Property};

use crate::owner::{Owner, Phase, Step, take};
use crate::reader::believed;
use crate::record::{Delivered, Fact};
use crate::rules::Configuration;
use crate::validity::is_claimed_above;

/// The name of the safety property.
pub const BELIEVED_ONCE: &str = "no record is believed twice";
/// The name of the liveness property: checked in the states in which nothing is left to do.
pub const NOTHING_LOST: &str = "no record is lost";

/// Everything there is: the facts log, the output partitions, the owners.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    /// The shard's facts log.
    pub facts: Vec<Fact>,
    /// The output partitions.
    pub outputs: Vec<Vec<Delivered>>,
    /// The owners, by number.
    pub owners: Vec<Owner>,
}

/// One step of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The owner's number.
    pub owner: u8,
    /// What it does.
    pub step: Step,
}

/// Owners that take one shard over from each other.
#[derive(Clone, Debug)]
pub struct Takeover(pub Configuration);

impl Takeover {
    fn no_record_is_believed_twice(&self, state: &State) -> bool {
        let Configuration { sources, rules, .. } = &self.0;
        believed(&state.outputs, *sources, rules).iter().all(|verdicts| verdicts.len() <= 1)
    }

    fn no_record_is_lost(&self, state: &State) -> bool {
        let Configuration { sources, rules, .. } = &self.0;
        let newest = state.owners.iter().filter(|owner| owner.has_taken_over()).max_by_key(|owner| owner.epoch);
        // One that is to take over anew has something left to do.
        let goes_on = |owner: &Owner| {
            rules.claims_again && owner.epoch.is_some_and(|epoch| is_claimed_above(&state.facts, epoch))
        };
        let nothing_left = state.owners.iter().all(Owner::is_quiet)
            && newest.is_some_and(|owner| owner.phase == Phase::Run && owner.known == *sources && !goes_on(owner));
        !nothing_left || believed(&state.outputs, *sources, rules).iter().all(|verdicts| !verdicts.is_empty())
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let width = self.0.width();
        vec![State {
            facts: Vec::new(),
            outputs: vec![Vec::new(); width],
            owners: vec![Owner::new(width); self.0.owners.len()],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, owner) in (0..).zip(&state.owners) {
            actions.extend(owner.steps(&self.0).into_iter().map(|step| Action { owner: number, step }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        take(&mut state, action.owner, action.step, &self.0)?;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BELIEVED_ONCE, Self::no_record_is_believed_twice),
            Property::always(NOTHING_LOST, Self::no_record_is_lost),
        ]
    }
}
