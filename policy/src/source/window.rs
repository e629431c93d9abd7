//! `window`: hours of the week in a time zone.

use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Node, Value};
use crate::language::Window;
use jiff::tz::TimeZoneDatabase;
use std::sync::Arc;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `{tz, days, hours, outside}`; all days and the whole day unless told.
pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Option<Arc<Window>>> {
    let Some(node) = fields.get("window") else { return Some(None) };
    let what = format!("`window` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["tz", "days", "hours", "outside"], &[]);
    let zone = reader.required(fields, "tz", &what).and_then(|node| {
        let name = reader.text(node, &format!("`tz` of {what}"))?;
        match TimeZoneDatabase::bundled().get(name) {
            Ok(zone) => Some((zone, name)),
            Err(_) => {
                reader.wrong(
                    node.line,
                    format!("`{}` in {what} is no time zone", excerpt(name)),
                    "write an IANA name, as `Europe/Berlin` or `UTC`",
                );
                None
            }
        }
    });
    if fields.get("days").is_none() && fields.get("hours").is_none() {
        reader.wrong(node.line, format!("{what} has neither `days` nor `hours`"), "say when, or remove it");
        return None;
    }
    let days = match fields.get("days") {
        None => Some((0..7).collect()),
        Some(node) => each(reader, node, &format!("`days` of {what}"), days),
    };
    let hours = match fields.get("hours") {
        None => Some(vec![(0, crate::language::DAY)]),
        Some(node) => each(reader, node, &format!("`hours` of {what}"), hours),
    };
    let outside = reader.flag(fields, "outside", &what);
    let (days, hours, outside, (zone, name)) = (days?, hours?, outside?, zone?);
    let text = sentence(&days, &hours, outside, name);
    Some(Some(Arc::new(Window::new(zone, name, text, &days, &hours, outside))))
}

/// A text, or a list of texts.
fn each<T>(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &str,
    read: fn(&mut Reader<'_>, &Node, &str) -> Option<Vec<T>>,
) -> Option<Vec<T>> {
    match &node.value {
        Value::List(_) => {
            let items = reader.filled_list(node, what)?;
            let read: Vec<Option<Vec<T>>> = items.iter().map(|item| read(reader, item, what)).collect();
            read.into_iter().collect::<Option<Vec<_>>>().map(|lists| lists.into_iter().flatten().collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => read(reader, node, what),
    }
}

/// `mon` or `mon-fri`, which may go over the end of the week.
fn days(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Vec<u16>> {
    let text = reader.text(node, what)?;
    let day = |name: &str| (0_u16..).zip(DAYS).find(|(_, day)| *day == name).map(|(number, _)| number);
    let range = match text.split_once('-') {
        None => day(text).map(|day| (day, day)),
        Some((first, last)) => day(first).zip(day(last)),
    };
    if range.is_none() {
        reader.wrong(
            node.line,
            format!("`{}` in {what} is no day", excerpt(text)),
            "write `mon`, `mon-fri` or a list of them",
        );
    }
    range.map(|(first, last)| (0..=(last + 7 - first) % 7).map(|more| (first + more) % 7).collect())
}

/// `08:00-18:00`; an end at or before its start is on the next day.
fn hours(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Vec<(u16, u16)>> {
    let text = reader.text(node, what)?;
    let range = text.split_once('-').and_then(|(from, to)| minute(from).zip(minute(to)));
    let range = range.filter(|(from, _)| *from < crate::language::DAY);
    if range.is_none() {
        reader.wrong(
            node.line,
            format!("`{}` in {what} is no span of hours", excerpt(text)),
            "write `\"08:00-18:00\"`; `\"22:00-06:00\"` ends on the next day",
        );
    }
    range.map(|range| vec![range])
}

/// `HH:MM`, up to `24:00`, as minutes of the day.
fn minute(text: &str) -> Option<u16> {
    let two =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok());
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two(hour)??, two(minute)??);
    let sound = hour < 24 && minute < 60 || hour == 24 && minute == 0;
    sound.then_some(hour * 60 + minute)
}

fn sentence(days: &[u16], hours: &[(u16, u16)], outside: bool, zone: &str) -> String {
    let mut names: Vec<&str> =
        (0_u16..).zip(DAYS).filter(|(day, _)| days.contains(day)).map(|(_, name)| name).collect();
    if names.len() == DAYS.len() {
        names = vec!["every day"];
    }
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let hours: Vec<String> = hours.iter().map(|&(from, to)| format!("{}-{}", clock(from), clock(to))).collect();
    let outside = if outside { "outside of " } else { "" };
    format!("{outside}{} {} {zone}", names.join(","), hours.join(","))
}
