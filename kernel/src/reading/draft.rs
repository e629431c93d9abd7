//! A job while it is being read: what all formats have in common.

use std::collections::BTreeMap;

use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::delegation::Scope;
use tidegate_protocol::ids::{BadName, Capability, JobId, TenantId};
use tidegate_protocol::job::{Actor, DEFAULT_PRIORITY, InputHash, Job, SourcePosition};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::selector::Selector;

use super::Found;
use super::refusal::{Refusal, quoted};
use super::timing::{Times, Timing};
use crate::sources::{Source, Tenants};

/// Longest topic of a job, in bytes.
pub const MAX_TOPIC_BYTES: usize = 256;
/// Most segments of a job's topic.
pub const MAX_TOPIC_SEGMENTS: usize = 32;
/// Most entries of `requires`, of `risk_tags`, and of `labels`.
pub const MAX_ENTRIES: usize = 64;
/// Longest text of an actor's id or kind, of a tag, of a label's name or value, in bytes.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Most bytes of everything but the payload: keeps every fact far below a record's limit.
pub const MAX_ATTRIBUTE_BYTES: usize = 16 << 10;

/// What has been read so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) id: Option<JobId>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) topic: Option<String>,
    pub(crate) actor: Actor,
    pub(crate) capability: Option<Capability>,
    pub(crate) requires: Vec<Capability>,
    pub(crate) risk_tags: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) priority: Option<u8>,
    pub(crate) select: Selector,
    pub(crate) prefer: Selector,
    pub(crate) timing: Timing,
    pub(crate) parent: Option<JobId>,
    pub(crate) scope: Option<Box<Scope>>,
    pub(crate) parent_ticket: Option<Presented>,
    pub(crate) payload: Option<PayloadAt>,
}

/// A text given as a parent's ticket, and where it stands in the value, `[start, end)`.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) text: String,
    pub(crate) at: (u32, u32),
}

impl Presented {
    /// What stands before it and behind it.
    pub(super) fn around<'v>(&self, value: &'v [u8]) -> (&'v [u8], &'v [u8]) {
        let (start, end) = (self.at.0 as usize, self.at.1 as usize);
        (value.get(..start).unwrap_or(value), value.get(end..).unwrap_or_default())
    }
}

/// A name that its kind does not allow, for field `field`.
pub(crate) fn named<T>(field: &str, made: Result<T, BadName>) -> Result<T, Refusal> {
    made.map_err(|bad| Refusal::field(field, format!("is `{}`, which {}", quoted(&bad.name), bad.rule)))
}

/// Bounded text without control characters.
pub(crate) fn text(field: &str, value: &str) -> Result<String, Refusal> {
    if value.len() > MAX_TEXT_BYTES {
        return Err(Refusal::field(field, format!("has {} bytes, more than {MAX_TEXT_BYTES}", value.len())));
    }
    if value.chars().any(char::is_control) {
        return Err(Refusal::field(field, "has a control character"));
    }
    Ok(value.to_owned())
}

/// A dotted name: 1 to 32 non-empty segments without wildcards, white space or control characters.
pub(crate) fn topic(value: &str) -> Result<String, Refusal> {
    let bad = |problem: &str| Refusal::field("topic", format!("is `{}`, {problem}", quoted(value)));
    if value.len() > MAX_TOPIC_BYTES {
        return Err(bad("longer than 256 bytes"));
    }
    if value.split('.').any(str::is_empty) {
        return Err(bad("not dotted segments like `job.payments.wire`"));
    }
    if value.split('.').count() > MAX_TOPIC_SEGMENTS {
        return Err(bad("more than 32 segments"));
    }
    if value.chars().any(|c| matches!(c, '*' | '>') || c.is_whitespace() || c.is_control()) {
        return Err(bad("which has a wildcard, white space or a control character"));
    }
    Ok(value.to_owned())
}

/// 0 to 9.
pub(crate) fn priority(value: u64) -> Result<u8, Refusal> {
    u8::try_from(value)
        .ok()
        .filter(|p| *p <= 9)
        .ok_or_else(|| Refusal::field("priority", format!("is `{value}`, not 0 to 9")))
}

/// Refuses a list that is too long already.
pub(crate) fn room(field: &str, entries: usize) -> Result<(), Refusal> {
    if entries < MAX_ENTRIES {
        Ok(())
    } else {
        Err(Refusal::field(field, format!("has more than {MAX_ENTRIES} entries")))
    }
}

