//! Conditions that compare one number of the payload with a constant: what half of all rules ask. The number is found once
//! a job, however many rules ask about it.

use crate::number::Number;
use crate::when::{Condition, Relation};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A condition as a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// From 1: the place in [`Comparisons::fields`] after which it stands.
    pub(crate) field: u16,
    pub(crate) relation: Relation,
    pub(crate) limit: Limit,
}

/// A number in 16 bytes: what is compared for every job stands closely together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Int(i64),
    Float(f64),
}

impl Limit {
    /// `None` for an integer of more than 64 bits with its sign.
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Int(int) => i64::try_from(int).ok().map(Self::Int),
            Number::Float(float) => Some(Self::Float(float)),
        }
    }

    /// As [`Number::order`], of the number found against this one.
    #[inline]
    pub(crate) fn order_of(self, found: Found) -> Option<Ordering> {
        match (found, self) {
            (Found::Small(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Found::Small(a), Self::Float(b)) => Number::Int(a.into()).order(Number::Float(b)),
            (Found::Other(number), Self::Int(limit)) => number.order(Number::Int(limit.into())),
            (Found::Other(number), Self::Float(limit)) => number.order(Number::Float(limit)),
        }
    }
}

/// A number of the payload, as it is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// An integer of 64 bits with its sign: nearly all there are.
    Small(i64),
    Other(Number),
}

impl From<Number> for Found {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(int) => i64::try_from(int).map_or(Self::Other(number), Self::Small),
            Number::Float(_) => Self::Other(number),
        }
    }
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
        let mut known: BTreeMap<String, u16> = BTreeMap::new();
        let mut fields = Vec::new();
        let compared = (0_u32..).zip(conditions).map(|(place, condition)| {
            let comparison = condition.comparison()?;
            let limit = Limit::of(comparison.limit)?;
            // What is beyond them is asked as a condition.
            let next = u16::try_from(fields.len() + 1).ok()?;
            let field = *known.entry(comparison.field()).or_insert(next);
            if field == next {
                fields.push(place);
            }
            Some(Compared { field, relation: comparison.relation, limit })
        });
        let conditions = compared.collect();
        Self { conditions, fields }
    }
}
