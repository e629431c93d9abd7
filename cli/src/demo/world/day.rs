//! Days and times as text, as agents write them: `YYYY-MM-DD` and `YYYY-MM-DD HH:MM`.

/// Whether it is a day of the calendar.
pub(crate) fn is_day(text: &str) -> bool {
    let [Some(year), Some(month), Some(day)] = [(0, 4), (5, 7), (8, 10)].map(|(from, to)| digits(text, from, to))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let most = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-") && (1..=most).contains(&day)
}

/// Whether it is a minute of a day.
pub(crate) fn is_minute(text: &str) -> bool {
    let (Some(day), Some(time)) = (text.get(..10), text.get(10..)) else { return false };
    let [Some(hour), Some(minute)] = [(1, 3), (4, 6)].map(|(from, to)| digits(time, from, to)) else { return false };
    is_day(day)
        && time.len() == 6
        && time.starts_with([' ', 'T'])
        && time.get(3..4) == Some(":")
        && hour < 24
        && minute < 60
}

fn digits(text: &str, from: usize, to: usize) -> Option<u32> {
    let part = text.get(from..to)?;
    part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_minutes_of_the_calendar_are_told_from_others() {
        for day in ["2026-03-16", "2024-02-29", "2000-02-29"] {
            assert!(is_day(day), "{day}");
        }
        for day in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-04-31",
            "2026-00-10",
            "2026-3-16",
            "",
            "26-03-2016",
            "2026-03-1é",
        ] {
            assert!(!is_day(day), "{day}");
        }
        for minute in ["2026-03-16 09:00", "2026-03-16T23:59"] {
            assert!(is_minute(minute), "{minute}");
        }
        for minute in ["2026-03-16", "2026-03-16 24:00", "2026-03-16 9:00", "2026-03-16 09:60", "2026-03-16 09:00:00"] {
            assert!(!is_minute(minute), "{minute}");
        }
    }
}
