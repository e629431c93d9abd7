//! A small office: a mailbox with contacts, a calendar, and a drive of files.

mod calendar;
mod files;
mod mail;

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

pub(crate) use calendar::{
    add_calendar_event_participants, cancel_calendar_event, create_calendar_event, get_current_day,
    get_day_calendar_events, reschedule_calendar_event, search_calendar_events,
};
pub(crate) use files::{
    append_to_file, create_file, delete_file, get_file_by_id, list_files, search_files, search_files_by_filename,
    share_file,
};
pub(crate) use mail::{
    delete_email, get_draft_emails, get_received_emails, get_sent_emails, get_unread_emails, search_contacts_by_email,
    search_contacts_by_name, search_emails, send_email,
};

use calendar::Event;
use files::File;
use mail::{Contact, Mail};

/// Everything the office knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Office {
    /// The office's day.
    today: String,
    /// The address mail is sent from.
    address: String,
    mails: Vec<Mail>,
    contacts: Vec<Contact>,
    events: Vec<Event>,
    files: Vec<File>,
}

/// How much there is of everything, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Inventory {
    /// Mails received and not deleted.
    pub(crate) mails: usize,
    /// Mails sent.
    pub(crate) sent: usize,
    /// Events.
    pub(crate) events: usize,
    /// Files.
    pub(crate) files: usize,
    /// Files that somebody else may see.
    pub(crate) shared_files: usize,
}

impl Office {
    pub(crate) fn inventory(&self) -> Inventory {
        Inventory {
            mails: self.mails.iter().filter(|mail| mail.is_received()).count(),
            sent: self.mails.iter().filter(|mail| mail.is_sent()).count(),
            events: self.events.len(),
            files: self.files.len(),
            shared_files: self.files.iter().filter(|file| file.is_shared()).count(),
        }
    }
}

/// The number after the highest in use. Ids are texts, as agents write them.
fn next_id<'a>(ids: impl Iterator<Item = &'a String>) -> String {
    (ids.filter_map(|id| id.parse::<u64>().ok()).max().unwrap_or(0) + 1).to_string()
}

/// Whether `text` has `query` in it, whatever the case.
fn has(text: &str, query: &str) -> bool {
    text.to_lowercase().contains(&query.to_lowercase())
}

/// Every address must look like one: a function of the office never guesses whom an agent meant.
fn addresses(all: &[String]) -> Result<(), Failure> {
    match all.iter().find(|address| !is_address(address)) {
        Some(bad) => Err(Failure::new(format!("`{bad}` is no mail address"))),
        None => Ok(()),
    }
}

fn is_address(text: &str) -> bool {
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '<' | '>'));
    let parts = text.split_once('@');
    plain && parts.is_some_and(|(name, at)| !name.is_empty() && at.contains('.') && !at.contains('@'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn office() -> Office {
        serde_json::from_value(serde_json::json!({
            "today": "2026-03-16", "address": "emma@firm.example",
            "mails": [
                {"id": "1", "folder": "inbox", "from": "a@x.example", "to": ["emma@firm.example"], "subject": "Lunch",
                 "body": "at noon?", "read": false},
                {"id": "2", "folder": "inbox", "from": "b@x.example", "to": ["emma@firm.example"], "subject": "Invoice",
                 "body": "lunch invoice", "read": true},
                {"id": "3", "folder": "sent", "from": "emma@firm.example", "to": ["a@x.example"], "subject": "Re: Lunch",
                 "body": "yes"}],
            "contacts": [{"name": "Ada Lind", "email": "a@x.example"}],
            "events": [
                {"id": "5", "title": "Dentist", "start": "2026-03-17 09:00", "end": "2026-03-17 09:30",
                 "participants": []}],
            "files": [
                {"id": "9", "filename": "plan.docx", "content": "First line", "shared_with": {}},
                {"id": "10", "filename": "budget.xlsx", "content": "numbers", "shared_with": {"b@x.example": "r"}}]}))
        .unwrap()
    }

    pub(crate) fn arguments<A: serde::de::DeserializeOwned>(json: serde_json::Value) -> A {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_no_address_is_named() {
        for good in ["a@b.example", "a.b+c@d.e.example"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "a", "@b.example", "a@b", "a@b.example,c@d.example", "a b@c.example", "<a@b.example>", "a@b@c.example"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn there_is_a_number_for_everything() {
        let expected = Inventory { mails: 2, sent: 1, events: 1, files: 2, shared_files: 1 };
        assert_eq!(office().inventory(), expected);
    }
}
