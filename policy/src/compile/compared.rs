//! Conditions that compare one number of the payload with a constant: what half of all rules ask. The number is found once
//! a job, however many rules ask about it.

use crate::number::Number;
use crate::when::{Condition, Relation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A condition as a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// Place in [`Comparisons::fields`].
    pub(crate) field: u32,
    pub(crate) relation: Relation,
    pub(crate) limit: Number,
}

#[derive(Debug, Default)]
pub(crate) struct Comparisons {
    /// By condition; `None` for one that is more than a comparison.
    pub(crate) conditions: Vec<Option<Compared>>,
    /// By field: a condition that reads it.
    pub(crate) fields: Vec<u32>,
}

impl Comparisons {
    pub(super) fn of(conditions: &[Arc<Condition>]) -> Self {
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        let mut fields = Vec::new();
        let compared = (0_u32..).zip(conditions).map(|(place, condition)| {
            let comparison = condition.comparison()?;
            let next = u32::try_from(fields.len()).ok()?;
            let field = *known.entry(comparison.field()).or_insert(next);
            if field == next {
                fields.push(place);
            }
            Some(Compared { field, relation: comparison.relation, limit: comparison.limit })
        });
        let conditions = compared.collect();
        Self { conditions, fields }
    }
}
