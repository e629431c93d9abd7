//! Which records of a log count, and what they say.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::{FactRecord, Group};
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::headers;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::kept::KeptBytes;
use tidegate_protocol::limits::LimitsFact;
use tidegate_protocol::redrive::RawRecord;
use tidegate_protocol::signature::{Capacity, Distrust, Signature, Trust};
use tidegate_spine::Record;
use tidegate_stage::Rules;
use tidegate_stage::control::{Meta, meta};
use tidegate_stage::facts::{FactsLog, Met};

use super::View;
use super::story::DeadRecord;
use super::tail::Holds;

/// Bytes of a dead record shown in lists.
const PREVIEW: usize = 2 << 10;

/// State of reading one partition.
pub(super) struct Follower {
    holds: Holds,
    log: Option<FactsLog>,
    /// The log's start is gone: the first group met sets the baseline.
    late: bool,
}

impl Follower {
    pub(super) fn new(
        holds: Holds,
        sender: &str,
        at: TopicPartition,
        trust: Option<&Arc<dyn Trust>>,
        late: bool,
    ) -> Self {
        // Without keys nothing can be verified: a view may show that, a stage would never act on it.
        let rules = Rules { signatures: trust.is_some(), ..Rules::default() };
        let trust = trust.cloned().unwrap_or_else(|| Arc::new(Nobody));
        // Only facts logs have one sender; names of sources and pools always make a good one.
        let log = SenderId::new(sender).ok().map(|sender| FactsLog::new(sender, at, trust, rules));
        Self { holds, log, late }
    }

    /// Reading jumps over records that are gone.
    pub(super) const fn start_late(&mut self) {
        self.late = true;
    }

    pub(super) fn take(&mut self, view: &View, partition: u32, record: &Record) {
        match self.holds.clone() {
            Holds::Decisions => {
                for fact in self.facts::<KernelFact>(view, record) {
                    view.kernel_fact(fact.at, fact.fact);
                }
            }
            Holds::Leases(pool) => {
                for fact in self.facts::<SchedulerFact>(view, record) {
                    view.fleet_fact(&pool, partition, fact.at, &fact.fact);
                    view.scheduler_fact(&pool, fact.at, fact.fact);
                }
            }
            Holds::Limits => {
                for fact in self.facts::<LimitsFact>(view, record) {
                    view.limits_fact(fact.at, fact.fact);
                }
            }
            // Open to all writers and only shown: whatever it says is shown as it stands.
            Holds::Dead => match meta(record) {
                Meta::Control { .. } => {}
                Meta::Stamped { .. } | Meta::Foreign => view.dead(dead(partition, record, PREVIEW)),
            },
        }
    }

    fn facts<F: DeserializeOwned>(&mut self, view: &View, record: &Record) -> Vec<FactRecord<F>> {
        let Some(group) = self.group(record) else { return Vec::new() };
        view.moved(self.log.as_ref().map_or(&[][..], |log| &log.inputs), &group.places);
        group.facts
    }

    fn group<F: DeserializeOwned>(&mut self, record: &Record) -> Option<Box<Group<FactRecord<F>>>> {
        let log = self.log.as_mut()?;
        if self.late && log.begin_at(record) {
            self.late = false;
        }
        match log.meet::<F>(record, 0) {
            Ok(Met::Group(group)) => return Some(group),
            Ok(Met::Claim { .. } | Met::Barrier { .. }) => {}
            Ok(Met::Void { .. }) => dropped("void"),
            Ok(Met::Foreign { .. }) => dropped("foreign"),
            Ok(Met::Refused { why, .. }) => dropped(why.word()),
            Err(broken) => {
                tracing::error!(error = %broken, "a facts log does not hold together");
                dropped("broken_chain");
                self.late = true;
            }
        }
        None
    }
}

/// Trusts nobody.
#[derive(Debug)]
struct Nobody;

impl Trust for Nobody {
    fn entitled(&self, _key: &str, _capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        Err(Distrust::UnknownKey)
    }

    fn verify(&self, _key: &str, _statement: &[u8], _signature: &Signature) -> Result<(), Distrust> {
        Err(Distrust::UnknownKey)
    }
}

fn value(record: &Record) -> &[u8] {
    record.value.as_deref().unwrap_or_default()
}

fn dropped(why: &'static str) {
    metrics::counter!(crate::metrics::VIEW_DROPPED, "why" => why).increment(1);
}

/// Reads a record of `dead` by its headers; at most `preview` bytes of the value as text.
#[must_use]
pub fn dead(partition: u32, record: &Record, preview: usize) -> DeadRecord {
    let text = |name| record.headers.text(name).unwrap_or_default().to_owned();
    let value = value(record);
    let original = match (text(headers::DEAD_TOPIC), text(headers::DEAD_PARTITION), text(headers::DEAD_OFFSET)) {
        (topic, _, _) if topic.is_empty() => String::new(),
        (topic, partition, offset) => format!("{topic}/{partition}@{offset}"),
    };
    DeadRecord {
        at: format!("{partition}@{}", record.offset),
        source: record.headers.text(headers::SOURCE).and_then(|text| text.parse::<SourcePosition>().ok()),
        original,
        stage: text(headers::DEAD_STAGE),
        reason: text(headers::DEAD_CLASS),
        detail: text(headers::DEAD_MESSAGE),
        timestamp_ms: record.timestamp_ms,
        bytes: value.len(),
        preview: String::from_utf8_lossy(value.get(..preview).unwrap_or(value)).into_owned(),
        input_hash: text(headers::DEAD_HASH),
        record: None,
    }
}

/// Begins the names that headers of ours have on `dead` when the record itself had them.
const ORIGINAL: &str = "original-tg-";

/// The record as it was before it was dead; `None` when its value was too large to carry on.
#[must_use]
pub fn before_death(record: &Record) -> Option<RawRecord> {
    if record.headers.get(headers::DEAD_HASH).is_some() {
        return None;
    }
    let own = record.headers.iter().filter_map(|(name, value)| {
        if let Some(rest) = name.strip_prefix(ORIGINAL) {
            return Some((format!("tg-{rest}"), KeptBytes::new(value)));
        }
        let added = name.starts_with("tg-") || name.starts_with("__connect.errors.");
        (!added).then(|| (name.to_owned(), KeptBytes::new(value)))
    });
    Some(RawRecord {
        value: KeptBytes::new(record.value.as_deref()?),
        key: record.headers.get(headers::DEAD_KEY).map(|key| KeptBytes::new(key)),
        headers: own.collect(),
    })
}
