//! The job envelope: `{id, tenant, topic, actor: {id, type}, capability, requires[], risk_tags[], labels{}, priority,
//! deadline, ttl_ms, not_before | delay_ms, ordering_key, retry: {max_attempts, backoff_ms, max_backoff_ms}, select{},
//! prefer{}, parent, parent_ticket, scope: {capabilities[], topics[]},
//! payload | payload_base64 | payload_ref: {bytes, sha256, base64}}`.
//!
//! A field that is not in this list refuses the record: ignoring it could drop what its writer meant (a misspelt
//! `deadline`, a restriction of a later version). A field that is `null` counts as absent, except `payload`, whose
//! `null` is a payload. A field that stands twice refuses the record: two readers might pick different ones.

use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::delegation::{MAX_PARENT_TICKET_BYTES, Scope};
use tidegate_protocol::hex;
use tidegate_protocol::ids::{Capability, JobId, TenantId};
use tidegate_protocol::selector::{MOST_VALUES, Selector, Wanted};
use tidegate_protocol::topic_glob::TopicGlob;

use super::base64;
use super::document::{Document, NodeAt, ROOT, Shape};
use super::draft::{Draft, Presented, named, priority, room, text, topic};
use super::refusal::{Refusal, quoted};
use super::seen::Fields;
use super::timing;

const FIELDS: [&str; 23] = [
    "id",
    "tenant",
    "topic",
    "actor",
    "capability",
    "requires",
    "risk_tags",
    "labels",
    "priority",
    "deadline",
    "ttl_ms",
    "not_before",
    "delay_ms",
    "ordering_key",
    "retry",
    "select",
    "prefer",
    "parent",
    "parent_ticket",
    "scope",
    "payload",
    "payload_base64",
    "payload_ref",
];

/// Reads an envelope; a base64 payload is decoded into `decoded`.
pub(crate) fn read(document: Document<'_>, decoded: &mut Vec<u8>) -> Result<Draft, Refusal> {
    if document.shape(ROOT) != Shape::Object {
        return Err(Refusal::new(
            tidegate_protocol::outcome::DeadReason::InvalidField,
            format!("the value is {}, not a job envelope (an object)", document.shape(ROOT).word()),
        ));
    }
    let mut draft = Draft::default();
    let mut fields = Fields::new(&FIELDS);
    for (name, at) in document.members(ROOT) {
        fields.meet(name)?;
        let shape = document.shape(at);
        if shape == Shape::Null && name != "payload" {
            continue;
        }
        match name {
            "id" => draft.id = Some(named(name, JobId::new(string(name, shape)?))?),
            "tenant" => draft.tenant = Some(named(name, TenantId::new(string(name, shape)?))?),
            "topic" => draft.topic = Some(topic(string(name, shape)?)?),
            "actor" => actor(document, at, &mut draft)?,
            "capability" => draft.capability = Some(named(name, Capability::new(string(name, shape)?))?),
            "requires" => {
                for item in list(document, name, at)? {
                    room(name, draft.requires.len())?;
                    draft.requires.push(named(name, Capability::new(string(name, document.shape(item))?))?);
                }
            }
            "risk_tags" => {
                for item in list(document, name, at)? {
                    room(name, draft.risk_tags.len())?;
                    draft.risk_tags.push(text(name, string(name, document.shape(item))?)?);
                }
            }
            "labels" => labels(document, at, &mut draft)?,
            "priority" => draft.priority = Some(priority(whole(name, shape)?)?),
            "deadline" => draft.timing.deadline = Some(whole(name, shape)?),
            "ttl_ms" => draft.timing.ttl_ms = Some(whole(name, shape)?),
            "not_before" => draft.timing.not_before = Some(whole(name, shape)?),
            "delay_ms" => draft.timing.delay_ms = Some(whole(name, shape)?),
            "ordering_key" => draft.timing.ordering_key = Some(timing::ordering_key(name, string(name, shape)?)?),
            "retry" => retry(document, at, &mut draft)?,
            "select" => draft.select = selector(document, name, at)?,
            "prefer" => draft.prefer = selector(document, name, at)?,
            "parent" => draft.parent = Some(named(name, JobId::new(string(name, shape)?))?),
            "parent_ticket" => {
                let text = string(name, shape)?;
                if text.len() > MAX_PARENT_TICKET_BYTES {
                    let problem = format!("has {} bytes, more than {MAX_PARENT_TICKET_BYTES}", text.len());
                    return Err(Refusal::field(name, problem));
                }
                draft.parent_ticket = Some(Presented { text: text.to_owned(), at: place(document, name, at)? });
            }
            "scope" => draft.scope = Some(Box::new(scope(document, at)?)),
            "payload" => {
                let (start, end) = place(document, name, at)?;
                alone(name, &mut draft.payload, PayloadAt::Json(start, end))?;
            }
            "payload_ref" => {
                let (start, end) = reference(document, at)?;
                alone(name, &mut draft.payload, PayloadAt::Ref(start, end))?;
            }
            _ => {
                let encoded = string(name, shape)?;
                let (start, end) = place(document, name, at)?;
                if base64::decode(encoded.as_bytes(), decoded).is_none() {
                    return Err(Refusal::field(name, "is no base64 (RFC 4648 section 4, with padding)"));
                }
                alone(name, &mut draft.payload, PayloadAt::Base64(start, end))?;
            }
        }
    }
    Ok(draft)
}