impl Draft {
    /// Checks what no format checks by itself and makes the job. `at_ms` is when the kernel reads it, `submitted_ms` when
    /// its record was appended.
    pub(crate) fn finish(
        self,
        source: &Source,
        position: SourcePosition,
        input_hash: InputHash,
        (at_ms, submitted_ms): (u64, u64),
        made_id: Option<JobId>,
    ) -> Result<Found, Refusal> {
        let missing = |field: &str| Refusal::field(field, "is missing");
        let topic = self.topic.ok_or_else(|| missing("topic"))?;
        let capability = self.capability.ok_or_else(|| missing("capability"))?;
        let tenant = admitted(source.tenants(), self.tenant, source)?;
        if let Some(id) = &self.id {
            not_a_position(id, source)?;
        }
        let id = match self.id.or(made_id) {
            Some(id) => id,
            // The same in every life of the record.
            None => JobId::from(&position.redriven(0)),
        };
        let Times { not_before, deadline } = self.timing.at(at_ms)?;
        let job = Job {
            id,
            tenant,
            topic,
            actor: self.actor,
            capability,
            requires: self.requires,
            risk_tags: self.risk_tags,
            labels: self.labels,
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            deadline,
            not_before,
            ordering_key: self.timing.ordering_key,
            select: self.select,
            prefer: self.prefer,
            retry: self.timing.retry,
            parent: self.parent,
            scope: self.scope,
            delegation: None,
            source: position,
            input_hash,
            submitted_ms,
        };
        let bytes = attribute_bytes(&job);
        if bytes > MAX_ATTRIBUTE_BYTES {
            let detail = format!("everything but the payload has {bytes} bytes, more than {MAX_ATTRIBUTE_BYTES}");
            return Err(Refusal::new(DeadReason::InvalidField, detail));
        }
        let parent_ticket = self.parent_ticket.map(|presented| presented.text);
        Ok(Found { job, payload: self.payload.unwrap_or(PayloadAt::None), parent_ticket })
    }
}

/// Ids of the form that positions of this source have are made by the kernel alone, so that no submitter can take the
/// id of a record that is still to come.
fn not_a_position(id: &JobId, source: &Source) -> Result<(), Refusal> {
    let looks = id.as_str().contains('@')
        && id.as_str().parse::<SourcePosition>().is_ok_and(|position| position.source == *source.name());
    if looks {
        let problem = format!("is `{}`, a form kept for records without an id", quoted(id.as_str()));
        return Err(Refusal::field("id", problem));
    }
    Ok(())
}

fn admitted(tenants: &Tenants, named: Option<TenantId>, source: &Source) -> Result<TenantId, Refusal> {
    use crate::sources::TenantRefused::{Missing, NotAllowed};
    tenants.admit(named).map_err(|refused| match refused {
        Missing => Refusal::field("tenant", "is missing, and the source has no constant one"),
        NotAllowed(tenant) => Refusal::new(
            DeadReason::TenantNotAllowed,
            format!("source `{}` may not speak for tenant `{}`", source.name(), quoted(tenant.as_str())),
        ),
    })
}

/// Bytes of everything a submitter wrote that is carried in facts.
fn attribute_bytes(job: &Job) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    job.id.as_str().len()
        + job.tenant.as_str().len()
        + job.topic.len()
        + optional(&job.actor.id)
        + optional(&job.actor.kind)
        + job.capability.as_str().len()
        + job.requires.iter().map(|c| c.as_str().len() + 3).sum::<usize>()
        + job.risk_tags.iter().map(|t| t.len() + 3).sum::<usize>()
        + job.labels.iter().map(|(k, v)| k.len() + v.len() + 6).sum::<usize>()
        + job.parent.as_ref().map_or(0, |p| p.as_str().len())
        + job.scope.as_deref().map_or(0, scope_bytes)
        + optional(&job.ordering_key)
        + job.select.bytes()
        + job.prefer.bytes()
}

fn scope_bytes(scope: &Scope) -> usize {
    scope.capabilities.iter().map(|c| c.as_str().len() + 3).sum::<usize>()
        + scope.topics.iter().map(|t| t.as_str().len() + 3).sum::<usize>()
}
