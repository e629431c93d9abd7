//! The limits of a run, and what jobs take of them.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::limits::{Amount, BudgetOf, LimitDefinition, LimitId, LimitKind, LimitUse, Member};

/// Keys of each shape.
const KEYS: usize = 4;

/// A shape of limit: kind, limit in units, window in milliseconds, largest amount of a job in units.
const SHAPES: [(LimitKind, u64, u64, u64); 11] = [
    (LimitKind::CountWithin, 400, 1_000, 1),
    (LimitKind::CountWithin, 3, 700, 1),
    (LimitKind::CountWithin, 1, 2_000, 1),
    (LimitKind::SumWithin, 20_000, 2_000, 90),
    (LimitKind::SumWithin, 100, 500, 60),
    (LimitKind::Rate, 1_000, 1_000, 1),
    (LimitKind::CountDistinctWithin, 60, 1_500, 1),
    (LimitKind::CountDistinctWithin, 5, 900, 1),
    (LimitKind::Concurrency, 50, 4_000, 1),
    (LimitKind::Concurrency, 2, 3_000, 1),
    (LimitKind::Budget, 30_000, 2_500, 100),
];

/// Every key of a run; its place is its number.
pub fn all() -> Vec<LimitUse> {
    let shapes = SHAPES.iter().enumerate();
    let uses = shapes.flat_map(|(shape, (kind, limit, window, _))| {
        let limit = Amount::units(*limit).unwrap();
        let mut definition = LimitDefinition::new(*kind, limit, Duration::from_millis(*window));
        if *kind == LimitKind::Budget {
            definition.budget = Some(BudgetOf::Tokens);
        }
        if *kind == LimitKind::Rate {
            definition.burst = Amount::units(200);
        }
        definition.check().unwrap();
        let definition = Arc::new(definition);
        (0..KEYS).map(move |key| LimitUse {
            limit: LimitId::new(format!("r{shape}#0:0123456789abcdef")).unwrap(),
            definition: Arc::clone(&definition),
            key: format!("k{key}").into(),
            amount: Amount::ONE,
            member: None,
        })
    });
    uses.collect()
}

/// What the next job takes of the key `number`.
pub fn next(keys: &[LimitUse], number: usize, random: &mut fastrand::Rng) -> LimitUse {
    let mut wanted = keys[number].clone();
    let most = SHAPES[number / KEYS].3;
    let kind = wanted.definition.kind;
    if kind == LimitKind::SumWithin {
        wanted.amount = Amount(random.u64(1..=most * Amount::ONE.0));
    } else if kind == LimitKind::Budget {
        wanted.amount = Amount::units(random.u64(1..=most)).unwrap();
    }
    if wanted.definition.kind == LimitKind::CountDistinctWithin {
        wanted.member = Some(Member::of(&random.u16(0..200).to_le_bytes()));
    }
    wanted
}
