//! Limits as plain data: what is limited, by how much, and what one job would spend of it.
//!
//! Policies name limits in `state:` conditions, the limits stage keeps them, the kernel's wallet spends slices of
//! them; all three speak in these types and none depends on another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A quantity in millionths, so that sums of money and counts are exact whole numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// One job, one token, one unit of currency.
    pub const ONE: Self = Self(1_000_000);

    /// So many whole units; `None` beyond 2^64 millionths.
    #[must_use]
    pub const fn whole(units: u64) -> Option<Self> {
        match units.checked_mul(Self::ONE.0) {
            Some(millionths) => Some(Self(millionths)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::ONE.0, self.0 % Self::ONE.0);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{}", format!("{rest:06}").trim_end_matches('0')),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Jobs within the window.
    CountWithin,
    /// The sum of an amount over the jobs within the window.
    SumWithin,
    /// Distinct values of a field over the jobs within the window.
    CountDistinctWithin,
    /// Jobs decided and not ended.
    Concurrency,
    /// Reserved at the decision, settled or refunded by what the outcome reports.
    Budget {
        /// Of what.
        of: BudgetOf,
    },
    /// A token bucket: `limit` every window, at most `burst` at once.
    Rate {
        /// The bucket's size.
        burst: Amount,
    },
    /// Opens after `limit` failures within the window.
    Breaker {
        /// How long it stays open, in milliseconds.
        open_for_ms: u64,
        /// Jobs let through to try, once that time is over.
        probes: u32,
    },
}

/// What a budget is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetOf {
    /// Model tokens.
    Tokens,
    /// Units of money.
    Money,
}

/// A limit as a policy states it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LimitDefinition {
    /// What is counted.
    pub kind: LimitKind,
    /// The window, in milliseconds; 0 for `concurrency`, which has none.
    pub window_ms: u64,
    /// The most that is within the limit; for a breaker, the failures that open it.
    pub limit: Amount,
}

impl LimitDefinition {
    /// SHA-256 of its canonical text: two equal definitions are one, and a changed one is another limit.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let (kind, a, b): (&str, u64, u64) = match self.kind {
            LimitKind::CountWithin => ("count_within", 0, 0),
            LimitKind::SumWithin => ("sum_within", 0, 0),
            LimitKind::CountDistinctWithin => ("count_distinct_within", 0, 0),
            LimitKind::Concurrency => ("concurrency", 0, 0),
            LimitKind::Budget { of: BudgetOf::Tokens } => ("budget.tokens", 0, 0),
            LimitKind::Budget { of: BudgetOf::Money } => ("budget.money", 0, 0),
            LimitKind::Rate { burst } => ("rate", burst.0, 0),
            LimitKind::Breaker { open_for_ms, probes } => ("breaker", open_for_ms, probes.into()),
        };
        let text = format!("tidegate limit v1\n{kind}\n{a}\n{b}\n{}\n{}", self.window_ms, self.limit.0);
        Sha256::digest(text.as_bytes()).into()
    }
}

/// Names a limit: `<rule id>#<number in the rule>@<16 hex digits of its definition's hash>`, so that a changed
/// definition is another limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitId(pub Arc<str>);

impl LimitId {
    /// The id of a rule's `number`th limit.
    #[must_use]
    pub fn new(rule: &str, number: usize, definition: &LimitDefinition) -> Self {
        let hash = definition.hash();
        let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{rule}#{number}@{short}").into())
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one job would spend of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// Which limit.
    pub limit: LimitId,
    /// What it says.
    pub definition: Arc<LimitDefinition>,
    /// Whose share: the key's parts with their lengths before them, the tenant first unless its scope is global.
    pub key: Box<str>,
    /// How much; one unit where jobs are counted.
    pub amount: Amount,
    /// The value that is counted once, for `count_distinct_within`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_without_loss() {
        for (millionths, text) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (u64::MAX, "18446744073709.551615")] {
            assert_eq!(Amount(millionths).to_string(), text);
        }
        assert_eq!(Amount::whole(u64::MAX), None);
    }

    #[test]
    fn every_part_of_a_definition_is_in_its_hash() {
        let base = LimitDefinition { kind: LimitKind::CountWithin, window_ms: 1, limit: Amount(1) };
        let others = [
            LimitDefinition { window_ms: 2, ..base.clone() },
            LimitDefinition { limit: Amount(2), ..base.clone() },
            LimitDefinition { kind: LimitKind::SumWithin, ..base.clone() },
            LimitDefinition { kind: LimitKind::Rate { burst: Amount(1) }, ..base.clone() },
            LimitDefinition { kind: LimitKind::Rate { burst: Amount(2) }, ..base.clone() },
            LimitDefinition { kind: LimitKind::Breaker { open_for_ms: 1, probes: 1 }, ..base.clone() },
            LimitDefinition { kind: LimitKind::Breaker { open_for_ms: 1, probes: 2 }, ..base.clone() },
            LimitDefinition { kind: LimitKind::Budget { of: BudgetOf::Money }, ..base.clone() },
            LimitDefinition { kind: LimitKind::Budget { of: BudgetOf::Tokens }, ..base.clone() },
        ];
        let hashes: std::collections::BTreeSet<_> = others.iter().chain([&base]).map(LimitDefinition::hash).collect();
        assert_eq!(hashes.len(), others.len() + 1);
    }
}
