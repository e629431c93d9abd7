//! Amounts in cents, written as decimal numbers.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of the bank's one currency, in cents. In JSON a number with at most two decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Money(i64);

/// The largest amount: a trillion, far above any account and far below where cents get lost in a JSON number.
const MOST: f64 = 1e12;

/// A number that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("`{number}` is not an amount: write at most two decimals and no more than a trillion")]
pub(crate) struct NoAmount {
    number: f64,
}

impl Money {
    #[cfg(test)]
    pub(crate) const fn cents(cents: i64) -> Self {
        Self(cents)
    }

    /// The amount a JSON number stands for.
    ///
    /// # Errors
    /// [`NoAmount`] for fractions of a cent and for what is too large.
    pub(crate) fn of(number: f64) -> Result<Self, NoAmount> {
        let cents = number * 100.0;
        let whole = cents.round();
        // `98.7 * 100` is not exactly 9870; half a thousandth of a cent is no fraction anybody wrote.
        if !number.is_finite() || number.abs() > MOST || (cents - whole).abs() > 0.000_5_f64.max(cents.abs() * 1e-12) {
            return Err(NoAmount { number });
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 1e14 and whole")]
        Ok(Self(whole as i64))
    }

    pub(crate) const fn is_positive(self) -> bool {
        self.0 > 0
    }

    fn number(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let cents = self.0 as f64;
        cents / 100.0
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = (self.0.unsigned_abs() / 100).to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 4);
        if self.0 < 0 {
            grouped.push('-');
        }
        for (n, digit) in digits.chars().enumerate() {
            if n > 0 && (digits.len() - n).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped.push_str(&format!(".{:02}", self.0.unsigned_abs() % 100));
        f.pad(&grouped)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.number())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_amount_to_the_cent_or_none() {
        for (number, cents) in [(98.7, 9870), (0.01, 1), (-12.0, -1200), (1_000_000.0, 100_000_000), (0.07, 7)] {
            assert_eq!(Money::of(number).unwrap(), Money::cents(cents), "{number}");
        }
        for number in [0.001, 12.345, f64::NAN, f64::INFINITY, 2e12] {
            assert!(Money::of(number).is_err(), "{number}");
        }
    }

    #[test]
    fn amounts_are_read_back_as_they_were_written_and_shown_for_people() {
        for cents in [0, 1, -5, 421_055, 99_999_999_999_999] {
            let text = serde_json::to_string(&Money::cents(cents)).unwrap();
            assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), Money::cents(cents), "{text}");
        }
        for (cents, shown) in [(5, "0.05"), (-123_456, "-1,234.56"), (100_000_000, "1,000,000.00")] {
            assert_eq!(Money::cents(cents).to_string(), shown);
        }
    }
}
