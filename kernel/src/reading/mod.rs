//! From a record to a job, or to the reason why it is none.
//!
//! Order of the checks: control records, null values, size, then the value's syntax and depth, then its fields, then the
//! tenant. Each failure has one [`DeadReason`] and a sentence that names the field. Nothing here panics, recurses or
//! allocates by what a record claims to be: depth, counts and lengths are bounded before anything is kept.
//!
//! The payload is never rewritten: the job's fact says where its bytes stand in the record's value.
//!
//! # Identity of a record's content
//! The input hash covers the value and the headers that may become attributes, sorted by name: in binary mode every
//! `ce_*` header, in a mapped source the headers its mapping names, and everywhere `ce_source` and `ce_id` when both
//! are there, as they make the id of a record without one. `traceparent` is never part of it, nor is a parent's ticket: of
//! a delegated job the hash is that of its value without the text of `parent_ticket`.

mod base64;
mod cloudevents;
mod document;
mod draft;
mod envelope;
mod line;
mod mapped;
mod refusal;
mod seen;
mod timing;

use bytes::Bytes;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::headers::KIND;
use tidegate_protocol::ids::JobId;
use tidegate_protocol::job::{InputHash, Job, SourcePosition};
use tidegate_protocol::outcome::DeadReason;
use tidegate_spine::Record;

pub(crate) use cloudevents::{ID as CE_ID, SOURCE as CE_SOURCE};
pub(crate) use document::ParserMemory;
pub use draft::{MAX_ATTRIBUTE_BYTES, MAX_ENTRIES, MAX_TEXT_BYTES, MAX_TOPIC_BYTES, MAX_TOPIC_SEGMENTS};
pub use line::envelope_of_line;
pub use refusal::Refusal;
pub(crate) use refusal::quoted;
pub use timing::{MAX_AHEAD_MS, MAX_ORDERING_KEY_BYTES};

use crate::sources::{Format, Mapping, Source};
use document::{Document, NotJson};
use draft::Draft;

/// Memory that reading reuses; no state that a decision depends on.
pub(crate) struct ReaderMemory {
    parser: ParserMemory,
    decoded: Vec<u8>,
}

/// What a record turned out to be.
pub(crate) struct Reading {
    pub(crate) input_hash: InputHash,
    pub(crate) outcome: Result<Found, Refusal>,
}

/// A job as its record has it.
pub(crate) struct Found {
    pub(crate) job: Job,
    pub(crate) payload: PayloadAt,
    /// What it gives as its parent's ticket; not looked at yet.
    pub(crate) parent_ticket: Option<String>,
}

/// How this record's attributes are found.
#[derive(Clone, Copy)]
enum Manner<'s> {
    Envelope,
    CloudEvent,
    Mapped(&'s Mapping),
}

impl ReaderMemory {
    /// For one source.
    pub(crate) fn new(source: &Source) -> Self {
        Self { parser: ParserMemory::new(source.max_depth()), decoded: Vec::new() }
    }

    /// The payload as policy sees it: the JSON text, decoded base64, or `null`. One that is kept elsewhere cannot be looked into,
    /// which is not the same as `null`: it is no JSON at all, so whatever asks for its fields is uncertain.
    pub(crate) fn payload<'a>(&'a self, at: PayloadAt, value: &'a [u8]) -> &'a [u8] {
        match at {
            PayloadAt::None => b"null",
            PayloadAt::Json(start, end) => value.get(start as usize..end as usize).unwrap_or_default(),
            PayloadAt::Base64(..) => &self.decoded,
            PayloadAt::Ref(..) => b"",
        }
    }

    /// Decodes the payload of a record that was read earlier; what cannot be decoded any more is empty.
    pub(crate) fn decode_again(&mut self, at: PayloadAt, record: &Record) {
        self.decoded.clear();
        if let PayloadAt::Base64(start, end) = at {
            let text = record.value.as_deref().and_then(|value| value.get(start as usize..end as usize));
            let text = text.and_then(|text| serde_json::from_slice::<String>(text).ok()).unwrap_or_default();
            if base64::decode(text.as_bytes(), &mut self.decoded).is_none() {
                self.decoded.clear();
            }
        }
    }

    /// Reads a record of `source` at `position`; times from now on count from `at_ms`.
    pub(crate) fn read(&mut self, source: &Source, position: SourcePosition, record: &Record, at_ms: u64) -> Reading {
        let value = record.value.as_deref().unwrap_or_default();
        let manner = match source.format() {
            Format::Mapped(mapping) => Manner::Mapped(mapping),
            Format::CloudEvents => Manner::CloudEvent,
            Format::TidegateJson if record.headers.get(cloudevents::SPEC_VERSION).is_some() => Manner::CloudEvent,
            Format::TidegateJson => Manner::Envelope,
        };
        let raw = attributes(manner, record);
        let drafted = self.drafted(source, record, manner, &raw);
        let presented = drafted.as_ref().ok().and_then(|(draft, _)| draft.parent_ticket.as_ref());
        let (before, after) = presented.map_or((value, &[][..]), |presented| presented.around(value));
        let input_hash = InputHash::of_parts(&[before, after], raw.iter().map(|(name, value)| (*name, &***value)));
        let submitted_ms = u64::try_from(record.timestamp_ms).unwrap_or(0);
        let outcome = drafted
            .and_then(|(draft, made_id)| draft.finish(source, position, input_hash, (at_ms, submitted_ms), made_id));
        Reading { input_hash, outcome }
    }

