//! What it costs the shards of a pool to share a limit: read from their facts when a run is over, so that nothing reads along.
//!
//! A round trip is from the stamp of the fact that a shard asked until that of the fact that it was answered, both by that
//! shard's own clock: the asking group's append, the request, the limits stage's group, its answer, and whatever each waits for;
//! also, when nothing is free, the time that others are given to give some back (`recall_ms`).

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate_protocol::control::{FactRecord, Group, Kind};
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::headers;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest, RequestId};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Spine, Start};

use crate::board::Latency;
use crate::governed::Names;

/// What the shards of a pool leased, and asked of the limits stage for it; warm-up included.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Leases of the pool.
    pub leases: u64,
    /// Groups of facts with leases in them.
    pub groups: u64,
    /// Requests for more of a limit, or for more time.
    pub asks: u64,
    /// Of those, answered with nothing.
    pub in_vain: u64,
    /// Times a shard gave places back.
    pub returns: u64,
    /// From an ask until its answer.
    pub round_trip_ms: Option<Latency>,
    /// The same of asks that were given something.
    pub granted_ms: Option<Latency>,
}

struct Counting {
    asked: HashMap<RequestId, Timestamp>,
    leases: u64,
    groups: u64,
    asks: u64,
    in_vain: u64,
    returns: u64,
    all: Histogram<u64>,
    granted: Histogram<u64>,
}

impl Counting {
    fn new() -> anyhow::Result<Self> {
        // Up to a minute, in microseconds.
        let empty = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let (all, granted) = (empty.clone(), empty);
        Ok(Self { asked: HashMap::new(), leases: 0, groups: 0, asks: 0, in_vain: 0, returns: 0, all, granted })
    }

    fn take(&mut self, fact: FactRecord<SchedulerFact>) {
        match fact.fact {
            SchedulerFact::LeaseGranted { .. } => self.leases += 1,
            SchedulerFact::SliceRequested { request } => {
                if let LimitRequest::Ask { id, .. } = *request {
                    self.asks += 1;
                    self.asked.insert(id, fact.at);
                }
            }
            SchedulerFact::SliceReturned { .. } => self.returns += 1,
            SchedulerFact::SliceGranted { answer } => {
                let LimitAnswer::Granted { request, amount, .. } = *answer else { return };
                let Some(asked) = self.asked.remove(&request) else { return };
                let micros = u64::try_from(fact.at.since(asked).as_micros()).unwrap_or(u64::MAX);
                self.all.saturating_record(micros);
                if amount.is_zero() {
                    self.in_vain += 1;
                } else {
                    self.granted.saturating_record(micros);
                }
            }
            SchedulerFact::WorkerWelcomed { .. }
            | SchedulerFact::WorkerOutrun { .. }
            | SchedulerFact::LeaseExpired { .. }
            | SchedulerFact::CancelAsked { .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::WithdrawalMoved { .. }
            | SchedulerFact::JobRetried { .. }
            | SchedulerFact::JobDelayed { .. }
            | SchedulerFact::JobDue { .. }
            | SchedulerFact::JobFinished { .. }
            | SchedulerFact::ResultRepeated { .. }
            | SchedulerFact::ResultRefused { .. }
            | SchedulerFact::JobDuplicate { .. }
            | SchedulerFact::JobMoved { .. }
            | SchedulerFact::JobReturned { .. }
            | SchedulerFact::WorkRefused { .. }
            | SchedulerFact::WorkerForgotten { .. }
            | SchedulerFact::WorkerCordoned { .. }
            | SchedulerFact::WorkerUncordoned { .. }
            | SchedulerFact::PoolCommandRefused { .. } => {}
        }
    }
}

/// Reads the facts of all shards of the pool from their start to their end. The owners have stopped, and each shard had one.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn asked(spine: &Arc<dyn Spine>, names: &Names, shards: u32) -> anyhow::Result<Asked> {
    let topic = names.topic(&Topic::Leases(names.pool.clone()))?;
    let partitions: Vec<_> = (0..shards).map(|shard| topic.partition(shard)).collect();
    let ends = spine.ends(&partitions).await?;
    let mut reader = spine.reader("bench-asked").await?;
    let mut counting = Counting::new()?;
    for (partition, ends) in partitions.iter().zip(ends) {
        let handle = reader.open(partition, Start::Earliest);
        let (mut position, mut batch) = (0, Vec::new());
        counting.asked.clear();
        while position < ends.end {
            position = poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut batch)).await?.position;
            for record in batch.drain(..) {
                let group = record.headers.text(headers::KIND) == Some(Kind::Group.word());
                if let Some(value) = record.value.filter(|_| group) {
                    let group: Group<FactRecord<SchedulerFact>> = serde_json::from_slice(&value)?;
                    let before = counting.leases;
                    group.facts.into_iter().for_each(|fact| counting.take(fact));
                    counting.groups += u64::from(counting.leases > before);
                }
            }
        }
        reader.close(handle);
    }
    let Counting { leases, groups, asks, in_vain, returns, all, granted, .. } = counting;
    let (round_trip_ms, granted_ms) = (Latency::of(&all), Latency::of(&granted));
    Ok(Asked { leases, groups, asks, in_vain, returns, round_trip_ms, granted_ms })
}

impl Asked {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let shown = |latency: Option<Latency>| {
            latency.map_or("-".to_owned(), |l| format!("{:.2} / {:.2} (p50 / p99 ms)", l.p50, l.p99))
        };
        #[expect(clippy::cast_precision_loss, reason = "counts of a bench run")]
        let together = self.leases as f64 / self.groups.max(1) as f64;
        format!(
            "limits    {} leases, {:.1} in a group; {} asks, {} in vain, {} times places given back; round trip {}, when something was given {}\n",
            self.leases,
            together,
            self.asks,
            self.in_vain,
            self.returns,
            shown(self.round_trip_ms),
            shown(self.granted_ms)
        )
    }
}
