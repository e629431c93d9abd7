//! A number as written in a policy or found in a payload, compared exactly: a limit of 2^53 + 1 is not
//! rounded to its neighbour.

use std::cmp::Ordering;
use tidegate_protocol::limits::Amount;

/// An integer or a finite float.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Any integer.
    Int(i128),
    /// A finite float.
    Float(f64),
}

impl Number {
    /// Exact numeric order. `None` only for a NaN, which neither JSON nor our YAML can express.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => int_to_float(a, b),
            (Self::Float(a), Self::Int(b)) => int_to_float(b, a).map(Ordering::reverse),
        }
    }

    pub(crate) fn equals(self, other: Self) -> bool {
        self.order(other) == Some(Ordering::Equal)
    }

    /// A plain decimal (`-12`, `0.5`, `1e3`), as people write it in a label.
    pub(crate) fn of_decimal(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
            return None;
        }
        match text.parse::<i64>() {
            Ok(int) => Some(Self::Int(int.into())),
            Err(_) => text.parse::<f64>().ok().filter(|float| float.is_finite()).map(Self::Float),
        }
    }

    /// As an amount; `None` when it is negative, too large, or has more than six decimals.
    pub(crate) fn amount(self) -> Option<Amount> {
        match self {
            Self::Int(int) => Amount::units(u64::try_from(int).ok()?),
            Self::Float(float) => Amount::from_f64(float),
        }
    }
}

fn int_to_float(int: i128, float: f64) -> Option<Ordering> {
    // Integers come from 64 bits, so anything this large is larger than all of them.
    const BEYOND: f64 = 1e30;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float <= -BEYOND {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a truncated float below 1e30 fits in 128 bits exactly")]
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly_across_kinds() {
        use Ordering::{Equal, Greater, Less};
        let rows = [
            (Number::Int(5), Number::Float(5.0), Equal),
            (Number::Int(5), Number::Float(5.5), Less),
            (Number::Int(-5), Number::Float(-5.5), Greater),
            (Number::Int(9_007_199_254_740_993), Number::Float(9_007_199_254_740_992.0), Greater),
            (Number::Int(u64::MAX.into()), Number::Float(1e300), Less),
            (Number::Int(i64::MIN.into()), Number::Float(-1e300), Greater),
            (Number::Float(0.1), Number::Float(0.2), Less),
        ];
        for (a, b, expected) in rows {
            assert_eq!(a.order(b), Some(expected), "{a} against {b}");
            assert_eq!(b.order(a), Some(expected.reverse()), "{b} against {a}");
        }
    }
}
