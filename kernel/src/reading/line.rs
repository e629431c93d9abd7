//! One foreign JSON line as a job envelope, for submitters: the same mapping a source would use, used before the record
//! is written.

use serde::Serialize;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::ids::JobId;
use tidegate_protocol::job::Retry;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::selector::Selector;

use super::document::ParserMemory;
use super::draft::Draft;
use super::refusal::Refusal;
use super::{mapped, syntax};
use crate::sources::{Mapping, SourceLimitsWritten};

/// The attributes of an envelope; absent ones are left out.
#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    topic: &'a Option<String>,
    #[serde(skip_serializing_if = "no_actor")]
    actor: &'a tidegate_protocol::job::Actor,
    capability: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requires: &'a Vec<tidegate_protocol::ids::Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    risk_tags: &'a Vec<String>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    labels: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Retry::is_default")]
    retry: &'a Retry,
    #[serde(skip_serializing_if = "Selector::is_empty")]
    select: &'a Selector,
    #[serde(skip_serializing_if = "Selector::is_empty")]
    prefer: &'a Selector,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

fn no_actor(actor: &tidegate_protocol::job::Actor) -> bool {
    actor.id.is_none() && actor.kind.is_none()
}

/// The envelope of `line` by `mapping`, on one line, with the payload's exact bytes. `id` is the job's id where the
/// mapping makes none. Nothing the mapping does not use is in it: dropped fields stay with the submitter.
///
/// # Errors
/// The [`Refusal`] a source with this mapping would give.
pub fn envelope_of_line(mapping: &Mapping, line: &[u8], id: Option<&JobId>) -> Result<Vec<u8>, Refusal> {
    let max_depth = SourceLimitsWritten::default().max_depth;
    let draft = ParserMemory::new(max_depth)
        .parse(line, |document| mapped::read(mapping, &mapped::Filling { document, headers: &[] }))
        .map_err(|not_json| syntax(not_json, max_depth, line))??;
    write(&draft, line, id).map_err(|e| Refusal::new(DeadReason::Unparsable, e.to_string()))
}

fn write(draft: &Draft, line: &[u8], id: Option<&JobId>) -> Result<Vec<u8>, serde_json::Error> {
    let attributes = Attributes {
        id: draft.id.as_ref().or(id).map(JobId::as_str),
        tenant: draft.tenant.as_ref().map(tidegate_protocol::ids::TenantId::as_str),
        topic: &draft.topic,
        actor: &draft.actor,
        capability: draft.capability.as_ref().map(tidegate_protocol::ids::Capability::as_str),
        requires: &draft.requires,
        risk_tags: &draft.risk_tags,
        labels: &draft.labels,
        priority: draft.priority,
        deadline: draft.timing.deadline,
        ttl_ms: draft.timing.ttl_ms,
        not_before: draft.timing.not_before,
        delay_ms: draft.timing.delay_ms,
        ordering_key: draft.timing.ordering_key.as_deref(),
        retry: &draft.timing.retry,
        select: &draft.select,
        prefer: &draft.prefer,
        parent: draft.parent.as_ref().map(JobId::as_str),
    };
    let mut out = Vec::with_capacity(line.len() + 128);
    serde_json::to_writer(&mut out, &attributes)?;
    if let Some(PayloadAt::Json(start, end)) = draft.payload {
        out.pop();
        out.extend_from_slice(br#","payload":"#);
        out.extend_from_slice(line.get(start as usize..end as usize).unwrap_or(b"null"));
        out.push(b'}');
    }
    Ok(out)
}
