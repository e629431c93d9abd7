//! A case's job.

use crate::language::TextSet;
use crate::source::{Fields, Node, Reader, Value};
use crate::subject::{Delegation, Principal, Subject};
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
    delegation: Option<Delegated>,
    payload: Vec<u8>,
}

/// Somebody's id and kind.
type Acting = (Option<Box<str>>, Option<Box<str>>);

/// What to do about what a verdict does not depend on.
const TIMES: &str = "remove it; when and how often a job is tried is no matter of its verdict";

/// Whom it acts for: `{chain: [{id, type}, …], scope: [names]}`, root first. Without `scope` that is not known.
#[derive(Default)]
struct Delegated {
    chain: Vec<Acting>,
    scope: Option<TextSet>,
}

impl Job {
    /// Those it acts for.
    pub(super) fn principals(&self) -> Vec<Principal<'_>> {
        let chain = self.delegation.iter().flat_map(|delegation| &delegation.chain);
        chain.map(|(id, kind)| Principal { actor_id: id.as_deref(), actor_type: kind.as_deref() }).collect()
    }

    /// As policy sees it, acting for these.
    pub(super) fn subject<'a>(&'a self, principals: &'a [Principal<'a>]) -> Subject<'a> {
        let delegation = self.delegation.as_ref().map(|delegation| Delegation {
            chain: principals,
            scope: delegation.scope.as_ref().map(|scope| scope as &dyn crate::subject::Names),
        });
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
            delegation,
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
    "delegation",
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
        &[
            ("parent", "remove it; what is judged of a job alone does not depend on its parent"),
            ("payload_base64", "write the payload as YAML under `payload`"),
            ("ttl_ms", TIMES),
            ("not_before", TIMES),
            ("delay_ms", TIMES),
            ("ordering_key", TIMES),
            ("retry", TIMES),
            ("select", TIMES),
            ("prefer", TIMES),
        ],
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
        delegation: fields.get("delegation").map_or(Some(None), |node| delegation(reader, node, &what).map(Some))?,
        payload: payload(reader, fields, &what),
    })
}

fn delegation(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Delegated> {
    let what = format!("`delegation` of {what}");
    let fields = reader.fields(node, &what)?;
    reader.only(fields, &what, &["chain", "scope"], &[]);
    let chain = reader.required(fields, "chain", &what)?;
    let links = reader.filled_list(chain, &format!("`chain` of {what}"))?;
    let mut chain = Vec::with_capacity(links.len());
    for link in links {
        let what = format!("an entry of `chain` in {what}");
        let actor = reader.fields(link, &what)?;
        reader.only(actor, &what, &["id", "type"], &[]);
        chain.push((reader.optional_text(actor, "id", &what), reader.optional_text(actor, "type", &what)));
    }
    let scope = match fields.get("scope") {
        None => None,
        Some(_) => Some(reader.texts(fields, "scope", &what)?),
    };
    Some(Delegated { chain, scope })
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
