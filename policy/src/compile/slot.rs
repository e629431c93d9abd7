//! What selecting and combining read of a rule for every job, by slot: small, and beside its neighbours in the index.

use super::compared::{Compared, Comparisons};
use super::core::{Core, NONE};
use super::snapshot::Stage;
use crate::effect::Effect;

/// A rule, as far as most jobs look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// In order of evaluation.
    pub(crate) place: u32,
    pub(crate) traits: Traits,
    pub(crate) test: Test,
}

/// What the index cannot tell of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    /// Nothing: it matches.
    Nothing,
    /// How a number of the payload compares.
    Compared(Compared),
    /// More: see its core.
    More,
}

/// What combining asks of a rule, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traits(u8);

/// By the three lowest bits of [`Traits`].
const EFFECTS: [Effect; 5] =
    [Effect::Allow, Effect::AllowWithConstraints, Effect::RequireApproval, Effect::Throttle, Effect::Deny];
/// By the two bits from [`STAGE`] on.
const STAGES: [Stage; 4] = [Stage::Invariants, Stage::Job, Stage::Workflow, Stage::Global];
const EFFECT: u8 = 0b111;
const CONSTRAINS: u8 = 1 << 3;
const STAGE: u32 = 4;

impl Traits {
    /// Those of a grant, which nothing combines.
    pub(crate) const PERMIT: Self = Self(0);

    pub(super) fn of(core: &Core, stage: Stage) -> Self {
        let number = |place: Option<usize>| place.and_then(|place| u8::try_from(place).ok()).unwrap_or(0);
        let effect = number(EFFECTS.iter().position(|effect| *effect == core.effect));
        let stage = number(STAGES.iter().position(|one| *one == stage));
        Self(effect | if core.constrains { CONSTRAINS } else { 0 } | stage << STAGE)
    }

    /// What the rule does.
    #[inline]
    pub(crate) fn effect(self) -> Effect {
        // No other number is ever made.
        EFFECTS.get(usize::from(self.0 & EFFECT)).copied().unwrap_or(Effect::Deny)
    }

    /// It has constraints.
    #[inline]
    pub(crate) fn constrains(self) -> bool {
        self.0 & CONSTRAINS != 0
    }

    /// Where it is heard.
    #[inline]
    pub(crate) fn stage(self) -> Stage {
        STAGES.get(usize::from(self.0 >> STAGE & 0b11)).copied().unwrap_or(Stage::Invariants)
    }
}

impl Slot {
    pub(super) fn of(place: u32, core: &Core, stage: Stage, comparisons: &Comparisons) -> Self {
        let compared = || comparisons.conditions.get(core.condition as usize).copied().flatten();
        let test = match (core.checked, core.condition) {
            (false, NONE) => Test::Nothing,
            (false, _) => compared().map_or(Test::More, Test::Compared),
            (true, _) => Test::More,
        };
        Self { place, traits: Traits::of(core, stage), test }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_give_back_what_went_in_and_a_slot_is_half_a_cache_line() {
        for effect in EFFECTS {
            for stage in STAGES {
                for constrains in [false, true] {
                    let core = Core { effect, constrains, ..Core::PLAIN };
                    let traits = Traits::of(&core, stage);
                    assert_eq!((traits.effect(), traits.stage(), traits.constrains()), (effect, stage, constrains));
                }
            }
        }
        assert!(size_of::<Slot>() <= 32, "{}", size_of::<Slot>());
    }
}
