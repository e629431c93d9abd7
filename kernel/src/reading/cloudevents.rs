//! CloudEvents in binary mode: attributes from headers, the value is the payload.
//!
//! | header | becomes |
//! |---|---|
//! | `ce_specversion` | must be `1.0`; says that a record is a CloudEvent |
//! | `ce_source` and `ce_id` | the job's id, together |
//! | `ce_type` | `topic`, and `capability` unless `ce_capability` says otherwise |
//! | `ce_tenant`, `ce_capability`, `ce_actorid`, `ce_actortype`, `ce_parent` | the attribute of that name |
//! | `ce_requires`, `ce_risktags` | lists, separated by commas |
//! | `ce_priority`, `ce_deadline`, `ce_ttlms`, `ce_notbefore`, `ce_delayms` | numbers |
//! | `ce_orderingkey` | `ordering_key` |
//! | `ce_select`, `ce_prefer` | labels of its worker, separated by commas: `zone=eu`, `gpu=a100\|h100` (one of these), `ssd` (any value), `!spot` (none). A value that is no selector makes the record dead. Each is a label of that name too: so it was before they had a meaning, and rules look there |
//! | `ce_maxattempts`, `ce_backoffms`, `ce_maxbackoffms` | numbers, of `retry` |
//! | every other `ce_*` (`ce_time`, `ce_subject`, extensions) | a label of that name, so nothing said is lost |
//!
//! `traceparent` is no attribute: it differs between retries of one event, so it is neither hashed nor judged; it goes
//! along as a header.

use tidegate_protocol::ids::{Capability, JobId, TenantId};
use tidegate_protocol::job::InputHash;
use tidegate_protocol::selector::{Selector, Wanted};

use super::draft::{Draft, named, priority, room, text, topic};
use super::refusal::{Refusal, quoted};
use super::timing;

/// The header that makes a record a CloudEvent.
pub(crate) const SPEC_VERSION: &str = "ce_specversion";
/// Its source: with the id, the event's identity.
pub(crate) const SOURCE: &str = "ce_source";
/// Its id within the source.
pub(crate) const ID: &str = "ce_id";
/// Begins every attribute's header.
pub(crate) const PREFIX: &str = "ce_";

/// Reads the attributes; `headers` are the record's `ce_*` headers, none twice.
pub(crate) fn read(headers: &[(&str, &str)]) -> Result<Draft, Refusal> {
    let mut draft = Draft::default();
    let mut kind = None;
    let (mut has_id, mut has_source) = (false, false);
    for (name, value) in headers {
        let value = *value;
        match *name {
            SPEC_VERSION if value == "1.0" => {}
            SPEC_VERSION => return Err(Refusal::header(SPEC_VERSION, format!("is `{}`, not `1.0`", quoted(value)))),
            ID => has_id = true,
            SOURCE => has_source = true,
            "ce_type" => kind = Some(value),
            "ce_tenant" => draft.tenant = Some(named("ce_tenant", TenantId::new(value))?),
            "ce_capability" => draft.capability = Some(named("ce_capability", Capability::new(value))?),
            "ce_actorid" => draft.actor.id = Some(text("ce_actorid", value)?),
            "ce_actortype" => draft.actor.kind = Some(text("ce_actortype", value)?),
            "ce_parent" => draft.parent = Some(named("ce_parent", JobId::new(value))?),
            "ce_requires" => {
                for entry in entries(value) {
                    room("ce_requires", draft.requires.len())?;
                    draft.requires.push(named("ce_requires", Capability::new(entry))?);
                }
            }
            "ce_risktags" => {
                for entry in entries(value) {
                    room("ce_risktags", draft.risk_tags.len())?;
                    draft.risk_tags.push(text("ce_risktags", entry)?);
                }
            }
            "ce_priority" => draft.priority = Some(priority(whole("ce_priority", value)?)?),
            "ce_deadline" => draft.timing.deadline = Some(whole("ce_deadline", value)?),
            "ce_ttlms" => draft.timing.ttl_ms = Some(whole("ce_ttlms", value)?),
            "ce_notbefore" => draft.timing.not_before = Some(whole("ce_notbefore", value)?),
            "ce_delayms" => draft.timing.delay_ms = Some(whole("ce_delayms", value)?),
            "ce_orderingkey" => {
                draft.timing.ordering_key = Some(timing::ordering_key("ce_orderingkey", value)?);
            }
            "ce_select" => {
                draft.select = selector("ce_select", value)?;
                label(&mut draft, "ce_select", value)?;
            }
            "ce_prefer" => {
                draft.prefer = selector("ce_prefer", value)?;
                label(&mut draft, "ce_prefer", value)?;
            }
            "ce_maxattempts" => retry(&mut draft, "max_attempts", "ce_maxattempts", value)?,
            "ce_backoffms" => retry(&mut draft, "backoff_ms", "ce_backoffms", value)?,
            "ce_maxbackoffms" => retry(&mut draft, "max_backoff_ms", "ce_maxbackoffms", value)?,
            other => label(&mut draft, other, value)?,
        }
    }
    for (present, name) in [(has_id, ID), (has_source, SOURCE)] {
        if !present {
            return Err(Refusal::header(name, "is missing; every CloudEvent has one"));
        }
    }
    let kind = kind.ok_or_else(|| Refusal::header("ce_type", "is missing; every CloudEvent has one"))?;
    draft.topic = Some(topic(kind)?);
    if draft.capability.is_none() {
        draft.capability = Some(named("ce_type", Capability::new(kind))?);
    }
    Ok(draft)
}

