//! How much: jobs, tokens, money, in millionths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount in millionths of its unit (a job, a token, a currency's main unit), so that six decimals are exact and sums
/// never round. In records the whole number of millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub u64);

/// A number that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no amount: a number from 0 to 18446744073709.551615 with at most 6 decimals")]
pub struct BadAmount {
    /// As written (cut at 80 characters).
    pub text: String,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One whole unit.
    pub const ONE: Self = Self(1_000_000);

    /// So many whole units; `None` beyond the largest amount.
    #[must_use]
    pub const fn units(units: u64) -> Option<Self> {
        match units.checked_mul(Self::ONE.0) {
            Some(millionths) => Some(Self(millionths)),
            None => None,
        }
    }

    /// The amount this double was written as; `None` when it is negative, not finite, too large for a double to be exact
    /// to the millionth, or was written with more than six decimals.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        // Below 2^53 millionths a double holds every amount; the nearest one must lead back to the same double.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        // Adding 0 turns -0 into 0.
        let number = number + 0.0;
        let millionths = (number * 1e6).round();
        let same = (0.0..EXACT).contains(&millionths) && (millionths / 1e6).to_bits() == number.to_bits();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in 0..2^53 and whole, just checked"
        )]
        same.then_some(Self(millionths as u64))
    }

    /// The sum, at most the largest amount.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::ONE.0, self.0 % Self::ONE.0);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{rest:06}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl FromStr for Amount {
    type Err = BadAmount;

    /// Plain decimals: `12`, `12.5`, `0.000001`.
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let parse = || {
            let (whole, decimals) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let decimals = decimals.unwrap_or("0");
            if !digits(whole) || !digits(decimals) {
                return None;
            }
            let decimals = decimals.trim_end_matches('0');
            if decimals.len() > 6 {
                return None;
            }
            let millionths: u64 = format!("{decimals:0<6}").parse().ok()?;
            Self::units(whole.parse().ok()?)?.0.checked_add(millionths).map(Self)
        };
        parse().ok_or_else(|| BadAmount { text: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_read_back() {
        for (text, millionths) in [
            ("0", 0),
            ("1", 1_000_000),
            ("12.5", 12_500_000),
            ("0.000001", 1),
            ("1.500000000", 1_500_000),
            ("18446744073709.551615", u64::MAX),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount, Amount(millionths), "{text}");
            assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "18446744073709.551616", "1.2.3", "NaN"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_double_is_the_amount_it_was_written_as_or_none() {
        for (number, millionths) in
            [(0.0, 0), (-0.0, 0), (0.1, 100_000), (19.99, 19_990_000), (1e9, 1_000_000_000_000_000)]
        {
            assert_eq!(Amount::from_f64(number), Some(Amount(millionths)), "{number}");
        }
        for number in [-0.1, -1e-9, 0.000_000_1, 1e-7, 0.123_456_78, 1e11, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Amount::from_f64(number), None, "{number}");
        }
    }
}
