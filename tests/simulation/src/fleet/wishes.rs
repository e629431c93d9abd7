//! What submitters asked of the pool, read from their own records and not from what the kernel made of them; and what of it was
//! released, and when.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::decision::Judged;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::job::{Retry, SourcePosition};
use tidegate_protocol::redrive::Redriven;
use tidegate_protocol::returned::Work;
use tidegate_protocol::selector::Selector;

use super::parts::{BUCKETS, named};
use super::redrives::Inputs;
use crate::ledger::messages::believed;
use crate::spine::Broker;

/// What a job asks of its pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Whose job it is.
    pub tenant: String,
    /// What its worker must be able to do,
    pub capability: String,
    /// and this too.
    pub requires: Vec<String>,
    /// Jobs of a tenant with the same run one after the other.
    pub ordering_key: Option<String>,
    /// Labels that its worker must have.
    pub select: Selector,
    /// How often it wants to be tried, and how soon.
    pub retry: Retry,
}

/// Of each life of each record that is a job.
pub type Wishes = BTreeMap<SourcePosition, Wish>;

/// Reads the wishes of one partition of the source; `inputs` are those of its later lives.
pub fn read(broker: &Broker, raw: &TopicPartition, source: &SourceName, inputs: &Inputs, into: &mut Wishes) {
    for stored in broker.log(raw) {
        let place = SourcePosition::new(source.clone(), raw.partition, stored.record.offset);
        if let Some(wish) = of(stored.record.value.as_deref().unwrap_or_default()) {
            into.insert(place, wish);
        }
    }
    for (life, what) in inputs {
        let wish = match what {
            Redriven::Record(record) => of(record.value.get()),
            Redriven::Work(text) => Work::read(text.get()).ok().map(|work| Wish {
                tenant: work.job.tenant.to_string(),
                capability: work.job.capability.to_string(),
                requires: work.job.requires.iter().map(ToString::to_string).collect(),
                ordering_key: work.job.ordering_key.clone(),
                select: work.job.select.clone(),
                retry: work.job.retry,
            }),
        };
        into.extend(wish.map(|wish| (life.clone(), wish)));
    }
}

fn of(value: &[u8]) -> Option<Wish> {
    // Rubbish, and what has no tenant or capability, is no job: nothing of it is ever leased.
    serde_json::from_slice::<Value>(value).ok().and_then(|value| serde_json::from_value(value).ok())
}

/// A ticket in a bucket of `approved`.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Which bucket.
    pub bucket: u32,
    /// Where it stands there.
    pub offset: Offset,
}

/// A job that was released.
#[derive(Debug)]
pub struct Released {
    /// As its newest ticket has it.
    pub job: tidegate_protocol::job::Job,
    /// Its tickets, the first one first.
    pub tickets: Vec<Ticket>,
}

/// Everything that a reader of `approved` believes, by source.
#[must_use]
pub fn released(broker: &Broker) -> BTreeMap<SourcePosition, Released> {
    let mut all: BTreeMap<SourcePosition, Released> = BTreeMap::new();
    for bucket in 0..BUCKETS {
        for message in believed(broker.log(&named("approved.p").partition(bucket))) {
            // Withdrawals are no jobs.
            let value = message.record.value.as_deref().unwrap_or_default();
            let Ok(Judged { job, .. }) = serde_json::from_slice::<Judged>(value) else { continue };
            let ticket = Ticket { bucket, offset: message.record.offset };
            let known =
                all.entry(job.source.clone()).or_insert_with(|| Released { job: job.clone(), tickets: Vec::new() });
            known.job = job;
            known.tickets.push(ticket);
        }
    }
    all
}