/// A job has one payload, however it is given.
fn alone(field: &str, slot: &mut Option<PayloadAt>, at: PayloadAt) -> Result<(), Refusal> {
    if slot.replace(at).is_some() {
        let others = "stands beside another of `payload`, `payload_base64` and `payload_ref`; a job has one of them";
        return Err(Refusal::field(field, others));
    }
    Ok(())
}

/// A reference to a payload that is kept elsewhere, and where it stands.
fn reference(document: Document<'_>, at: NodeAt) -> Result<(u32, u32), Refusal> {
    const FIELD: &str = "payload_ref";
    object(FIELD, document.shape(at))?;
    let (mut size, mut hash) = (false, false);
    let mut fields = Fields::within(FIELD, &["bytes", "sha256", "base64"]);
    for (name, at) in document.members(at) {
        fields.meet(name)?;
        let shape = document.shape(at);
        match name {
            "bytes" => size = whole("payload_ref.bytes", shape).map(|_| true)?,
            "sha256" => {
                let text = string("payload_ref.sha256", shape)?;
                hex::decode_to_slice(text.as_bytes(), &mut [0; 32])
                    .map_err(|_| Refusal::field("payload_ref.sha256", "is no SHA-256: 64 hex digits"))?;
                hash = true;
            }
            _ if matches!(shape, Shape::Bool(_)) => {}
            _ => return Err(Refusal::field("payload_ref.base64", format!("is {}, not a boolean", shape.word()))),
        }
    }
    if !(size && hash) {
        return Err(Refusal::field(FIELD, "needs `bytes` and `sha256`"));
    }
    place(document, FIELD, at)
}

fn actor(document: Document<'_>, at: NodeAt, draft: &mut Draft) -> Result<(), Refusal> {
    object("actor", document.shape(at))?;
    let mut fields = Fields::within("actor", &["id", "type"]);
    for (name, at) in document.members(at) {
        fields.meet(name)?;
        let shape = document.shape(at);
        if shape == Shape::Null {
            continue;
        }
        let (field, slot) =
            if name == "id" { ("actor.id", &mut draft.actor.id) } else { ("actor.type", &mut draft.actor.kind) };
        *slot = Some(text(field, string(field, shape)?)?);
    }
    Ok(())
}

fn retry(document: Document<'_>, at: NodeAt, draft: &mut Draft) -> Result<(), Refusal> {
    object("retry", document.shape(at))?;
    let mut fields = Fields::within("retry", &["max_attempts", "backoff_ms", "max_backoff_ms"]);
    for (name, at) in document.members(at) {
        fields.meet(name)?;
        let shape = document.shape(at);
        if shape != Shape::Null {
            let field = format!("retry.{name}");
            timing::retry(&mut draft.timing.retry, name, &field, whole(&field, shape)?)?;
        }
    }
    Ok(())
}