    fn drafted(
        &mut self,
        source: &Source,
        record: &Record,
        manner: Manner<'_>,
        raw: &[(&str, &Bytes)],
    ) -> Result<(Draft, Option<JobId>), Refusal> {
        if record.headers.get(KIND).is_some() {
            let detail =
                format!("a `{KIND}` header marks control records, which only stages write, on their own topics");
            return Err(Refusal::new(DeadReason::ControlRecord, detail));
        }
        let Some(value) = record.value.as_deref() else {
            return Err(Refusal::new(DeadReason::NullValue, "the record has a null value"));
        };
        if value.len() > source.max_bytes() {
            let detail = format!("the value has {} bytes, the source takes {}", value.len(), source.max_bytes());
            return Err(Refusal::new(DeadReason::TooLarge, detail));
        }
        self.draft(source, value, manner, &texts(raw)?)
    }

    fn draft(
        &mut self,
        source: &Source,
        value: &[u8],
        manner: Manner<'_>,
        headers: &[(&str, &str)],
    ) -> Result<(Draft, Option<JobId>), Refusal> {
        let Self { parser, decoded } = self;
        decoded.clear();
        let made_id = cloudevents::id(headers);
        let draft = parser
            .parse(value, |document| match manner {
                Manner::Envelope => envelope::read(document, decoded),
                Manner::Mapped(mapping) => mapped::read(mapping, &mapped::Filling { document, headers }),
                Manner::CloudEvent => {
                    let mut draft = cloudevents::read(headers)?;
                    draft.payload = Some(whole(document)?);
                    Ok(draft)
                }
            })
            .map_err(|not_json| syntax(not_json, source.max_depth(), value))??;
        Ok((draft, made_id))
    }
}

/// The whole value as payload.
fn whole(document: Document<'_>) -> Result<PayloadAt, Refusal> {
    let (start, end) = envelope::place(document, "payload", document::ROOT)?;
    Ok(PayloadAt::Json(start, end))
}

/// Headers that may become attributes, sorted by name; repeats stay and are refused later.
fn attributes<'a>(manner: Manner<'_>, record: &'a Record) -> Vec<(&'a str, &'a Bytes)> {
    if record.headers.is_empty() {
        return Vec::new();
    }
    let identified = record.headers.get(CE_SOURCE).is_some() && record.headers.get(CE_ID).is_some();
    let takes = |name: &str| {
        let identifies = identified && (name == CE_SOURCE || name == CE_ID);
        identifies
            || match manner {
                Manner::Envelope => false,
                Manner::CloudEvent => name.starts_with(cloudevents::PREFIX),
                Manner::Mapped(mapping) => mapping.headers.iter().any(|header| **header == *name),
            }
    };
    let mut taken: Vec<(&str, &Bytes)> = record.headers.iter().filter(|(name, _)| takes(name)).collect();
    taken.sort_unstable();
    taken
}

/// The same as text, each once.
fn texts<'a>(raw: &[(&'a str, &'a Bytes)]) -> Result<Vec<(&'a str, &'a str)>, Refusal> {
    let mut headers: Vec<(&str, &str)> = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        let text = std::str::from_utf8(value).map_err(|_| Refusal::header(name, "is not UTF-8"))?;
        if headers.last().is_some_and(|(last, _)| last == name) {
            return Err(Refusal::header(name, "stands twice"));
        }
        headers.push((name, text));
    }
    Ok(headers)
}

fn syntax(not_json: NotJson, max_depth: usize, value: &[u8]) -> Refusal {
    match not_json {
        NotJson::TooDeep => Refusal::new(
            DeadReason::TooDeep,
            format!("the value is nested deeper than {max_depth}, the source's limit"),
        ),
        NotJson::Malformed => {
            let detail = match std::str::from_utf8(value) {
                Err(error) => format!("the value is not UTF-8 from byte {}", error.valid_up_to()),
                Ok(_) if value.is_empty() => "the value is empty, not JSON".to_owned(),
                // The fast parser does not say where it stopped; this one does, and does not recurse either.
                Ok(text) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                    Err(error) => format!("the value is not JSON: {error}"),
                    Ok(_) => "the value has a number that does not fit into 64 bits; send it as a text".to_owned(),
                },
            };
            Refusal::new(DeadReason::Unparsable, detail)
        }
    }
}
