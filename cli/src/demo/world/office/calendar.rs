//! The calendar.

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

use super::{Office, addresses, has, next_id};
use crate::demo::world::bank::Nothing;
use crate::demo::world::call::Caller;
use crate::demo::world::day::{is_day, is_minute};

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(super) id: String,
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    location: String,
    start: String,
    end: String,
    participants: Vec<String>,
}

/// From when to when; the end lies behind the start.
fn span(start: &str, end: &str) -> Result<(), Failure> {
    if let Some(bad) = [start, end].into_iter().find(|text| !is_minute(text)) {
        return Err(Failure::new(format!("`{bad}` is no time; write YYYY-MM-DD HH:MM")));
    }
    // Texts of one shape sort as the times they stand for.
    if start.replace('T', " ") >= end.replace('T', " ") {
        return Err(Failure::new(format!("it ends at {end}, not after {start}")));
    }
    Ok(())
}

/// The office's day.
pub(crate) fn get_current_day(office: &Office, _: &Caller, _: Nothing) -> Result<String, Failure> {
    Ok(office.today.clone())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Day {
    day: String,
}

/// Events that begin on a day.
pub(crate) fn get_day_calendar_events(office: &Office, _: &Caller, call: Day) -> Result<Vec<Event>, Failure> {
    if !is_day(&call.day) {
        return Err(Failure::new(format!("`{}` is no day; write YYYY-MM-DD", call.day)));
    }
    Ok(office.events.iter().filter(|event| event.start.starts_with(&call.day)).cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchEvents {
    query: String,
    #[serde(default)]
    date: Option<String>,
}

/// Events with the text in title or description, on one day when named.
pub(crate) fn search_calendar_events(office: &Office, _: &Caller, call: SearchEvents) -> Result<Vec<Event>, Failure> {
    let SearchEvents { query, date } = call;
    let on_day = |event: &Event| date.as_ref().is_none_or(|date| event.start.starts_with(date.as_str()));
    let found = office.events.iter().filter(|e| on_day(e) && (has(&e.title, &query) || has(&e.description, &query)));
    Ok(found.cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    title: String,
    start_time: String,
    end_time: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    participants: Option<Vec<String>>,
}

/// A new event.
pub(crate) fn create_calendar_event(office: &mut Office, _: &Caller, call: Create) -> Result<Event, Failure> {
    let Create { title, start_time: start, end_time: end, description, location, participants } = call;
    let (location, participants) = (location.unwrap_or_default(), participants.unwrap_or_default());
    span(&start, &end)?;
    addresses(&participants)?;
    let id = next_id(office.events.iter().map(|event| &event.id));
    let event = Event { id, title, description, location, start, end, participants };
    office.events.push(event.clone());
    Ok(event)
}

fn find<'a>(office: &'a mut Office, id: &str) -> Result<&'a mut Event, Failure> {
    let found = office.events.iter_mut().find(|event| event.id == id);
    found.ok_or_else(|| Failure::new(format!("there is no event `{id}`")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reschedule {
    event_id: String,
    new_start_time: String,
    #[serde(default)]
    new_end_time: Option<String>,
}

/// Moves an event; without an end it ends on the minute it began, an hour later.
pub(crate) fn reschedule_calendar_event(office: &mut Office, _: &Caller, call: Reschedule) -> Result<Event, Failure> {
    let Reschedule { event_id, new_start_time, new_end_time } = call;
    let end = match new_end_time {
        Some(end) => end,
        None => hour_later(&new_start_time)?,
    };
    span(&new_start_time, &end)?;
    let event = find(office, &event_id)?;
    event.start = new_start_time;
    event.end = end;
    Ok(event.clone())
}

fn hour_later(start: &str) -> Result<String, Failure> {
    let hour = start.get(11..13).and_then(|hour| hour.parse::<u32>().ok()).filter(|_| is_minute(start));
    match (hour, start.get(..11), start.get(13..)) {
        (Some(hour @ 0..23), Some(day), Some(rest)) => Ok(format!("{day}{:02}{rest}", hour + 1)),
        _ => Err(Failure::new("say when it ends: `new_end_time`")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddParticipants {
    event_id: String,
    participants: Vec<String>,
}

/// Adds guests, each once.
pub(crate) fn add_calendar_event_participants(
    office: &mut Office,
    _: &Caller,
    call: AddParticipants,
) -> Result<Event, Failure> {
    addresses(&call.participants)?;
    let event = find(office, &call.event_id)?;
    for guest in call.participants {
        if !event.participants.contains(&guest) {
            event.participants.push(guest);
        }
    }
    Ok(event.clone())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventId {
    event_id: String,
}

/// Takes an event out.
pub(crate) fn cancel_calendar_event(office: &mut Office, _: &Caller, call: EventId) -> Result<Event, Failure> {
    let event = find(office, &call.event_id)?.clone();
    office.events.retain(|other| other.id != event.id);
    Ok(event)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, office};
    use super::*;

    #[test]
    fn an_event_has_a_time_and_guests_that_make_sense() {
        let event = |start: &str, end: &str, guests: &[&str]| json!({"title": "T", "start_time": start, "end_time": end, "participants": guests});
        let table = [
            (event("2026-03-18 10:00", "2026-03-18 11:00", &["a@x.example"]), Ok(())),
            (event("2026-03-18 23:30", "2026-03-19T00:30", &[]), Ok(())),
            (event("2026-03-18 10:00", "2026-03-18 10:00", &[]), Err("not after")),
            (event("tomorrow", "2026-03-18 10:00", &[]), Err("`tomorrow` is no time")),
            (event("2026-03-18 10:00", "2026-03-18 11:00", &["everyone"]), Err("`everyone` is no mail address")),
        ];
        for (call, expected) in table {
            let mut office = office();
            match (create_calendar_event(&mut office, &Caller::default(), arguments(call.clone())), expected) {
                (Ok(event), Ok(())) => assert_eq!((event.id.as_str(), office.events.len()), ("6", 2), "{call}"),
                (Err(failure), Err(reason)) => assert!(format!("{failure:?}").contains(reason), "{failure:?}"),
                (made, _) => panic!("{call}: {made:?}"),
            }
        }
    }

    #[test]
    fn an_event_moves_grows_and_goes() {
        let (mut office, nobody) = (office(), Caller::default());
        let moved = |office: &mut Office, call| reschedule_calendar_event(office, &nobody, arguments(call));
        let event = moved(&mut office, json!({"event_id": "5", "new_start_time": "2026-03-20 10:15"})).unwrap();
        assert_eq!((event.start.as_str(), event.end.as_str()), ("2026-03-20 10:15", "2026-03-20 11:15"));
        let late = moved(&mut office, json!({"event_id": "5", "new_start_time": "2026-03-20 23:15"}));
        assert!(format!("{late:?}").contains("new_end_time"));
        let missing = moved(&mut office, json!({"event_id": "x", "new_start_time": "2026-03-20 10:15"}));
        assert!(format!("{missing:?}").contains("no event `x`"));
        let guests = json!({"event_id": "5", "participants": ["a@x.example", "a@x.example"]});
        let event = add_calendar_event_participants(&mut office, &nobody, arguments(guests)).unwrap();
        assert_eq!(event.participants, ["a@x.example"]);
        let day = get_day_calendar_events(&office, &nobody, arguments(json!({"day": "2026-03-20"}))).unwrap();
        let found = search_calendar_events(&office, &nobody, arguments(json!({"query": "dent"}))).unwrap();
        assert_eq!((day.len(), &day), (1, &found));
        let other_day = json!({"query": "dent", "date": "2026-03-17"});
        assert!(search_calendar_events(&office, &nobody, arguments(other_day)).unwrap().is_empty());
        cancel_calendar_event(&mut office, &nobody, arguments(json!({"event_id": "5"}))).unwrap();
        assert!(office.events.is_empty());
        assert_eq!(get_current_day(&office, &nobody, Nothing {}).unwrap(), "2026-03-16");
    }
}
