//! What selecting and combining read of a rule for every job, by slot: small, and beside its neighbours in the index.

use super::cells::MIXED;
use super::compared::{Compared, Comparisons, Limit};
use super::core::{Core, NONE};
use super::snapshot::Stage;
use crate::effect::Effect;
use crate::when::Relation;

/// A rule, as far as most jobs look at it, in 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Any of these signals is enough.
    pub(crate) wanted: u64,
    /// What the number of `field` is held against.
    limit: i64,
    /// In order of evaluation.
    pub(crate) place: u32,
    /// Place in the job's numbers; 0 where nothing is compared, which stands for a number that passes.
    pub(crate) field: u16,
    test: u8,
    pub(crate) traits: Traits,
}

/// It must be the limit, and not at least the limit.
const EXACT: u8 = 1;
/// It must be otherwise.
const NEGATED: u8 = 1 << 1;
/// More than a comparison: see its core.
const MORE: u8 = 1 << 2;

/// What combining asks of a rule, in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traits(u8);

/// By the three lowest bits of [`Traits`]; plainly allowing is 0.
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
        effect_of((self.0 & EFFECT).into())
    }

    /// It plainly allows.
    #[inline]
    pub(crate) fn allows(self) -> bool {
        self.0 & EFFECT == 0
    }

    /// It has constraints.
    #[inline]
    pub(crate) fn constrains(self) -> bool {
        self.0 & CONSTRAINS != 0
    }

    /// These traits as a member of a [`TraitSet`].
    #[inline]
    pub(crate) fn bit(self) -> u64 {
        1 << self.0
    }
}

#[inline]
fn effect_of(number: u32) -> Effect {
    // No other number is ever made.
    EFFECTS.get(number as usize).copied().unwrap_or(Effect::Deny)
}

/// A set of traits: sixteen bits a stage, eight without constraints and eight with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraitSet(pub(crate) u64);

impl TraitSet {
    /// All traits of a stage.
    pub(crate) fn of_stage(stage: Stage) -> Self {
        Self(0xffff << (16 * stage as u32))
    }

    /// All traits of an effect.
    pub(crate) fn of_effect(effect: Effect) -> Self {
        let number = EFFECTS.iter().position(|one| *one == effect).unwrap_or(0);
        Self(0x0101_0101_0101_0101 << number)
    }

    /// All traits with constraints.
    pub(crate) const CONSTRAINING: Self = Self(0xff00_ff00_ff00_ff00);

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline]
    pub(crate) fn holds(self, traits: Traits) -> bool {
        self.0 & traits.bit() != 0
    }

    /// The most restrictive effect in it.
    pub(crate) fn most(self) -> Option<Effect> {
        let folded = self.0 | self.0 >> 32;
        let folded = folded | folded >> 16;
        let effects = (folded | folded >> 8) & 0xff;
        effects.checked_ilog2().map(effect_of)
    }
}

impl Slot {
    /// Waiting for nothing, which its index has to say.
    pub(super) fn of(place: u32, core: &Core, stage: Stage, comparisons: &Comparisons) -> Self {
        let compared = || comparisons.conditions.get(core.condition as usize).copied().flatten();
        let (test, field, limit) = match (core.checked, core.condition) {
            (false, NONE) => (0, 0, i64::MIN),
            (false, _) => compared().map_or((MORE, 0, 0), bounded),
            (true, _) => (MORE, 0, 0),
        };
        Self { wanted: 0, limit, place, field, test, traits: Traits::of(core, stage) }
    }

    /// The same, waiting for any of these signals.
    pub(super) fn waiting_for(self, wanted: u64) -> Self {
        Self { wanted, ..self }
    }

    /// The number it compares, as [`Run::field`](super::Run::field).
    pub(super) fn compares(&self) -> u16 {
        if self.has_more() { MIXED } else { self.field }
    }

    /// Whether there is more to it than how a number compares.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.test & MORE != 0
    }

    /// Whether the number of its field passes.
    #[inline]
    pub(crate) fn passes(&self, number: i64) -> bool {
        let held = (number >= self.limit) & ((self.test & EXACT == 0) | (number == self.limit));
        held ^ (self.test & NEGATED != 0)
    }
}

