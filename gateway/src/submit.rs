//! Appending jobs to a source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_blobs::StoreError;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{JobId, SourceName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::topics::partition_of;
use tidegate_protocol::trace;
use tidegate_spine::{AppendError, Landing, NewRecord, Producer, ProducerOptions, Spine, SpineError};
use tokio::sync::Mutex;

use crate::claim_check::ClaimCheck;

/// How long an answer waits for its records to land. They may land later all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source to submit to.
#[derive(Debug, Clone)]
pub struct SubmitSource {
    /// Its name.
    pub name: SourceName,
    /// Its topic.
    pub topic: TopicName,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Largest record in bytes.
    pub max_bytes: usize,
    /// Whether its records are jobs' envelopes, whose `id` names the job.
    pub reads_ids: bool,
}

/// A job that landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Where its record stands: its identity, and what to ask for it by.
    pub source: SourcePosition,
    /// The id it has: its own, or its position.
    pub id: JobId,
    /// The tenant it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// A job that was not taken, or of which it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSubmitted {
    /// Not a JSON object.
    #[error("not a JSON object: {reason}")]
    NotAnObject {
        /// Where and why.
        reason: String,
    },
    /// Its id or tenant cannot be one.
    #[error("{reason}")]
    BadName {
        /// Which and why.
        reason: String,
    },
    /// Too large.
    #[error("the job has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The source's limit.
        limit: usize,
    },
    /// Its payload belongs beside the log, and cannot be put there. Nothing landed.
    #[error("{0}")]
    NotKept(StoreError),
    /// The spine takes no more at present. Nothing landed.
    #[error("more is on its way to the spine than it takes at present")]
    Busy,
    /// The spine refused it. Nothing landed.
    #[error("the spine refused the record")]
    Refused(AppendError),
    /// The spine cannot be reached for a producer. Nothing landed.
    #[error("the spine does not answer")]
    Away(SpineError),
    /// Not acknowledged in time: it may have landed or may land later.
    #[error("the spine has not acknowledged the record within {} s; it may still land", PATIENCE.as_secs())]
    Unknown,
}

/// What a submitter needs to know of a job; everything else is the kernel's to judge.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    tenant: Option<Box<RawValue>>,
    #[serde(default)]
    parent: Option<Box<RawValue>>,
    #[serde(default)]
    parent_ticket: Option<serde::de::IgnoredAny>,
}

/// Names a submitter may have written.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    id: Option<JobId>,
    tenant: Option<TenantId>,
    /// Its parent, where it presents that one's ticket.
    delegated_by: Option<JobId>,
}

/// Appends jobs to one source. Shared as `Arc`.
pub struct Submitter {
    spine: Arc<dyn Spine>,
    source: SubmitSource,
    producer: Mutex<Option<Box<dyn Producer>>>,
    claim_check: Option<ClaimCheck>,
    /// Partition of the next job without id.
    next: AtomicU32,
}

