//! What a limit is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// Names a limit for ever: the rule it stands in, its number there, and a hash of its definition, so that an altered limit
/// is another one (what counted towards the old one does not count towards it).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LimitId(Arc<str>);

impl LimitId {
    /// From its text.
    ///
    /// # Errors
    /// [`BadLimit`] when it is not 1 to 400 bytes without control characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, BadLimit> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > 400 || text.chars().any(char::is_control) {
            return Err(BadLimit { reason: "its id is not 1 to 400 bytes without control characters".into() });
        }
        Ok(Self(Arc::from(text)))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LimitId {
    type Error = BadLimit;
    fn try_from(text: String) -> Result<Self, BadLimit> {
        Self::new(text)
    }
}

impl From<LimitId> for String {
    fn from(id: LimitId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Jobs allowed within any window.
    CountWithin,
    /// Sum of an amount of the jobs allowed within any window.
    SumWithin,
    /// Different values of a field of the jobs allowed within any window.
    CountDistinctWithin,
    /// Jobs allowed and not yet ended; one whose end is never told counts for the window.
    Concurrency,
    /// As a sum; the reserved amount is replaced by what the worker reports when the job ends.
    Budget,
    /// Jobs allowed per time, with a burst: at most `burst` in any `window * burst / limit`.
    Rate,
    /// Failed jobs within the window beyond which nothing is allowed for a while, then only probes.
    Breaker,
}

impl LimitKind {
    /// The word used in records, metrics and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CountWithin => "count_within",
            Self::SumWithin => "sum_within",
            Self::CountDistinctWithin => "count_distinct_within",
            Self::Concurrency => "concurrency",
            Self::Budget => "budget",
            Self::Rate => "rate",
            Self::Breaker => "breaker",
        }
    }

    /// Whether the kernel must be told how a job that took of it ended.
    #[must_use]
    pub const fn settles(self) -> bool {
        matches!(self, Self::Concurrency | Self::Budget | Self::Breaker)
    }
}

/// What a budget is counted in: which figure of a worker's usage report replaces the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetOf {
    /// Tokens of a language model.
    Tokens,
    /// Money, in one currency of the policy's choice.
    Money,
}

/// A limit as a policy defines it. Make it by the constructors' fields and [`LimitDefinition::check`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitDefinition {
    /// What is counted.
    pub kind: LimitKind,
    /// The most that may count (`gt`); of a breaker the failures that open it.
    pub limit: Amount,
    /// The window, milliseconds. Concurrency: how long a job counts whose end is never told. Rate: what `limit` is per.
    pub window_ms: u64,
    /// Of a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetOf>,
    /// Of a rate: the most at once; `limit` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Amount>,
    /// Of a breaker: how long it stays open, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<u64>,
    /// Of a breaker: jobs let through to try whether it may close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
}

/// A limit that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit cannot be kept: {reason}")]
pub struct BadLimit {
    /// Why, with the bound.
    pub reason: String,
}

/// The most different values, or failures, one limit can count: every one is remembered.
pub const MOST_DISTINCT: u64 = 10_000;
/// Longest window.
const MOST_WINDOW_MS: u64 = 400 * 86_400_000;
/// Shortest window; below it a burst's window rounds to nothing.
const LEAST_WINDOW_MS: u64 = 10;
/// Largest limit, far from overflow in sums over all shards.
const MOST_LIMIT: Amount = Amount(u64::MAX >> 8);