/// Kind, field and limit of a comparison of whole numbers.
fn bounded(Compared { field, relation, limit }: Compared) -> (u8, u16, i64) {
    let (below, whole) = match limit {
        Limit::Int(int) => (i128::from(int), true),
        // Saturates, and is beyond all numbers then.
        #[expect(clippy::cast_possible_truncation, reason = "a float that large is beyond 64 bits anyway")]
        Limit::Float(float) => (float.floor() as i128, float.fract() == 0.0),
    };
    let above = below.saturating_add(1);
    let at_least = if whole { below } else { above };
    let (from, negated) = match relation {
        Relation::GreaterOrEqual => (at_least, false),
        Relation::Less => (at_least, true),
        Relation::Greater => (above, false),
        Relation::LessOrEqual => (above, true),
        Relation::Equal | Relation::NotEqual => {
            let negated = if relation == Relation::NotEqual { NEGATED } else { 0 };
            return match i64::try_from(below).ok().filter(|_| whole) {
                Some(limit) => (EXACT | negated, field, limit),
                // Nothing is equal to it.
                None => (negated ^ NEGATED, field, i64::MIN),
            };
        }
    };
    match i64::try_from(from) {
        Ok(limit) => (if negated { NEGATED } else { 0 }, field, limit),
        // All numbers are at least it, or none is.
        Err(_) => (if negated == (from < 0) { NEGATED } else { 0 }, field, i64::MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Found;

    #[test]
    fn traits_give_back_what_went_in_and_sets_of_them_know_the_most_restrictive() {
        for (at, effect) in EFFECTS.into_iter().enumerate() {
            for stage in STAGES {
                for constrains in [false, true] {
                    let traits = Traits::of(&Core { effect, constrains, ..Core::PLAIN }, stage);
                    assert_eq!((traits.effect(), traits.constrains()), (effect, constrains));
                    assert_eq!(traits.allows(), effect == Effect::Allow);
                    let set = TraitSet(traits.bit());
                    assert_eq!(set.most(), Some(effect));
                    assert_eq!(TraitSet::of_stage(stage).and(TraitSet::of_effect(effect)).and(set), set);
                    assert_eq!(TraitSet::CONSTRAINING.holds(traits), constrains);
                    let less = Traits::of(&Core { effect: EFFECTS[at / 2], ..Core::PLAIN }, Stage::Job);
                    assert_eq!(set.or(TraitSet(less.bit())).most(), Some(effect));
                    assert!(set.without(TraitSet::of_stage(stage)).is_empty());
                }
            }
        }
        assert_eq!(TraitSet::default().most(), None);
        assert_eq!(size_of::<Slot>(), 24);
    }

    #[test]
    fn a_whole_number_passes_exactly_where_it_compares_so() {
        let relations = [
            Relation::Equal,
            Relation::NotEqual,
            Relation::Less,
            Relation::LessOrEqual,
            Relation::Greater,
            Relation::GreaterOrEqual,
        ];
        let ints = [i64::MIN, i64::MIN + 1, -8, -7, -1, 0, 1, 7, 8, i64::MAX - 1, i64::MAX];
        let floats =
            [0.5, -0.5, -7.0, 7.0, 7.5, -1e30, 1e30, f64::MAX, 9.223_372_036_854_775e18, -9.223_372_036_854_776e18];
        let limits = ints.into_iter().map(Limit::Int).chain(floats.into_iter().map(Limit::Float));
        for limit in limits {
            for relation in relations {
                let comparisons =
                    Comparisons { conditions: vec![Some(Compared { field: 9, relation, limit })], fields: Vec::new() };
                let core = Core { condition: 0, ..Core::PLAIN };
                let slot = Slot::of(3, &core, Stage::Global, &comparisons);
                assert_eq!((slot.compares(), slot.has_more()), (9, false));
                for number in ints {
                    let wanted = limit.order_of(Found::Small(number)).is_some_and(|order| relation.holds(order));
                    assert_eq!(slot.passes(number), wanted, "{number} {relation:?} {limit:?}");
                }
            }
        }
        let none = Comparisons::default();
        let plain = Slot::of(3, &Core::PLAIN, Stage::Job, &none);
        assert!(!plain.has_more() && plain.field == 0 && plain.passes(0));
        assert!(Slot::of(3, &Core { checked: true, ..Core::PLAIN }, Stage::Job, &none).has_more());
    }
}
