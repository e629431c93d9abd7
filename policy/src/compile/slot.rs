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
    /// [`NOTHING`], [`MORE`], or a comparison: [`INT`] or [`FLOAT`] and the place in [`RELATIONS`].
    kind: u8,
    /// Of a comparison.
    field: u16,
    /// Of a comparison: the bits of its limit.
    limit: u64,
}

const NOTHING: u8 = 0;
const MORE: u8 = 1;
const INT: u8 = 0x10;
const FLOAT: u8 = 0x20;
const RELATIONS: [Relation; 6] = [
    Relation::Equal,
    Relation::NotEqual,
    Relation::Less,
    Relation::LessOrEqual,
    Relation::Greater,
    Relation::GreaterOrEqual,
];

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
            (false, NONE) => (NOTHING, 0, 0),
            (false, _) => compared().and_then(packed).unwrap_or((MORE, 0, 0)),
            (true, _) => (MORE, 0, 0),
        };
        Self { place, traits: Traits::of(core, stage), kind, field, limit }
    }

    #[inline]
    pub(crate) fn test(&self) -> Test {
        let relation = RELATIONS.get(usize::from(self.kind & 0xf)).copied();
        let limit = match (self.kind & 0xf0, relation) {
            (INT, Some(_)) => Limit::Int(self.limit.cast_signed()),
            (FLOAT, Some(_)) => Limit::Float(f64::from_bits(self.limit)),
            _ => return if self.kind == NOTHING { Test::Nothing } else { Test::More },
        };
        relation.map_or(Test::More, |relation| Test::Compared(Compared { field: self.field, relation, limit }))
    }
}

/// Kind, field and limit of a comparison.
fn packed(Compared { field, relation, limit }: Compared) -> Option<(u8, u16, u64)> {
    let place = u8::try_from(RELATIONS.iter().position(|one| *one == relation)?).ok()?;
    Some(match limit {
        Limit::Int(int) => (INT | place, field, int.cast_unsigned()),
        Limit::Float(float) => (FLOAT | place, field, float.to_bits()),
    })
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
        for relation in RELATIONS {
            for limit in [Limit::Int(-7), Limit::Int(i64::MAX), Limit::Float(0.5)] {
                let comparisons =
                    Comparisons { conditions: vec![Some(Compared { field: 9, relation, limit })], fields: Vec::new() };
                let core = Core { condition: 0, ..Core::PLAIN };
                let Test::Compared(back) = Slot::of(3, &core, Stage::Global, &comparisons).test() else {
                    panic!("{relation:?} {limit:?}")
                };
                assert_eq!(format!("{back:?}"), format!("{:?}", Compared { field: 9, relation, limit }));
            }
        }
        let none = Comparisons::default();
        assert!(matches!(Slot::of(3, &Core::PLAIN, Stage::Job, &none).test(), Test::Nothing));
        assert!(matches!(Slot::of(3, &Core { checked: true, ..Core::PLAIN }, Stage::Job, &none).test(), Test::More));
    }
}