fn labels(document: Document<'_>, at: NodeAt, draft: &mut Draft) -> Result<(), Refusal> {
    object("labels", document.shape(at))?;
    for (key, at) in document.members(at) {
        room("labels", draft.labels.len())?;
        let Shape::Text(value) = document.shape(at) else {
            return Err(Refusal::field("labels", format!("has `{}`, whose value is no text", quoted(key))));
        };
        if draft.labels.insert(text("labels", key)?, text("labels", value)?).is_some() {
            return Err(Refusal::field("labels", format!("has `{}` twice", quoted(key))));
        }
    }
    Ok(())
}

fn selector(document: Document<'_>, field: &str, at: NodeAt) -> Result<Selector, Refusal> {
    object(field, document.shape(at))?;
    let mut selector = Selector::default();
    for (label, at) in document.members(at) {
        let wanted = match document.shape(at) {
            Shape::Text(value) => Wanted::Is(value.into()),
            Shape::Bool(there) => Wanted::There(there),
            Shape::List => {
                let value = |item| string(field, document.shape(item)).map(Into::into);
                Wanted::In(document.items(at).take(MOST_VALUES + 1).map(value).collect::<Result<_, _>>()?)
            }
            shape @ (Shape::Null | Shape::Unsigned(_) | Shape::Negative(_) | Shape::Float | Shape::Object) => {
                let problem = format!(
                    "has `{}`, which is {}; write a text, a list of texts, true or false",
                    quoted(label),
                    shape.word()
                );
                return Err(Refusal::field(field, problem));
            }
        };
        selector.want(label, wanted).map_err(|bad| Refusal::field(field, format!("is no selector: {bad}")))?;
    }
    Ok(selector)
}

fn scope(document: Document<'_>, at: NodeAt) -> Result<Scope, Refusal> {
    object("scope", document.shape(at))?;
    let mut scope = Scope::default();
    let mut fields = Fields::within("scope", &["capabilities", "topics"]);
    for (name, at) in document.members(at) {
        fields.meet(name)?;
        let field = if name == "topics" { "scope.topics" } else { "scope.capabilities" };
        for item in list(document, field, at)? {
            let text = string(field, document.shape(item))?;
            if name == "topics" {
                room(field, scope.topics.len())?;
                let glob = TopicGlob::new(text).map_err(|bad| {
                    Refusal::field(field, format!("has `{}`, no topic glob: {}", quoted(text), bad.problem))
                })?;
                scope.topics.insert(glob);
            } else {
                room(field, scope.capabilities.len())?;
                scope.capabilities.insert(named(field, Capability::new(text))?);
            }
        }
    }
    Ok(scope)
}

pub(crate) fn string<'a>(field: &str, shape: Shape<'a>) -> Result<&'a str, Refusal> {
    let Shape::Text(text) = shape else {
        return Err(Refusal::field(field, format!("is {}, not a text", shape.word())));
    };
    Ok(text)
}

fn whole(field: &str, shape: Shape<'_>) -> Result<u64, Refusal> {
    let Shape::Unsigned(number) = shape else {
        return Err(Refusal::field(field, format!("is {}, not a whole number from 0", shape.word())));
    };
    Ok(number)
}

fn object(field: &str, shape: Shape<'_>) -> Result<(), Refusal> {
    if shape != Shape::Object {
        return Err(Refusal::field(field, format!("is {}, not an object", shape.word())));
    }
    Ok(())
}

fn list<'a>(
    document: Document<'a>,
    field: &str,
    at: NodeAt,
) -> Result<impl Iterator<Item = NodeAt> + use<'a>, Refusal> {
    let shape = document.shape(at);
    if shape != Shape::List {
        return Err(Refusal::field(field, format!("is {}, not a list of texts", shape.word())));
    }
    Ok(document.items(at))
}

/// Where a payload stands, in the 32 bits a fact keeps.
pub(crate) fn place(document: Document<'_>, field: &str, at: NodeAt) -> Result<(u32, u32), Refusal> {
    document
        .span(at)
        .and_then(|span| Some((u32::try_from(span.start).ok()?, u32::try_from(span.end).ok()?)))
        .ok_or_else(|| Refusal::field(field, "could not be located in the record"))
}
