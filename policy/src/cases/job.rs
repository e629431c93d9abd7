//! A case's job.

use crate::language::TextSet;
use crate::source::{Fields, Node, Reader, Value};
use crate::subject::Subject;
use std::collections::BTreeMap;

/// A job as a submitter writes it.
#[derive(Default)]
pub(super) struct Job {
    id: Option<Box<str>>,
    tenant: Box<str>,
    topic: Box<str>,
    capability: Box<str>,
    actor_id: Option<Box<str>>,
    actor_type: Option<Box<str>>,
    requires: TextSet,
    risk_tags: TextSet,
    labels: BTreeMap<Box<str>, Box<str>>,
    pack_id: Option<Box<str>>,
    priority: Option<u8>,
    deadline_ms: Option<u64>,
    payload: Vec<u8>,
}

impl Job {
    /// As policy sees it.
    pub(super) fn subject(&self) -> Subject<'_> {
        let subject = Subject::new(&self.tenant, &self.topic, &self.capability);
        Subject {
            job_id: self.id.as_deref(),
            actor_id: self.actor_id.as_deref(),
            actor_type: self.actor_type.as_deref(),
            requires: &self.requires,
            risk_tags: &self.risk_tags,
            labels: &self.labels,
            pack_id: self.pack_id.as_deref(),
            priority: self.priority.unwrap_or(subject.priority),
            deadline_ms: self.deadline_ms,
            payload: &self.payload,
            ..subject
        }
    }
}

const KNOWN: &[&str] = &[
    "id",
    "tenant",
    "topic",
    "actor",
    "capability",
    "requires",
    "risk_tags",
    "labels",
    "pack_id",
    "priority",
    "deadline",
    "payload",
    "payload_text",
];

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Job> {
    let what = format!("`job` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(
        fields,
        &what,
        KNOWN,
        &["parent", "payload_base64", "ttl_ms", "not_before", "delay_ms", "ordering_key", "retry"],
    );
    let actor = fields.get("actor").and_then(|node| reader.fields(node, &format!("`actor` of {what}")));
    if let Some(actor) = actor {
        reader.only(actor, &format!("`actor` of {what}"), &["id", "type"], &[]);
    }
    let mut part = |name: &str| actor.and_then(|actor| reader.optional_text(actor, name, &what));
    let (actor_id, actor_type) = (part("id"), part("type"));
    let labels = fields.get("labels").and_then(|node| reader.fields(node, &format!("`labels` of {what}")));
    let labels = labels.into_iter().flat_map(Fields::iter).filter_map(|(key, node)| {
        let value = reader.text(node, &format!("label `{}` of {what}", key.name))?;
        Some((key.name.as_str().into(), value.into()))
    });
    let labels = labels.collect();
    let priority = fields.get("priority").and_then(|node| {
        let number = reader.whole(node, &format!("`priority` of {what}"))?;
        let priority = u8::try_from(number).ok().filter(|priority| *priority <= 9);
        if priority.is_none() {
            reader.wrong(node.line, format!("`priority` of {what} is above 9"), "write 0 to 9");
        }
        priority
    });
    Some(Job {
        id: reader.optional_text(fields, "id", &what),
        tenant: reader.optional_text(fields, "tenant", &what).unwrap_or_default(),
        topic: reader.optional_text(fields, "topic", &what).unwrap_or_default(),
        capability: reader.optional_text(fields, "capability", &what).unwrap_or_default(),
        actor_id,
        actor_type,
        requires: reader.texts(fields, "requires", &what)?,
        risk_tags: reader.texts(fields, "risk_tags", &what)?,
        labels,
        pack_id: reader.optional_text(fields, "pack_id", &what),
        priority,
        deadline_ms: fields.get("deadline").and_then(|node| reader.whole(node, &format!("`deadline` of {what}"))),
        payload: payload(reader, fields, &what),
    })
}

fn payload(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Vec<u8> {
    match (fields.get("payload"), fields.get("payload_text")) {
        (Some(_), Some(node)) => {
            reader.wrong(node.line, format!("{what} has `payload` and `payload_text`"), "keep one of them");
            Vec::new()
        }
        (Some(node), None) => node.to_json().to_string().into_bytes(),
        // Not `text`: an empty payload is a case worth testing.
        (None, Some(Node { value: Value::Text(text), .. })) => text.as_bytes().to_vec(),
        (None, Some(node)) => {
            reader.wrong(node.line, format!("`payload_text` of {what} must be text"), "put it in quotes");
            Vec::new()
        }
        (None, None) => b"null".to_vec(),
    }
}
