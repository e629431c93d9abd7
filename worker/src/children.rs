//! Jobs that a running job spawns: submitted with its ticket, so that they act for it and whoever it acts for (DESIGN
//! section 4). What becomes of them is the kernel's to say, and stands in `finished`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::delegation::NoChild;
use tidegate_protocol::ids::{BadName, JobId, SourceName};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::topics::partition_of;
use tidegate_protocol::trace;
use tidegate_spine::{AppendError, ErrorClass, NewRecord, Producer, ProducerOptions, Spine, SpineError};
use tokio::sync::Mutex;

use crate::Context;
use crate::results::{ChildEnd, NotAwaited, Results};

/// Where jobs that are spawned go: a source with `parent_ticket: accepted` or `required`. Shared by all jobs of a worker.
#[derive(Clone)]
pub struct Children(Arc<Inner>);

struct Inner {
    spine: Arc<dyn Spine>,
    source: SourceName,
    topic: TopicName,
    results: Option<Results>,
    /// With the topic's partitions; made when it is first needed.
    producer: Mutex<Option<(Box<dyn Producer>, u32)>>,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children").field("source", &self.0.source).field("topic", &self.0.topic).finish_non_exhaustive()
    }
}

/// A job that was spawned.
#[derive(Clone)]
pub struct Spawned {
    /// Where its record stands.
    pub source: SourcePosition,
    /// Its id: its own, or its position.
    pub id: JobId,
    parent: Context,
    results: Option<Results>,
}

impl std::fmt::Debug for Spawned {
    /// Without its parent, whose payload and ticket belong in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spawned").field("source", &self.source).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Spawned {
    /// Waits until it has ended, whatever that takes, and lends the waiting job's slot meanwhile
    /// ([`Context::lend_slot`]). A child that is held for approval is waited for until people have spoken.
    ///
    /// # Errors
    /// [`NotAwaited`], also when the job that waits is to stop: whether its child is wanted then is its own to say.
    pub async fn wait(&self) -> Result<ChildEnd, NotAwaited> {
        let results = self.results.as_ref().ok_or(NotAwaited::NoGateway)?;
        let _lent = self.parent.lend_slot();
        tokio::select! {
            biased;
            why = self.parent.cancelled() => Err(NotAwaited::Cancelled(why)),
            end = results.end_of(&self.source) => end,
        }
    }
}

/// A job that was not spawned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotSpawned {
    /// The worker was not told where.
    #[error("this worker has no source for the jobs that its jobs spawn; give it one with `Builder::children`")]
    NoSource,
    /// It cannot be a child.
    #[error(transparent)]
    NoChild(#[from] NoChild),
    /// It cannot be written as JSON.
    #[error("the job cannot be written as JSON: {0}")]
    NotJson(String),
    /// Its id cannot be one.
    #[error(transparent)]
    BadId(#[from] BadName),
    /// The spine cannot be asked. Nothing landed.
    #[error("the spine does not answer: {0}")]
    Away(SpineError),
    /// The source's topic is missing. Nothing landed.
    #[error("topic `{topic}` does not exist; `tidegate topics apply` makes it")]
    NoTopic {
        /// The topic.
        topic: TopicName,
    },
    /// The spine refused it. Nothing landed.
    #[error("the spine refused the record: {0}")]
    Refused(AppendError),
}

impl Children {
    /// To `source`, whose records stand in `topic`.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, source: SourceName, topic: TopicName) -> Self {
        Self(Arc::new(Inner { spine, source, topic, results: None, producer: Mutex::new(None) }))
    }

    /// Asks this gateway how they end ([`Spawned::wait`]). To be said before it is cloned.
    #[must_use]
    pub fn results(mut self, results: Results) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.results = Some(results);
        }
        self
    }

    /// Submits `job` as a child of the parent, in its trace. All children of a job stand in one partition.
    pub(crate) async fn spawn(&self, parent: &Context, job: &(impl Serialize + Sync)) -> Result<Spawned, NotSpawned> {
        #[derive(serde::Deserialize)]
        struct Named {
            #[serde(default)]
            id: Option<JobId>,
        }
        let not_json = |error: serde_json::Error| NotSpawned::NotJson(error.to_string());
        let job = serde_json::to_vec(job).map_err(not_json)?;
        let Named { id } = serde_json::from_slice(&job).map_err(not_json)?;
        let ticket = parent.ticket()?;
        let value = Bytes::from(ticket.child(&job)?);
        let Inner { spine, source, topic, results, producer } = &*self.0;
        let key = ticket.key();
        let (partition, landing) = {
            let mut held = producer.lock().await;
            let (producer, partitions) = match &mut *held {
                Some(open) => open,
                none => none.insert(open(&**spine, topic).await?),
            };
            let partition = partition_of(key.as_bytes(), *partitions);
            let headers = parent.traceparent().into_iter().map(|parent| (trace::PARENT, parent.to_owned())).collect();
            let record = NewRecord { key: Some(key.into()), value: Some(value), headers };
            (partition, producer.append(&topic.partition(partition), vec![record]))
        };
        let landed = match landing.await {
            Ok(landed) => landed,
            Err(error) => {
                if error.class() == ErrorClass::Fatal {
                    *producer.lock().await = None;
                }
                return Err(NotSpawned::Refused(error));
            }
        };
        let source = SourcePosition::new(source.clone(), partition, landed.first);
        // The kernel's rule for a job without id.
        let id = id.map_or_else(|| JobId::new(source.to_string()), Ok)?;
        Ok(Spawned { source, id, parent: parent.clone(), results: results.clone() })
    }
}

async fn open(spine: &dyn Spine, topic: &TopicName) -> Result<(Box<dyn Producer>, u32), NotSpawned> {
    let states = spine.describe(std::slice::from_ref(topic)).await.map_err(NotSpawned::Away)?;
    let state = states.into_iter().next().flatten().ok_or_else(|| NotSpawned::NoTopic { topic: topic.clone() })?;
    let options = ProducerOptions { name: format!("worker-children-{topic}"), ..ProducerOptions::default() };
    let producer = spine.producer(options).await.map_err(NotSpawned::Away)?;
    Ok((producer, state.partitions.max(1)))
}
