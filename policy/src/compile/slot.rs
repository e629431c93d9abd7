//! What selecting and combining read of a rule for every job, by slot: small, and beside its neighbours in the index.

use super::compared::{Compared, Comparisons, Limit};
use super::core::{Core, NONE};
use super::snapshot::Stage;
use crate::effect::Effect;
use crate::when::Relation;

/// A rule, as far as most jobs look at it, in 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// In order of evaluation.
    pub(crate) place: u32,
    pub(crate) traits: Traits,
    kind: Kind,
    /// Of a comparison.
    field: u16,
    /// Of a comparison: the bits of its limit.
    limit: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nothing,
    Int(Relation),
    Float(Relation),
    More,
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
        let (kind, field, limit) = match (core.checked, core.condition) {
            (false, NONE) => (Kind::Nothing, 0, 0),
            (false, _) => match compared() {
                Some(Compared { field, relation, limit: Limit::Int(int) }) => {
                    (Kind::Int(relation), field, int.cast_unsigned())
                }
                Some(Compared { field, relation, limit: Limit::Float(float) }) => {
                    (Kind::Float(relation), field, float.to_bits())
                }
                None => (Kind::More, 0, 0),
            },
            (true, _) => (Kind::More, 0, 0),
        };
        Self { place, traits: Traits::of(core, stage), kind, field, limit }
    }

    #[inline]
    pub(crate) fn test(&self) -> Test {
        let compared = |relation, limit| Test::Compared(Compared { field: self.field, relation, limit });
        match self.kind {
            Kind::Nothing => Test::Nothing,
            Kind::Int(relation) => compared(relation, Limit::Int(self.limit.cast_signed())),
            Kind::Float(relation) => compared(relation, Limit::Float(f64::from_bits(self.limit))),
            Kind::More => Test::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_give_back_what_went_in_and_four_slots_are_a_cache_line() {
        for effect in EFFECTS {
            for stage in STAGES {
                for constrains in [false, true] {
                    let core = Core { effect, constrains, ..Core::PLAIN };
                    let traits = Traits::of(&core, stage);
                    assert_eq!((traits.effect(), traits.stage(), traits.constrains()), (effect, stage, constrains));
                }
            }
        }
        assert_eq!(size_of::<Slot>(), 16);
    }
}
