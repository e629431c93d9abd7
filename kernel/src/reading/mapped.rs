//! Foreign JSON records, read by a [`Mapping`].

use std::borrow::Cow;

use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::ids::{Capability, JobId, TenantId};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::selector::Wanted;

use super::document::{Document, ROOT, Shape};
use super::draft::{Draft, named, priority, room, text, topic};
use super::envelope::place;
use super::refusal::{Refusal, quoted};
use super::timing;
use crate::sources::{Hole, Mapping, Origin, Others, Template};

/// A record and its headers, as far as templates see them.
pub(crate) struct Filling<'a> {
    pub(crate) document: Document<'a>,
    /// Name and value of the headers the mapping names, checked to be text.
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

/// Reads a record by its mapping.
pub(crate) fn read(mapping: &Mapping, filling: &Filling<'_>) -> Result<Draft, Refusal> {
    let document = filling.document;
    if document.shape(ROOT) != Shape::Object {
        let detail = format!("the value is {}, and only objects are mapped", document.shape(ROOT).word());
        return Err(Refusal::new(DeadReason::InvalidField, detail));
    }
    if let Others::Refused { known } = &mapping.others {
        let unknown = document.members(ROOT).map(|(name, _)| name).find(|name| !known.contains(*name));
        if let Some(name) = unknown {
            return Err(Refusal::field(name, "is neither used nor dropped by the source's mapping"));
        }
    }
    let mut draft = Draft {
        id: filling.optional("id", mapping.id.as_ref())?.map(|v| named("id", JobId::new(v))).transpose()?,
        tenant: filling
            .optional("tenant", mapping.tenant.as_ref())?
            .map(|v| named("tenant", TenantId::new(v)))
            .transpose()?,
        topic: Some(topic(&filling.topic(&mapping.topic)?)?),
        capability: Some(named("capability", Capability::new(filling.required("capability", &mapping.capability)?))?),
        parent: filling
            .optional("parent", mapping.parent.as_ref())?
            .map(|v| named("parent", JobId::new(v)))
            .transpose()?,
        ..Draft::default()
    };
    draft.actor.id =
        filling.optional("actor.id", mapping.actor_id.as_ref())?.map(|v| text("actor.id", &v)).transpose()?;
    draft.actor.kind =
        filling.optional("actor.type", mapping.actor_type.as_ref())?.map(|v| text("actor.type", &v)).transpose()?;
    for template in &mapping.requires {
        filling.each("requires", template, &mut |value| {
            room("requires", draft.requires.len())?;
            draft.requires.push(named("requires", Capability::new(value))?);
            Ok(())
        })?;
    }
    for template in &mapping.risk_tags {
        filling.each("risk_tags", template, &mut |value| {
            room("risk_tags", draft.risk_tags.len())?;
            draft.risk_tags.push(text("risk_tags", value)?);
            Ok(())
        })?;
    }
    for (key, template) in &mapping.labels {
        if let Some(value) = filling.optional("labels", Some(template))? {
            room("labels", draft.labels.len())?;
            draft.labels.insert(key.to_string(), text("labels", &value)?);
        }
    }
    if let Some(value) = filling.optional("priority", mapping.priority.as_ref())? {
        draft.priority = Some(priority(whole("priority", &value)?)?);
    }
    if let Some(value) = filling.optional("deadline", mapping.deadline.as_ref())? {
        draft.timing.deadline = Some(whole("deadline", &value)?);
    }
    if let Some(value) = filling.optional("ttl_ms", mapping.ttl_ms.as_ref())? {
        draft.timing.ttl_ms = Some(whole("ttl_ms", &value)?);
    }
    if let Some(value) = filling.optional("not_before", mapping.not_before.as_ref())? {
        draft.timing.not_before = Some(whole("not_before", &value)?);
    }
    if let Some(value) = filling.optional("delay_ms", mapping.delay_ms.as_ref())? {
        draft.timing.delay_ms = Some(whole("delay_ms", &value)?);
    }
    if let Some(value) = filling.optional("ordering_key", mapping.ordering_key.as_ref())? {
        draft.timing.ordering_key = Some(timing::ordering_key("ordering_key", &value)?);
    }
    for (field, templates, selector) in
        [("select", &mapping.select, &mut draft.select), ("prefer", &mapping.prefer, &mut draft.prefer)]
    {
        for (label, template) in templates {
            if let Some(value) = filling.optional(field, Some(template))? {
                let wanted = Wanted::Is(value.as_ref().into());
                selector.want(label, wanted).map_err(|bad| Refusal::field(field, format!("is no selector: {bad}")))?;
            }
        }
    }
    for (name, template) in &mapping.retry {
        if let Some(value) = filling.optional(name, Some(template))? {
            let field = format!("retry.{name}");
            timing::retry(&mut draft.timing.retry, name, &field, whole(&field, &value)?)?;
        }
    }
    if let Some(pointer) = &mapping.payload {
        let field = &*pointer.text;
        let found = document.find(pointer).map_err(|_| Refusal::field(field, "stands twice"))?;
        let at = found.ok_or_else(|| Refusal::field(field, "is missing, and it is the payload"))?;
        let (start, end) = place(document, field, at)?;
        draft.payload = Some(PayloadAt::Json(start, end));
    }
    Ok(draft)
}

