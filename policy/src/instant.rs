//! Instants as people write them.

/// Milliseconds since the Unix epoch of an RFC 3339 instant in UTC (`2026-03-02T09:30:00Z`, decimals of a second to the
/// millisecond); `None` for anything else, before 1970 included.
pub fn instant(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers::<3>(date, '-', &[4, 2, 2])?;
    let (clock, millis) = match time.split_once('.') {
        None => (time, 0),
        Some((clock, decimals)) if (1..=3).contains(&decimals.len()) => (clock, digits(&format!("{decimals:0<3}"))?),
        Some(_) => return None,
    };
    let [hour, minute, second] = numbers::<3>(clock, ':', &[2, 2, 2])?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in = |month: u64| match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let real = year >= 1970 && (1..=12).contains(&month) && (1..=days_in(month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = year - 1;
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let days =
        (year - 1970) * 365 + leap_days(before) - leap_days(1969) + (1..month).map(days_in).sum::<u64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + millis)
}

fn numbers<const N: usize>(text: &str, between: char, widths: &[usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == *width)?;
        *number = digits(part)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_the_calendar() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.5Z", Some(500)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2026-03-02T09:30:00Z", Some(1_772_443_800_000)),
            ("2100-03-01T00:00:00.001Z", Some(4_107_542_400_001)),
            ("1969-12-31T23:59:59Z", None),
            ("2025-02-29T00:00:00Z", None),
            ("2026-03-02T24:00:00Z", None),
            ("2026-3-2T09:30:00Z", None),
            ("2026-03-02T09:30:00", None),
            ("2026-03-02T09:30:00+01:00", None),
            ("+026-03-02T09:30:00Z", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(instant(text), wanted, "{text}");
        }
    }
}
