//! The mailbox. Sending puts a mail into the sent folder; nothing leaves the machine.

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

use super::{Office, addresses, has, next_id};
use crate::demo::world::bank::Nothing;
use crate::demo::world::call::Caller;

/// A mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    pub(super) id: String,
    folder: Folder,
    from: String,
    to: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
    subject: String,
    body: String,
    #[serde(default)]
    read: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Folder {
    Inbox,
    Sent,
    Drafts,
}

/// Something of the office sent along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Attachment {
    File { file_id: String },
    Event { event_id: String },
}

/// Somebody known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contact {
    name: String,
    email: String,
}

impl Mail {
    pub(super) fn is_received(&self) -> bool {
        self.folder == Folder::Inbox
    }

    pub(super) fn is_sent(&self) -> bool {
        self.folder == Folder::Sent
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    recipients: Vec<String>,
    #[serde(default)]
    cc: Option<Vec<String>>,
    #[serde(default)]
    bcc: Option<Vec<String>>,
    subject: String,
    body: String,
    #[serde(default)]
    attachments: Option<Vec<Attachment>>,
}

/// Sends a mail.
pub(crate) fn send_email(office: &mut Office, _: &Caller, call: Send) -> Result<Mail, Failure> {
    let Send { recipients, cc, bcc, subject, body, attachments } = call;
    let (cc, bcc, attachments) = (cc.unwrap_or_default(), bcc.unwrap_or_default(), attachments.unwrap_or_default());
    if recipients.is_empty() {
        return Err(Failure::new("the mail has no recipient"));
    }
    for list in [&recipients, &cc, &bcc] {
        addresses(list)?;
    }
    for attachment in &attachments {
        let there = match attachment {
            Attachment::File { file_id } => office.files.iter().any(|file| file.id == *file_id),
            Attachment::Event { event_id } => office.events.iter().any(|event| event.id == *event_id),
        };
        if !there {
            return Err(Failure::new("an attachment is not there"));
        }
    }
    let id = next_id(office.mails.iter().map(|mail| &mail.id));
    let from = office.address.clone();
    let mail = Mail { id, folder: Folder::Sent, from, to: recipients, cc, bcc, subject, body, read: true, attachments };
    office.mails.push(mail.clone());
    Ok(mail)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailId {
    email_id: String,
}

/// Deletes a mail for good.
pub(crate) fn delete_email(office: &mut Office, _: &Caller, call: EmailId) -> Result<Mail, Failure> {
    let place = office.mails.iter().position(|mail| mail.id == call.email_id);
    let place = place.ok_or_else(|| Failure::new(format!("there is no mail `{}`", call.email_id)))?;
    Ok(office.mails.remove(place))
}

/// Unread ones, which are read from then on.
pub(crate) fn get_unread_emails(office: &mut Office, _: &Caller, _: Nothing) -> Result<Vec<Mail>, Failure> {
    let unread: Vec<&mut Mail> = office.mails.iter_mut().filter(|mail| mail.is_received() && !mail.read).collect();
    let mark = |mail: &mut Mail| {
        mail.read = true;
        mail.clone()
    };
    Ok(unread.into_iter().map(mark).collect())
}

fn of_folder(office: &Office, folder: Folder) -> Vec<Mail> {
    office.mails.iter().filter(|mail| mail.folder == folder).cloned().collect()
}

/// The inbox.
pub(crate) fn get_received_emails(office: &Office, _: &Caller, _: Nothing) -> Result<Vec<Mail>, Failure> {
    Ok(of_folder(office, Folder::Inbox))
}

/// What was sent.
pub(crate) fn get_sent_emails(office: &Office, _: &Caller, _: Nothing) -> Result<Vec<Mail>, Failure> {
    Ok(of_folder(office, Folder::Sent))
}

/// What was begun.
pub(crate) fn get_draft_emails(office: &Office, _: &Caller, _: Nothing) -> Result<Vec<Mail>, Failure> {
    Ok(of_folder(office, Folder::Drafts))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchMail {
    query: String,
    #[serde(default)]
    sender: Option<String>,
}

/// Mails with the text in subject or body, of one sender when named.
pub(crate) fn search_emails(office: &Office, _: &Caller, call: SearchMail) -> Result<Vec<Mail>, Failure> {
    let SearchMail { query, sender } = call;
    let of_sender = |mail: &Mail| sender.as_ref().is_none_or(|sender| mail.from.eq_ignore_ascii_case(sender));
    let found = office.mails.iter().filter(|m| of_sender(m) && (has(&m.subject, &query) || has(&m.body, &query)));
    Ok(found.cloned().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    query: String,
}

/// Contacts with that in their name.
pub(crate) fn search_contacts_by_name(office: &Office, _: &Caller, call: Query) -> Result<Vec<Contact>, Failure> {
    Ok(office.contacts.iter().filter(|contact| has(&contact.name, &call.query)).cloned().collect())
}

/// Contacts with that in their address.
pub(crate) fn search_contacts_by_email(office: &Office, _: &Caller, call: Query) -> Result<Vec<Contact>, Failure> {
    Ok(office.contacts.iter().filter(|contact| has(&contact.email, &call.query)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, office};
    use super::*;

    #[test]
    fn a_mail_is_sent_whole_or_not_at_all() {
        let table = [
            (json!({"recipients": ["a@x.example"], "subject": "s", "body": "b"}), Ok(())),
            (
                json!({"recipients": ["a@x.example"], "subject": "s", "body": "b",
                    "attachments": [{"type": "file", "file_id": "9"}, {"type": "event", "event_id": "5"}]}),
                Ok(()),
            ),
            (json!({"recipients": [], "subject": "s", "body": "b"}), Err("no recipient")),
            (
                json!({"recipients": ["a@x.example"], "bcc": ["nobody"], "subject": "s", "body": "b"}),
                Err("`nobody` is no"),
            ),
            (
                json!({"recipients": ["a@x.example"], "subject": "s", "body": "b",
                    "attachments": [{"type": "file", "file_id": "77"}]}),
                Err("attachment is not there"),
            ),
        ];
        for (call, expected) in table {
            let mut office = office();
            let sent = send_email(&mut office, &Caller::default(), arguments(call.clone()));
            match (sent, expected) {
                (Ok(mail), Ok(())) => {
                    assert_eq!((mail.id.as_str(), mail.from.as_str()), ("4", "emma@firm.example"), "{call}");
                    assert_eq!(office.inventory().sent, 2);
                }
                (Err(failure), Err(reason)) => {
                    assert!(format!("{failure:?}").contains(reason), "{failure:?}");
                    assert_eq!(office.inventory().sent, 1);
                }
                (sent, _) => panic!("{call}: {sent:?}"),
            }
        }
    }

    #[test]
    fn mails_are_found_and_read_and_deleted() {
        let (mut office, nobody) = (office(), Caller::default());
        let ids = |mails: Vec<Mail>| -> Vec<String> { mails.into_iter().map(|mail| mail.id).collect() };
        let search = |query: &str, sender: Option<&str>| {
            let call = arguments(json!({"query": query, "sender": sender}));
            ids(search_emails(&office, &nobody, call).unwrap())
        };
        assert_eq!(search("lunch", None), ["1", "2", "3"]);
        assert_eq!(search("lunch", Some("A@x.example")), ["1"]);
        assert_eq!(search("", Some("b@x.example")), ["2"]);
        assert_eq!(ids(get_unread_emails(&mut office, &nobody, Nothing {}).unwrap()), ["1"]);
        assert!(get_unread_emails(&mut office, &nobody, Nothing {}).unwrap().is_empty(), "they are read now");
        assert!(get_draft_emails(&office, &nobody, Nothing {}).unwrap().is_empty());
        let delete = |office: &mut Office| delete_email(office, &nobody, arguments(json!({"email_id": "2"})));
        assert_eq!(delete(&mut office).unwrap().subject, "Invoice");
        assert!(format!("{:?}", delete(&mut office)).contains("there is no mail `2`"));
        assert_eq!(ids(get_received_emails(&office, &nobody, Nothing {}).unwrap()), ["1"]);
        assert_eq!(ids(get_sent_emails(&office, &nobody, Nothing {}).unwrap()), ["3"]);
    }

    #[test]
    fn contacts_are_found_by_either() {
        let (office, nobody) = (office(), Caller::default());
        assert_eq!(search_contacts_by_name(&office, &nobody, arguments(json!({"query": "LIND"}))).unwrap().len(), 1);
        assert_eq!(search_contacts_by_email(&office, &nobody, arguments(json!({"query": "b@"}))).unwrap().len(), 0);
    }
}