/// The id of a record by its `ce_source` and `ce_id`: `<source>#<id>`, or a hash of both where that would be ambiguous
/// or no id.
pub(crate) fn id(headers: &[(&str, &str)]) -> Option<JobId> {
    let value = |name: &str| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value);
    let (source, id) = (value(SOURCE)?, value(ID)?);
    let plain = if source.contains('#') { None } else { JobId::new(format!("{source}#{id}")).ok() };
    plain.or_else(|| JobId::new(format!("ce-{}", InputHash::of(source.as_bytes(), [(ID, id.as_bytes())]))).ok())
}

fn label(draft: &mut Draft, header: &str, value: &str) -> Result<(), Refusal> {
    room("labels", draft.labels.len())?;
    draft.labels.insert(text(header, header)?, text(header, value)?);
    Ok(())
}

fn retry(draft: &mut Draft, name: &str, header: &str, value: &str) -> Result<(), Refusal> {
    timing::retry(&mut draft.timing.retry, name, header, whole(header, value)?)
}

fn selector(header: &str, value: &str) -> Result<Selector, Refusal> {
    let mut selector = Selector::default();
    for entry in entries(value) {
        let (label, wanted) = match entry.split_once('=') {
            Some((label, values)) if values.contains('|') => {
                (label, Wanted::In(values.split('|').map(|value| value.trim().into()).collect()))
            }
            Some((label, value)) => (label, Wanted::Is(value.trim().into())),
            None => match entry.strip_prefix('!') {
                Some(label) => (label, Wanted::There(false)),
                None => (entry, Wanted::There(true)),
            },
        };
        let added = selector.want(label.trim(), wanted);
        added.map_err(|bad| Refusal::header(header, format!("is no selector: {bad}")))?;
    }
    Ok(selector)
}

fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn whole(header: &str, value: &str) -> Result<u64, Refusal> {
    value.parse().map_err(|_| Refusal::header(header, format!("is `{}`, not a whole number from 0", quoted(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_stays_the_label_that_it_was_before_it_had_a_meaning() {
        let event = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "s"), ("ce_type", "t")];
        let with = |select| super::read(&[&event[..], &[("ce_select", select), ("ce_prefer", "ssd")]].concat());
        let Ok(draft) = with("zone=eu") else { panic!("it is an event") };
        let labels: Vec<(&str, &str)> = draft.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(labels, [("ce_prefer", "ssd"), ("ce_select", "zone=eu")]);
        assert_eq!(serde_json::to_string(&draft.select).unwrap(), r#"{"zone":"eu"}"#);
        assert!(with("zone=").is_err());
    }

    #[test]
    fn a_selector_in_a_header_says_what_one_in_an_envelope_does() {
        let read = |text: &str| selector("ce_select", text).map(|read| serde_json::to_string(&read).unwrap());
        assert_eq!(
            read("zone=eu, gpu=a100|h100,ssd,!spot,").unwrap(),
            r#"{"gpu":["a100","h100"],"spot":false,"ssd":true,"zone":"eu"}"#
        );
        assert_eq!(read("").unwrap(), "{}");
        for bad in ["zone=", "=eu", "!", "gpu=a100|", "zone=eu,zone=us"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
