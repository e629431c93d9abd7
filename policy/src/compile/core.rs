//! What the evaluator reads of a rule for every job: small and side by side, by place.

use crate::effect::Effect;
use crate::language::{Mode, Rule};
use crate::when::Condition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No condition, or no window.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    pub(crate) effect: Effect,
    pub(crate) enforced: Enforced,
    /// It has `state`.
    pub(crate) limited: bool,
    /// It has constraints.
    pub(crate) constrains: bool,
    /// It is what denies jobs that no grant covers.
    pub(crate) ungranted: bool,
    /// Beside sets of values and its condition it looks at something.
    pub(crate) checked: bool,
    /// Place in the snapshot's conditions.
    pub(crate) condition: u32,
    /// Place in the snapshot's windows.
    pub(crate) window: u32,
}

/// Whether a matching rule takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforced {
    Always,
    Shadow,
    Warn,
    Canary,
}

/// Equal things once, in order of first use.
#[derive(Debug)]
pub(crate) struct Unique<T> {
    pub(crate) items: Vec<Arc<T>>,
    places: BTreeMap<usize, u32>,
}

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self { items: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T> Unique<T> {
    /// The place of a shared thing.
    fn place(&mut self, item: &Arc<T>) -> u32 {
        let next = u32::try_from(self.items.len()).unwrap_or(NONE);
        let place = *self.places.entry(Arc::as_ptr(item).addr()).or_insert(next);
        if place == next {
            self.items.push(Arc::clone(item));
        }
        place
    }
}

impl Core {
    /// A rule that allows whatever the index finds it for.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self {
        effect: Effect::Allow,
        enforced: Enforced::Always,
        limited: false,
        constrains: false,
        ungranted: false,
        checked: false,
        condition: NONE,
        window: NONE,
    };

    pub(super) fn of(
        rule: &Rule,
        ungranted: bool,
        conditions: &mut Unique<Condition>,
        windows: &mut Unique<crate::language::Window>,
    ) -> Self {
        let condition = rule.when.as_ref().and_then(|when| when.condition.as_ref());
        Self {
            effect: rule.effect,
            enforced: match (rule.mode, &rule.canary) {
                (Mode::Enforce, None) => Enforced::Always,
                (Mode::Enforce, Some(_)) => Enforced::Canary,
                (Mode::Shadow, _) => Enforced::Shadow,
                (Mode::Warn, _) => Enforced::Warn,
            },
            limited: !rule.state.is_empty(),
            constrains: rule.constraints.is_some(),
            ungranted,
            checked: ungranted || rule.window.is_some() || looks_at_more(rule),
            condition: condition.map_or(NONE, |condition| conditions.place(condition)),
            window: rule.window.as_ref().map_or(NONE, |window| windows.place(window)),
        }
    }
}

/// Beside its window, its condition and what the index knows in full.
fn looks_at_more(rule: &Rule) -> bool {
    let matches = &rule.matches;
    matches.requires.len() > 1
        || matches.labels.len() > 1
        || !matches.label_tests.is_empty()
        || !matches.except.is_empty()
        || matches.delegation.is_some()
        || matches.secrets_present.is_some()
        || matches.mcp_calls
}
