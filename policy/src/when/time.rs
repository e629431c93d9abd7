//! Timestamps and durations as whole microseconds, and the calendar in UTC.
//!
//! Days are counted by the proleptic Gregorian calendar (the civil-from-days algorithm: Howard Hinnant,
//! "chrono-Compatible Low-Level Date Algorithms", 2013). Leap seconds do not count, as in Unix time.

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Reads an RFC 3339 timestamp: microseconds since 1970-01-01T00:00:00Z, finer digits cut off. `None` for anything else,
/// a second 60 included.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 4)?;
    literal(&mut rest, b"-")?;
    let month = number(&mut rest, 2)?;
    literal(&mut rest, b"-")?;
    let day = number(&mut rest, 2)?;
    literal(&mut rest, b"Tt")?;
    let hour = number(&mut rest, 2)?;
    literal(&mut rest, b":")?;
    let minute = number(&mut rest, 2)?;
    literal(&mut rest, b":")?;
    let second = number(&mut rest, 2)?;
    let mut micros = 0;
    if literal(&mut rest, b".").is_some() {
        let digits = rest.iter().take_while(|digit| digit.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let (fraction, after) = rest.split_at_checked(digits)?;
        rest = after;
        for place in 0..6 {
            micros = micros * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        }
    }
    let offset = match rest.split_first()? {
        (b'Z' | b'z', []) => 0,
        (sign @ (b'+' | b'-'), mut rest) => {
            let hours = number(&mut rest, 2)?;
            literal(&mut rest, b":")?;
            let minutes = number(&mut rest, 2)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let sound = year >= 1 && (1..=12).contains(&month) && day >= 1 && day <= days_of(year, month);
    if !sound || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * SECOND + micros)
}

/// Reads a duration as Go and CEL write it (`1h30m`, `1.5s`, `-2ms`, `0`): microseconds. Finer parts are refused.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let whole: i128 = if digits == 0 { 0 } else { rest.get(..digits)?.parse::<i64>().ok()?.into() };
        rest = rest.get(digits..)?;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let length = after.find(|c: char| !c.is_ascii_digit())?;
            fraction = after.get(..length)?;
            rest = after.get(length..)?;
        }
        if (digits == 0 && fraction.is_empty()) || fraction.len() > 9 {
            return None;
        }
        let (unit, after) = unit(rest)?;
        rest = after;
        // In nanoseconds, so that `ns` and fractions are exact before the last division.
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse::<i64>().ok()?.into() };
        let nanos = (whole * scale + part) * i128::from(unit);
        if nanos % scale != 0 {
            return None;
        }
        total += nanos / scale;
    }
    if total % 1_000 != 0 {
        return None;
    }
    let micros = i64::try_from(total / 1_000).ok()?;
    Some(if negative { -micros } else { micros })
}

fn unit(text: &str) -> Option<(i64, &str)> {
    const UNITS: &[(&str, i64)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.iter().find_map(|(name, nanos)| text.strip_prefix(name).map(|rest| (*nanos, rest)))
}

/// A part of a timestamp in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    /// From 0, as CEL has it.
    Month,
    /// The day of the month from 1.
    Date,
    /// The day of the month from 0.
    DayOfMonth,
    /// Sunday is 0.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    /// The accessors of CEL.
    pub(super) const ALL: &[(&str, Self)] = &[
        ("getFullYear", Self::FullYear),
        ("getMonth", Self::Month),
        ("getDate", Self::Date),
        ("getDayOfMonth", Self::DayOfMonth),
        ("getDayOfWeek", Self::DayOfWeek),
        ("getDayOfYear", Self::DayOfYear),
        ("getHours", Self::Hours),
        ("getMinutes", Self::Minutes),
        ("getSeconds", Self::Seconds),
        ("getMilliseconds", Self::Milliseconds),
    ];

    pub(super) fn of(self, micros: i64) -> i64 {
        let (days, within) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
        match self {
            Self::Hours => within / (3600 * SECOND),
            Self::Minutes => within / (60 * SECOND) % 60,
            Self::Seconds => within / SECOND % 60,
            Self::Milliseconds => within / 1_000 % 1_000,
            // 1970-01-01 was a Thursday.
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::FullYear => civil_from_days(days).0,
            Self::Month => civil_from_days(days).1 - 1,
            Self::Date => civil_from_days(days).2,
            Self::DayOfMonth => civil_from_days(days).2 - 1,
            Self::DayOfYear => days - days_from_civil(civil_from_days(days).0, 1, 1),
        }
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted - era * 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month from 1, day from 1.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    number.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

fn literal(rest: &mut &[u8], any: &[u8]) -> Option<()> {
    let (first, after) = rest.split_first()?;
    any.contains(first).then(|| *rest = after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_as_rfc_3339_says() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31t23:59:59.5z", Some(-500_000)),
            ("2000-02-29T12:30:15.123456789Z", Some(951_827_415_123_456)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-13-01T00:00:00Z", None),
            ("2023-01-01T24:00:00Z", None),
            ("2023-01-01T00:00:60Z", None),
            ("2023-01-01 00:00:00Z", None),
            ("2023-01-01T00:00:00", None),
            ("2023-01-01T00:00:00.Z", None),
            ("2023-01-01T00:00:00+1:00", None),
            ("2023-01-01T00:00:00Z ", None),
            ("", None),
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_cel_writes_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000)),
            ("-1.5s", Some(-1_500_000)),
            (".5ms", Some(500)),
            ("250us", Some(250)),
            ("1000ns", Some(1)),
            ("1ns", None),
            ("", None),
            ("-", None),
            ("5", None),
            ("h", None),
            ("1d", None),
            ("1h ", None),
            ("99999999999999999999h", None),
            ("9000000000000000000h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn parts_follow_the_calendar_through_every_day_of_four_centuries() {
        let (mut year, mut month, mut date) = (1801, 1, 1);
        let first = days_from_civil(year, month, date);
        let mut of_year = 0;
        // 1 January 1801 was a Thursday.
        let mut weekday = 4;
        for day in first..first + 146_097 {
            let noon = day * DAY + DAY / 2 + 34 * 60 * SECOND + 56 * SECOND + 789_000;
            let parts: Vec<i64> = Part::ALL.iter().map(|(_, part)| part.of(noon)).collect();
            assert_eq!(parts, [year, month - 1, date, date - 1, weekday, of_year, 12, 34, 56, 789], "day {day}");
            (date, of_year, weekday) = (date + 1, of_year + 1, (weekday + 1) % 7);
            if date > days_of(year, month) {
                (month, date) = (month + 1, 1);
            }
            if month > 12 {
                (year, month, of_year) = (year + 1, 1, 0);
            }
        }
    }
}
