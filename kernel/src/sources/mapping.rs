//! What each attribute of a job is made of, for records that are no job envelopes.

use std::collections::{BTreeMap, BTreeSet};

use super::written::{MappingWritten, OthersWritten, RetryWritten};
use super::{Hole, Origin, Pointer, Template};

/// A checked mapping from a foreign JSON record to a job; what may be written is in
/// [`MappingWritten`](super::MappingWritten), how it is carried out in [`crate::reading`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(crate) id: Option<Template>,
    pub(crate) tenant: Option<Template>,
    pub(crate) topic: Template,
    pub(crate) actor_id: Option<Template>,
    pub(crate) actor_type: Option<Template>,
    pub(crate) capability: Template,
    pub(crate) requires: Vec<Template>,
    pub(crate) risk_tags: Vec<Template>,
    pub(crate) labels: Vec<(Box<str>, Template)>,
    pub(crate) priority: Option<Template>,
    pub(crate) deadline: Option<Template>,
    pub(crate) ttl_ms: Option<Template>,
    pub(crate) not_before: Option<Template>,
    pub(crate) delay_ms: Option<Template>,
    pub(crate) ordering_key: Option<Template>,
    pub(crate) select: Vec<(Box<str>, Template)>,
    pub(crate) prefer: Vec<(Box<str>, Template)>,
    /// By the name of the field.
    pub(crate) retry: Vec<(&'static str, Template)>,
    pub(crate) parent: Option<Template>,
    pub(crate) payload: Option<Pointer>,
    pub(crate) others: Others,
    /// Headers its templates name, sorted.
    pub(crate) headers: Vec<Box<str>>,
}

/// What becomes of top-level fields that are neither used nor dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Others {
    /// Only these may be there.
    Refused { known: BTreeSet<Box<str>> },
    /// Anything may.
    Ignored,
}

/// Field and problem.
type Wrong = (&'static str, String);

impl Mapping {
    /// Checks what was written; the error names the field and what is wrong with it.
    ///
    /// # Errors
    /// A template or pointer that cannot be read, a required attribute that is missing, or a drop that has no meaning.
    pub fn checked(written: &MappingWritten) -> Result<Self, (&'static str, String)> {
        let payload = match &written.payload {
            Some(text) => Some(Pointer::parse(text).map_err(|problem| ("payload", problem))?),
            None => None,
        };
        let mut mapping = Self {
            id: optional("id", written.id.as_deref())?,
            tenant: optional("tenant", written.tenant.as_deref())?,
            topic: required("topic", &written.topic)?,
            actor_id: optional("actor.id", written.actor.id.as_deref())?,
            actor_type: optional("actor.type", written.actor.kind.as_deref())?,
            capability: required("capability", &written.capability)?,
            requires: list("requires", &written.requires)?,
            risk_tags: list("risk_tags", &written.risk_tags)?,
            labels: by_label("labels", &written.labels)?,
            select: by_label("select", &written.select)?,
            prefer: by_label("prefer", &written.prefer)?,
            priority: optional("priority", written.priority.as_deref())?,
            deadline: optional("deadline", written.deadline.as_deref())?,
            ttl_ms: optional("ttl_ms", written.ttl_ms.as_deref())?,
            not_before: optional("not_before", written.not_before.as_deref())?,
            delay_ms: optional("delay_ms", written.delay_ms.as_deref())?,
            ordering_key: optional("ordering_key", written.ordering_key.as_deref())?,
            retry: retry(&written.retry)?,
            parent: optional("parent", written.parent.as_deref())?,
            payload,
            others: Others::Ignored,
            headers: Vec::new(),
        };
        mapping.headers = mapping.named_headers();
        mapping.others = mapping.fields(written)?;
        Ok(mapping)
    }

    /// Whether it says nothing about the tenant.
    pub(crate) const fn names_no_tenant(&self) -> bool {
        self.tenant.is_none()
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.topic, &self.capability]
            .into_iter()
            .chain([&self.id, &self.tenant, &self.actor_id, &self.actor_type].into_iter().flatten())
            .chain([&self.priority, &self.deadline, &self.parent, &self.ordering_key].into_iter().flatten())
            .chain([&self.ttl_ms, &self.not_before, &self.delay_ms].into_iter().flatten())
            .chain(self.retry.iter().map(|(_, template)| template))
            .chain(&self.requires)
            .chain(&self.risk_tags)
            .chain([&self.labels, &self.select, &self.prefer].into_iter().flatten().map(|(_, template)| template))
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.templates().flat_map(Template::holes)
    }

    fn named_headers(&self) -> Vec<Box<str>> {
        let names: BTreeSet<Box<str>> = self
            .holes()
            .filter_map(|hole| match &hole.origin {
                Origin::Header(name) => Some(name.clone()),
                Origin::Field(_) => None,
            })
            .collect();
        names.into_iter().collect()
    }

    fn fields(&self, written: &MappingWritten) -> Result<Others, Wrong> {
        let whole = self.payload.as_ref().is_some_and(|pointer| pointer.tokens.is_empty());
        let mut known: BTreeSet<Box<str>> = self
            .holes()
            .filter_map(|hole| match &hole.origin {
                Origin::Field(pointer) => pointer.tokens.first().cloned(),
                Origin::Header(_) => None,
            })
            .chain(self.payload.as_ref().and_then(|pointer| pointer.tokens.first().cloned()))
            .collect();
        for text in &written.drop {
            let pointer = Pointer::parse(text).map_err(|problem| ("drop", problem))?;
            let [field] = pointer.tokens.as_slice() else {
                return Err(("drop", format!("`{text}` is no top-level field; write `/NAME`")));
            };
            if whole {
                let problem = format!("`{text}` would be carried on, as the payload is the whole record's exact bytes");
                return Err(("drop", problem));
            }
            if !known.insert(field.clone()) {
                return Err(("drop", format!("`{text}` is used by the mapping or dropped twice")));
            }
        }
        Ok(match written.others {
            // Whatever is there is carried on in the payload.
            _ if whole => Others::Ignored,
            OthersWritten::Refuse => Others::Refused { known },
            OthersWritten::Ignore => Others::Ignored,
        })
    }
}

fn template(field: &'static str, text: &str) -> Result<Template, Wrong> {
    Template::parse(text).map_err(|problem| (field, problem))
}

fn optional(field: &'static str, text: Option<&str>) -> Result<Option<Template>, Wrong> {
    text.map(|text| template(field, text)).transpose()
}

fn by_label(field: &'static str, written: &BTreeMap<String, String>) -> Result<Vec<(Box<str>, Template)>, Wrong> {
    written.iter().map(|(label, text)| Ok((label.as_str().into(), template(field, text)?))).collect()
}

fn required(field: &'static str, text: &str) -> Result<Template, Wrong> {
    if text.is_empty() {
        return Err((field, "it is missing, and every job has one".to_owned()));
    }
    template(field, text)
}

fn retry(written: &RetryWritten) -> Result<Vec<(&'static str, Template)>, Wrong> {
    let RetryWritten { max_attempts, backoff_ms, max_backoff_ms } = written;
    [("max_attempts", max_attempts), ("backoff_ms", backoff_ms), ("max_backoff_ms", max_backoff_ms)]
        .into_iter()
        .filter_map(|(name, text)| Some(template("retry", text.as_deref()?).map(|template| (name, template))))
        .collect()
}

fn list(field: &'static str, texts: &[String]) -> Result<Vec<Template>, Wrong> {
    texts.iter().map(|text| template(field, text)).collect()
}