impl LimitDefinition {
    /// A plain limit of this kind.
    #[must_use]
    pub const fn new(kind: LimitKind, limit: Amount, window: Duration) -> Self {
        // Windows are checked to be far below 2^64 milliseconds.
        #[expect(clippy::cast_possible_truncation, reason = "a longer one is refused by `check` all the same")]
        let window_ms = window.as_millis() as u64;
        Self { kind, limit, window_ms, budget: None, burst: None, open_ms: None, probes: None }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`BadLimit`] for the first that does not hold.
    pub fn check(&self) -> Result<(), BadLimit> {
        let no = |reason: String| Err(BadLimit { reason });
        let Self { kind, limit, window_ms, budget, burst, open_ms, probes } = self;
        if !(LEAST_WINDOW_MS..=MOST_WINDOW_MS).contains(window_ms) {
            return no(format!("its window is {window_ms} ms, but must be {LEAST_WINDOW_MS} ms to 400 days"));
        }
        if *limit > MOST_LIMIT {
            return no(format!("it is {limit}, but must be at most {MOST_LIMIT}"));
        }
        let whole = limit.0.is_multiple_of(Amount::ONE.0);
        let counts = !matches!(kind, LimitKind::SumWithin | LimitKind::Budget);
        if counts && !whole {
            return no(format!("`{}` counts whole ones, but its limit is {limit}", kind.word()));
        }
        if matches!(kind, LimitKind::Rate | LimitKind::Breaker) && limit.is_zero() {
            return no(format!("a `{}` of 0 allows nothing: write a deny", kind.word()));
        }
        let remembers = matches!(kind, LimitKind::CountDistinctWithin | LimitKind::Breaker);
        if remembers && *limit > Amount(MOST_DISTINCT * Amount::ONE.0) {
            return no(format!(
                "it counts up to {limit} values or failures, but at most {MOST_DISTINCT} are remembered"
            ));
        }
        if budget.is_some() != (*kind == LimitKind::Budget) {
            return no("a budget says what it is counted in, and nothing else does".into());
        }
        if let Some(burst) = burst {
            let fits = *burst >= Amount::ONE && *burst <= *limit && burst.0.is_multiple_of(Amount::ONE.0);
            if *kind != LimitKind::Rate || !fits {
                return no(format!("`burst` is {burst}, but must be 1 to {limit}, and belongs to a rate"));
            }
            if self.effective().1 < Duration::from_millis(1) {
                return no(format!("a burst of {burst} at this rate lasts less than 1 ms; raise `burst`"));
            }
        }
        let breaker = *kind == LimitKind::Breaker;
        if open_ms.is_some() != breaker || probes.is_some() != breaker {
            return no(
                "a breaker says how long it stays open and how many probes it lets through, nothing else does".into()
            );
        }
        if open_ms.is_some_and(|ms| !(LEAST_WINDOW_MS..=MOST_WINDOW_MS).contains(&ms)) {
            return no(format!("it stays open {LEAST_WINDOW_MS} ms to 400 days"));
        }
        if probes.is_some_and(|probes| !(1..=1_000).contains(&probes)) {
            return no("it lets 1 to 1000 probes through".into());
        }
        Ok(())
    }

    /// How much may count within which window, as it is kept. A rate of L per W with burst B is kept as B in any
    /// W * B / L: never above the token bucket of size B that L per W refills, and the same in the long run.
    #[must_use]
    pub fn effective(&self) -> (Amount, Duration) {
        let window = u128::from(self.window_ms) * 1_000;
        match self.burst {
            Some(burst) if self.kind == LimitKind::Rate && !self.limit.is_zero() => {
                let micros = (window * u128::from(burst.0)).div_ceil(u128::from(self.limit.0));
                (burst, Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
            }
            _ => (self.limit, Duration::from_micros(u64::try_from(window).unwrap_or(u64::MAX))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(kind: LimitKind, limit: u64, window_ms: u64) -> LimitDefinition {
        LimitDefinition::new(kind, Amount::units(limit).unwrap(), Duration::from_millis(window_ms))
    }

    #[test]
    fn a_limit_that_cannot_be_kept_says_why() {
        let breaker =
            LimitDefinition { open_ms: Some(30_000), probes: Some(1), ..count(LimitKind::Breaker, 10, 60_000) };
        assert_eq!(breaker.check(), Ok(()));
        assert_eq!(count(LimitKind::CountWithin, 0, 1_000).check(), Ok(()));
        for (limit, part) in [
            (count(LimitKind::CountWithin, 1, 0), "window"),
            (count(LimitKind::CountWithin, 1, u64::MAX), "window"),
            (LimitDefinition { limit: Amount(1), ..count(LimitKind::Concurrency, 1, 1_000) }, "whole"),
            (LimitDefinition { limit: Amount(u64::MAX), ..count(LimitKind::SumWithin, 1, 1_000) }, "at most"),
            (count(LimitKind::CountDistinctWithin, 10_001, 1_000), "remembered"),
            (count(LimitKind::Budget, 1, 1_000), "counted in"),
            (count(LimitKind::Breaker, 1, 1_000), "stays open"),
            (LimitDefinition { burst: Amount::units(9), ..count(LimitKind::Rate, 8, 1_000) }, "burst"),
            (LimitDefinition { burst: Amount::units(1), ..count(LimitKind::CountWithin, 8, 1_000) }, "burst"),
            (LimitDefinition { burst: Amount::units(1), ..count(LimitKind::Rate, 8_000, 1_000) }, "less than 1 ms"),
            (count(LimitKind::Rate, 0, 1_000), "deny"),
            (LimitDefinition { probes: Some(0), ..breaker.clone() }, "probes"),
        ] {
            let said = limit.check().unwrap_err().to_string();
            assert!(said.contains(part), "{said} lacks {part}");
        }
    }

    #[test]
    fn a_rate_with_a_burst_is_a_short_window() {
        let rate = LimitDefinition { burst: Amount::units(20), ..count(LimitKind::Rate, 100, 1_000) };
        assert_eq!(rate.effective(), (Amount::units(20).unwrap(), Duration::from_millis(200)));
        let plain = count(LimitKind::Rate, 100, 1_000);
        assert_eq!(plain.effective(), (Amount::units(100).unwrap(), Duration::from_secs(1)));
    }
}