impl std::fmt::Debug for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitter").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Submitter {
    /// For this source.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, source: SubmitSource) -> Self {
        Self { spine, source, producer: Mutex::new(None), claim_check: None, next: AtomicU32::new(0) }
    }

    /// Puts large payloads beside the log.
    #[must_use]
    pub fn claim_check(mut self, check: Option<ClaimCheck>) -> Self {
        self.claim_check = check;
        self
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &SubmitSource {
        &self.source
    }

    /// Appends `jobs`, JSON objects each, and says of each in order where it landed or why not. They belong to the trace of
    /// `traceparent`, when that is one. Jobs of the same id and
    /// tenant land in the same partition, so that a repeated submission runs once.
    pub async fn submit(&self, jobs: Vec<Bytes>, traceparent: Option<&str>) -> Vec<Result<Submitted, NotSubmitted>> {
        let jobs = match &self.claim_check {
            Some(check) => check.check_in(jobs).await,
            None => jobs.into_iter().map(Ok).collect(),
        };
        let traceparent = traceparent.filter(|parent| trace::is_parent(parent));
        let mut begun = Vec::with_capacity(jobs.len());
        {
            let mut producer = self.producer.lock().await;
            for value in jobs {
                begun.push(match value {
                    Ok(value) => self.begin(&mut producer, value, traceparent).await,
                    Err(error) => Err(error),
                });
            }
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut results = Vec::with_capacity(begun.len());
        let mut broken = false;
        for begun in begun {
            let result = match begun {
                Ok(begun) => begun.land(&self.source.name, deadline).await,
                Err(error) => Err(error),
            };
            broken |= matches!(result, Err(NotSubmitted::Refused(AppendError::Fatal { .. })));
            count(&result);
            results.push(result);
        }
        if broken {
            *self.producer.lock().await = None;
        }
        results
    }

    async fn begin(
        &self,
        producer: &mut Option<Box<dyn Producer>>,
        value: Bytes,
        traceparent: Option<&str>,
    ) -> Result<Begun, NotSubmitted> {
        let limit = self.source.max_bytes;
        if value.len() > limit {
            return Err(NotSubmitted::TooLarge { bytes: value.len(), limit });
        }
        let Said { id, tenant, delegated_by } = names(&value)?;
        // All children of a job stand in one partition, so that a child that is submitted again meets itself.
        let with = delegated_by.as_ref().or(id.as_ref());
        let key = with.map(|id| format!("{}/{id}", tenant.as_ref().map_or("", TenantId::as_str)));
        let partition = match &key {
            Some(key) => partition_of(key.as_bytes(), self.source.partitions),
            None => self.next.fetch_add(1, Ordering::Relaxed) % self.source.partitions.max(1),
        };
        let producer = match producer {
            Some(producer) => producer,
            none => {
                let options = ProducerOptions { name: "gateway".into(), ..ProducerOptions::default() };
                none.insert(self.spine.producer(options).await.map_err(NotSubmitted::Away)?)
            }
        };
        let headers = traceparent.into_iter().map(|parent| (trace::PARENT, parent.to_owned())).collect();
        let record = NewRecord { key: key.map(Bytes::from), value: Some(value), headers };
        let landing = producer.append(&self.source.topic.partition(partition), vec![record]);
        Ok(Begun { id, tenant, partition, landing })
    }
}

struct Begun {
    id: Option<JobId>,
    tenant: Option<TenantId>,
    partition: u32,
    landing: Landing,
}

impl Begun {
    async fn land(self, source: &SourceName, deadline: tokio::time::Instant) -> Result<Submitted, NotSubmitted> {
        let landed = match tokio::time::timeout_at(deadline, self.landing).await {
            Ok(Ok(landed)) => landed,
            Ok(Err(AppendError::Full { .. })) => return Err(NotSubmitted::Busy),
            Ok(Err(error)) => return Err(NotSubmitted::Refused(error)),
            Err(_) => return Err(NotSubmitted::Unknown),
        };
        let source = SourcePosition::new(source.clone(), self.partition, landed.first);
        // The kernel's rule for a job without id.
        let id = match self.id {
            Some(id) => id,
            None => JobId::new(source.to_string()).map_err(|e| NotSubmitted::BadName { reason: e.to_string() })?,
        };
        Ok(Submitted { source, id, tenant: self.tenant })
    }
}

fn names(value: &[u8]) -> Result<Said, NotSubmitted> {
    let refused = |e: serde_json::Error| NotSubmitted::NotAnObject { reason: e.to_string() };
    let first = value.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') {
        return Err(NotSubmitted::NotAnObject { reason: "it does not begin with `{`".into() });
    }
    let Names { id, tenant, parent, parent_ticket } = serde_json::from_slice(value).map_err(refused)?;
    // What is no text here is the kernel's to refuse, with a durable record of it.
    let text = |raw: Option<Box<RawValue>>| raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let bad = |e: tidegate_protocol::ids::BadName| NotSubmitted::BadName { reason: e.to_string() };
    let parent = parent_ticket.and_then(|_| text(parent));
    Ok(Said {
        id: text(id).map(JobId::new).transpose().map_err(bad)?,
        tenant: text(tenant).map(TenantId::new).transpose().map_err(bad)?,
        delegated_by: parent.map(JobId::new).transpose().map_err(bad)?,
    })
}

fn count(result: &Result<Submitted, NotSubmitted>) {
    let word = match result {
        Ok(_) => "accepted",
        Err(NotSubmitted::NotAnObject { .. } | NotSubmitted::BadName { .. } | NotSubmitted::TooLarge { .. }) => {
            "refused"
        }
        Err(
            NotSubmitted::Busy
            | NotSubmitted::NotKept(_)
            | NotSubmitted::Refused(_)
            | NotSubmitted::Away(_)
            | NotSubmitted::Unknown,
        ) => "failed",
    };
    metrics::counter!(crate::metrics::SUBMITTED, "result" => word).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_taken_and_what_the_kernel_judges_is_left_to_it() {
        let said = |text: &[u8]| {
            let Said { id, tenant, delegated_by } = names(text).unwrap();
            let text = |id: Option<JobId>| id.map(String::from);
            (text(id), tenant.map(String::from), text(delegated_by))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said(br#" {"id":"a","tenant":"t","payload":{"id":3}}"#), (some("a"), some("t"), None));
        assert_eq!(said(br#"{"id":7,"tenant":null}"#), (None, None, None));
        assert_eq!(said(br#"{"id":"a","parent":"p"}"#), (some("a"), None, None), "a name is no ticket");
        assert_eq!(said(br#"{"id":"a","parent":"p","parent_ticket":"x"}"#), (some("a"), None, some("p")));
        for (bad, expected) in [
            (&b"[1]"[..], "does not begin with `{`"),
            (b"", "EOF while parsing"),
            (b"{\"id\":", "EOF while parsing"),
            (b"{} x", "trailing characters"),
            (br#"{"id":""}"#, "job id ``"),
        ] {
            let error = names(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