impl<'a> Filling<'a> {
    /// What stands in a hole now; `None` when it is missing or null.
    fn value(&self, field: &str, hole: &Hole) -> Result<Option<Cow<'a, str>>, Refusal> {
        let pointer = match &hole.origin {
            Origin::Header(name) => {
                let found = self.headers.iter().find(|(header, _)| *header == &**name);
                return Ok(found.map(|(_, value)| Cow::Borrowed(*value)));
            }
            Origin::Field(pointer) => pointer,
        };
        let found = self.document.find(pointer).map_err(|_| Refusal::field(&pointer.text, "stands twice"))?;
        match found.map_or(Shape::Null, |at| self.document.shape(at)) {
            Shape::Null => Ok(None),
            Shape::Text(text) => Ok(Some(Cow::Borrowed(text))),
            Shape::Unsigned(number) => Ok(Some(number.to_string().into())),
            Shape::Negative(number) => Ok(Some(number.to_string().into())),
            Shape::Bool(value) => Ok(Some(Cow::Borrowed(if value { "true" } else { "false" }))),
            other @ (Shape::Float | Shape::List | Shape::Object) => {
                let problem = format!("is {}, which `{field}` cannot be made of", other.word());
                Err(Refusal::field(&pointer.text, problem))
            }
        }
    }

    fn optional(&self, field: &str, template: Option<&'a Template>) -> Result<Option<Cow<'a, str>>, Refusal> {
        template.map_or(Ok(None), |template| template.fill(|hole| self.value(field, hole)))
    }

    fn required(&self, field: &str, template: &'a Template) -> Result<Cow<'a, str>, Refusal> {
        self.optional(field, Some(template))?.ok_or_else(|| missing(field, template))
    }

    /// A value put among other text must be one segment: otherwise a submitter could move the name to another place in
    /// the tree that globs are about.
    fn topic(&self, template: &'a Template) -> Result<Cow<'a, str>, Refusal> {
        let alone = template.only_hole().is_some();
        let filled = template.fill(|hole| {
            let value = self.value("topic", hole)?;
            if let Some(value) = value.as_deref()
                && !alone
                && value.contains('.')
            {
                let problem = format!("takes {}, which is `{}`, not one segment", hole.shown(), quoted(value));
                return Err(Refusal::field("topic", problem));
            }
            Ok(value)
        })?;
        filled.ok_or_else(|| missing("topic", template))
    }

    /// Every entry: the items of a list when the template is nothing but a pointer to one, else its one value.
    fn each(
        &self,
        field: &str,
        template: &'a Template,
        take: &mut dyn FnMut(&str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(Hole { origin: Origin::Field(pointer), .. }) = template.only_hole() {
            let found = self.document.find(pointer).map_err(|_| Refusal::field(&pointer.text, "stands twice"))?;
            if let Some(at) = found
                && self.document.shape(at) == Shape::List
            {
                for item in self.document.items(at) {
                    let Shape::Text(text) = self.document.shape(item) else {
                        return Err(Refusal::field(&pointer.text, "has an entry that is no text"));
                    };
                    take(text)?;
                }
                return Ok(());
            }
        }
        self.optional(field, Some(template))?.map_or(Ok(()), |value| take(&value))
    }
}

fn missing(field: &str, template: &Template) -> Refusal {
    let holes: Vec<String> = template.holes().map(Hole::shown).collect();
    Refusal::field(field, format!("cannot be made: {} is missing", holes.join(" or ")))
}

fn whole(field: &str, value: &str) -> Result<u64, Refusal> {
    value.parse().map_err(|_| Refusal::field(field, format!("is `{}`, not a whole number from 0", quoted(value))))
}
