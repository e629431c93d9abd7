//! From settings to a loop that can turn: look the topics up, fix the lane, then one session per shard.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{ErrorClass, Spine, SpineError, TopicState};
use tracing::{info, warn};

use super::allot::Allotment;
use super::backoff::Backoff;
use super::gate::Gate;
use super::lane::{self, Lane};
use super::link::Link;
use super::turn::Loop;
use super::{Clock, RunError, incarnation};
use crate::Worker;
use crate::session::{Identity, Incarnation, Session};

/// Left free in a report record beside the output.
const ENVELOPE: usize = 16 << 10;

pub(super) async fn start(worker: Worker, spine: Arc<dyn Spine>, prefix: &str) -> Result<Loop, RunError> {
    let clock = Clock::starting_at((worker.wall)());
    let named =
        |topic: Topic| topic.name(prefix).map_err(|source| RunError::Topics { worker: worker.id.clone(), source });
    let work = named(Topic::Work(worker.pool.clone()))?;
    let reports = named(Topic::Reports(worker.pool.clone()))?;
    let approved = named(Topic::Approved(worker.pool.clone()))?;
    let state = patiently(&worker, || look_up(&*spine, &reports)).await?;
    let inbox = patiently(&worker, || lane::open(Arc::clone(&spine), work.clone(), worker.id.clone())).await?;
    let (lane, lane_position) = inbox.opened_at();
    let incarnation = Incarnation { number: incarnation::first(clock.now()), lane: lane.partition, lane_position };
    info!(worker = %worker.id, pool = %worker.pool, %lane, lane_position, incarnation = incarnation.number, "worker starts");
    let key = Bytes::copy_from_slice(worker.id.as_str().as_bytes());
    let shards = state.partitions.max(1);
    let allotment = Allotment::new(worker.settings.concurrency, shards, &worker.id);
    let links = (0..shards).map(|shard| {
        let capacity = allotment.of(shard as usize);
        let capabilities = worker.handlers.keys().cloned().collect();
        let identity = Identity { worker: worker.id.clone(), capabilities, capacity };
        let session = Session::new(identity, incarnation, clock.now()).of_tenants(worker.tenants.clone());
        let session = session.labelled(worker.labels.clone()).when_unproven(worker.settings.when_unproven);
        Some(Link::new(session, reports.partition(shard), key.clone(), Arc::clone(&spine)))
    });
    let links = links.collect();
    let max_output = state
        .settings
        .map_or(usize::MAX, |settings| settings.max_record_bytes.saturating_sub(ENVELOPE))
        .min(worker.settings.max_output_bytes);
    let gate = Gate::new(Arc::clone(&worker.trust), &worker.pool, work.clone(), approved);
    let lane = Lane::new(Arc::clone(&spine), work, worker.id.clone(), inbox);
    Ok(Loop::new(worker, clock, gate, lane, (links, allotment), incarnation, max_output))
}

async fn look_up(spine: &dyn Spine, topic: &TopicName) -> Result<TopicState, SpineError> {
    let states = spine.describe(std::slice::from_ref(topic)).await?;
    states.into_iter().next().flatten().ok_or_else(|| SpineError::UnknownTopic { topic: topic.clone() })
}

/// Asks until the spine answers; what it refuses is final at the start.
async fn patiently<T, F>(worker: &Worker, ask: impl Fn() -> F) -> Result<T, RunError>
where
    F: Future<Output = Result<T, SpineError>>,
{
    let mut backoff = Backoff::new();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(SpineError::UnknownTopic { topic }) => {
                return Err(RunError::NoTopic { worker: worker.id.clone(), topic });
            }
            Err(error) => match error.class() {
                ErrorClass::Wait | ErrorClass::Retry => {
                    warn!(worker = %worker.id, %error, "spine is away; waiting for it");
                    backoff.pause().await;
                }
                ErrorClass::Refuse | ErrorClass::Fatal => {
                    return Err(RunError::Spine { worker: worker.id.clone(), source: error });
                }
            },
        }
    }
}
