//! What follows from each fact: fixed for ever once released (golden files in `tests/messages`).
//!
//! | fact | ordinal | to | partition by | key | delivery | when |
//! |---|---|---|---|---|---|---|
//! | `JobDecided` | 0 | `approved.<pool>` | tenant bucket | tenant/job id | fenced, with its ticket | allowed |
//! | | 1 | `denied` | job id | job id | advisory | denied |
//! | | 2 | `finished` | job id | job id | fenced | denied; or allowed for a pool that is gone |
//! | | 3 | `dead` | job id | job id | advisory | allowed for a pool that is gone |
//! | `RecordRejected` | 0 | `dead` | job id, else position | the same | advisory | always |
//! | | 1 | `finished` | job id | job id | fenced | the job is known |
//! | `SliceRequested`, `SliceReturned`, `OutcomePassedOn` | 0 | `limits.requests` | limit and key | the same | fenced | always |
//! | `JobCancelled` | 0 | `finished` | job id | job id | fenced | always |
//! | `JobWithdrawn` | 0 | `approved.<pool>`, each bucket of the tenant | | tenant/job id | fenced | always |
//! | | 1 | `withdrawals.<pool>`, each shard of these buckets | | tenant/job id | fenced | always |
//! | `JobHeld`, `HoldRenewed`, `ApprovalGiven`, `HoldEscalated` | 0 | `held` | position | position | advisory | always |
//! | `JobDecided` | 4 | `held`, a tombstone | position | position | advisory | it was held |
//! | `RecordRejected`, `JobDeferred`, `JobCancelled` | 2 | `held`, a tombstone | position | position | advisory | it was held |
//! | `PolicyAdopted`, `JobRepeated`, `CommandRefused`, `DelegationRevoked`, `SliceGranted`, `SpendSettled`, `RecordRedriven`, `RecordDropped` | | | | | | |
//!
//! Nothing follows from what an `observe: true` source leads to. A pool is gone when the configuration lost it between a
//! fact and its release: the job ends as dead (`unroutable`) rather than silently.
//!
//! A fact that names what it replaces emits from the record that was kept; where that was released, from what its scheduler
//! gave back, as it stands on `outcomes.<source>`; where it was dead, from the command that redrives it; any other from the record it settles.
//!
//! `dead` carries the record's value, key (`tg-original-key`) and headers intact, headers of ours (`tg-…`) under
//! `original-tg-…` so that they act nowhere. What is too large for a record is left out, with the hash in place of it.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::cloudevents::{self, Kind};
use tidegate_protocol::decision::{Decision, Judged, PayloadAt, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::headers;
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::job::{InputHash, Job, SourcePosition};
use tidegate_protocol::kept::{KeptAs, Replaced};
use tidegate_protocol::outcome::{DeadReason, Finished, Outcome};
use tidegate_protocol::proof::MOST_TICKET_BYTES;
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::partition_of;
use tidegate_protocol::trace;
use tidegate_protocol::withdrawal::{Withdrawal, Withdrawn};
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Delivery, Message, Outbox};

use crate::approvals::held;
use crate::config::KernelConfig;
use crate::kept::restored;
use crate::kernel::Kernel;
use crate::reading::{CE_ID, CE_SOURCE};
use crate::{limiting, redriven, returned};

/// Headers that go along with a judged job when the record has them.
const CARRIED: [&str; 3] = [CE_ID, CE_SOURCE, trace::PARENT];
/// Begins the names of our headers.
const OURS: &str = "tg-";
/// Begins the names of Kafka Connect's dead-letter headers.
const CONNECT: &str = "__connect.errors.";

/// Ordinals: what a kind of message is numbered among those of its fact's kind.
mod ordinal {
    pub(super) const DECIDED_APPROVED: u8 = 0;
    pub(super) const DECIDED_DENIED: u8 = 1;
    pub(super) const DECIDED_FINISHED: u8 = 2;
    pub(super) const DECIDED_DEAD: u8 = 3;
    pub(super) const DECIDED_HELD: u8 = 4;
    pub(super) const REJECTED_DEAD: u8 = 0;
    pub(super) const REJECTED_FINISHED: u8 = 1;
    /// Also of a deferral and of a cancellation.
    pub(super) const ENDED_HELD: u8 = 2;
    pub(super) const CANCELLED_FINISHED: u8 = 0;
    pub(super) const WITHDRAWN: u8 = 0;
    pub(super) const WITHDRAWN_SOON: u8 = 1;
    pub(super) const HELD: u8 = 0;
}

/// A fact's messages could not be made: a defect, counted by the caller.
#[derive(Debug, thiserror::Error)]
#[error("messages of {source_position} could not be made: {problem}")]
pub(crate) struct Unmade {
    source_position: SourcePosition,
    problem: String,
}

impl Unmade {
    fn of_request(config: &KernelConfig, problem: &serde_json::Error) -> Self {
        let source_position = SourcePosition::new(config.source.name().clone(), config.shard, 0);
        Self { source_position, problem: format!("a request to the limits stage: {problem}") }
    }
}

/// Why a record is in `dead`.
struct Death<'a> {
    ordinal: u8,
    source: &'a SourcePosition,
    job: Option<&'a Job>,
    reason: DeadReason,
    detail: &'a str,
    input_hash: &'a InputHash,
}

/// Sends what follows from `fact`.
pub(crate) fn emit(
    kernel: &Kernel,
    fact: &KernelFact,
    at: Timestamp,
    input: Option<&Record>,
    outbox: &mut Outbox,
) -> Result<(), Unmade> {
    let config = &kernel.config;
    if let Some((source, ordinal)) = unheld(fact) {
        outbox.send(about_hold(config, ordinal, source, None));
    }
    match fact {
        KernelFact::PolicyAdopted { .. }
        | KernelFact::RecordRedriven { .. }
        | KernelFact::RecordDropped { .. }
        | KernelFact::JobRepeated { .. }
        | KernelFact::JobDeferred { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::CommandRefused { .. }
        | KernelFact::DelegationRevoked { .. } => Ok(()),
        KernelFact::SliceRequested { request }
        | KernelFact::SliceReturned { request }
        | KernelFact::OutcomePassedOn { request } => {
            limiting::send(config, request, outbox).map_err(|problem| Unmade::of_request(config, &problem))
        }
        KernelFact::JobHeld { job: Job { source, .. }, .. }
        | KernelFact::HoldRenewed { source, .. }
        | KernelFact::ApprovalGiven { source, .. }
        | KernelFact::HoldEscalated { source, .. } => {
            let kept = kernel.kept.get(source);
            let Some((kept, hold)) = kept.and_then(|kept| Some((kept, kept.hold.as_ref()?))) else {
                return Err(unmade(source, "it is not held"));
            };
            let value = held(kept, hold, config.max_record_bytes).map_err(|e| unmade(source, e))?;
            outbox.send(about_hold(config, ordinal::HELD, source, Some(value)));
            Ok(())
        }
        KernelFact::JobCancelled { job, by, reason, cause, .. } => {
            let reason = cause.sentence(by, reason);
            finished(config, job, ordinal::CANCELLED_FINISHED, (Outcome::Cancelled, &reason), at, outbox)
        }
        KernelFact::JobWithdrawn { source, job_id, tenant, pool, command: _, by, reason, cause } => {
            let (source, id, by, reason) = (source.clone(), job_id.clone(), by.clone(), reason.clone());
            withdrawn(config, pool, Withdrawn { source, tenant: tenant.clone(), id, cause: *cause, by, reason }, outbox)
        }
        KernelFact::JobDecided { observed: true, .. } => Ok(()),
        KernelFact::JobDecided { job, decision, pool, payload, observed: false, replaces, .. } => {
            let record = &*origin(kernel, input, &job.source, *replaces)?;
            match (decision.verdict, pool) {
                (Verdict::Allow | Verdict::AllowWithConstraints, Some(pool)) => {
                    approved(config, job, decision, pool, *payload, at, record, outbox)
                }
                (Verdict::Allow | Verdict::AllowWithConstraints, None) => {
                    Err(unmade(&job.source, "it is allowed without a pool"))
                }
                (Verdict::RequireApproval | Verdict::Throttle, _) => {
                    Err(unmade(&job.source, "a verdict that neither releases nor ends a job"))
                }
                (Verdict::Deny, _) => {
                    let value = judged(job, decision, *payload, record)?;
                    outbox.send(Message {
                        ordinal: ordinal::DECIDED_DENIED,
                        delivery: Delivery::Advisory,
                        to: by_job(&config.topics.denied, config.topics.partitions.denied, job),
                        key: Some(job_key(job)),
                        headers: of_denied(config, job, at, record),
                        value: Some(value),
                    });
                    let outcome = (Outcome::Denied, decision.reason.as_str());
                    finished(config, job, ordinal::DECIDED_FINISHED, outcome, at, outbox)
                }
            }
        }
        // Of a source that is only observed, unless the job's end was owed before that was configured.
        KernelFact::RecordRejected { job: None, .. } if config.source.observe() => Ok(()),
        KernelFact::RecordRejected { source, reason, detail, input_hash, job, replaces } => {
            let record = &*origin(kernel, input, source, *replaces)?;
            let job = job.as_deref();
            let death = Death { ordinal: ordinal::REJECTED_DEAD, source, job, reason: *reason, detail, input_hash };
            dead(config, &death, record, outbox);
            match job {
                Some(job) => {
                    finished(config, job, ordinal::REJECTED_FINISHED, (Outcome::Dead, detail.as_str()), at, outbox)
                }
                None => Ok(()),
            }
        }
    }
}

/// The job that people are no longer asked about because of this fact, and the ordinal of its tombstone.
fn unheld(fact: &KernelFact) -> Option<(&SourcePosition, u8)> {
    let (source, replaces, ordinal) = match fact {
        KernelFact::JobDecided { job, replaces, .. } => (&job.source, *replaces, ordinal::DECIDED_HELD),
        KernelFact::JobDeferred { job, replaces, .. } => (&job.source, *replaces, ordinal::ENDED_HELD),
        KernelFact::RecordRejected { source, replaces, .. } => (source, *replaces, ordinal::ENDED_HELD),
        KernelFact::JobCancelled { job, replaces, .. } => (&job.source, Some(*replaces), ordinal::ENDED_HELD),
        KernelFact::PolicyAdopted { .. }
        | KernelFact::RecordRedriven { .. }
        | KernelFact::RecordDropped { .. }
        | KernelFact::JobHeld { .. }
        | KernelFact::HoldRenewed { .. }
        | KernelFact::ApprovalGiven { .. }
        | KernelFact::HoldEscalated { .. }
        | KernelFact::CommandRefused { .. }
        | KernelFact::JobWithdrawn { .. }
        | KernelFact::DelegationRevoked { .. }
        | KernelFact::JobRepeated { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. } => return None,
    };
    replaces.is_some_and(|replaced| replaced.was == KeptAs::Held).then_some((source, ordinal))
}

fn about_hold(config: &KernelConfig, ordinal: u8, source: &SourcePosition, value: Option<Bytes>) -> Message {
    let position = source.to_string();
    let mut headers = Headers::with_capacity(1);
    headers.push(headers::SOURCE, position.clone());
    let to = config.topics.held.partition(partition_of(position.as_bytes(), config.topics.partitions.held));
    Message { ordinal, delivery: Delivery::Advisory, to, key: Some(position.into()), headers, value }
}

/// Whether [`emit`] needs the record of this fact.
pub(crate) fn needs_input(config: &KernelConfig, fact: &KernelFact) -> bool {
    match fact {
        KernelFact::PolicyAdopted { .. }
        | KernelFact::RecordRedriven { .. }
        | KernelFact::RecordDropped { .. }
        | KernelFact::JobRepeated { .. }
        | KernelFact::JobDeferred { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. }
        | KernelFact::JobHeld { .. }
        | KernelFact::HoldRenewed { .. }
        | KernelFact::ApprovalGiven { .. }
        | KernelFact::HoldEscalated { .. }
        | KernelFact::CommandRefused { .. }
        | KernelFact::JobWithdrawn { .. }
        | KernelFact::DelegationRevoked { .. }
        | KernelFact::JobCancelled { .. } => false,
        // What was kept is emitted from what was kept.
        KernelFact::JobDecided { replaces: Some(replaced), .. }
        | KernelFact::RecordRejected { replaces: Some(replaced), .. }
            if matches!(replaced.was, KeptAs::Held | KeptAs::Deferred) =>
        {
            false
        }
        KernelFact::JobDecided { observed, .. } => !observed,
        KernelFact::RecordRejected { job, .. } => job.is_some() || !config.source.observe(),
    }
}

#[expect(clippy::too_many_arguments, reason = "a fact's fields and what surrounds it, used once")]
fn approved(
    config: &KernelConfig,
    job: &Job,
    decision: &Decision,
    pool: &PoolName,
    payload: PayloadAt,
    at: Timestamp,
    record: &Record,
    outbox: &mut Outbox,
) -> Result<(), Unmade> {
    let Some(to) = config.routes.bucket(pool, job) else {
        let detail = format!("pool `{pool}` is gone from the configuration since the job was allowed");
        let death = Death {
            ordinal: ordinal::DECIDED_DEAD,
            source: &job.source,
            job: Some(job),
            reason: DeadReason::Unroutable,
            detail: &detail,
            input_hash: &job.input_hash,
        };
        dead(config, &death, record, outbox);
        return finished(config, job, ordinal::DECIDED_FINISHED, (Outcome::Dead, &detail), at, outbox);
    };
    outbox.send(Message {
        ordinal: ordinal::DECIDED_APPROVED,
        delivery: Delivery::Ticketed,
        to,
        key: Some(Bytes::from([job.tenant.as_str(), "/", job.id.as_str()].concat())),
        headers: carried(&job.source, record),
        value: Some(judged(job, decision, payload, record)?),
    });
    Ok(())
}

/// A pool that is gone since ends nothing any more.
fn withdrawn(config: &KernelConfig, pool: &PoolName, withdrawn: Withdrawn, outbox: &mut Outbox) -> Result<(), Unmade> {
    let withdrawal = Withdrawal { v: 1, withdrawn };
    let Withdrawn { source, tenant, id, .. } = &withdrawal.withdrawn;
    let value = Bytes::from(serde_json::to_vec(&withdrawal).map_err(|e| unmade(source, e))?);
    let key = Bytes::from([tenant.as_str(), "/", id.as_str()].concat());
    let behind = config.routes.tenant_buckets(pool, tenant).map(|to| (ordinal::WITHDRAWN, to));
    let soon = config.routes.tenant_withdrawals(pool, tenant).map(|to| (ordinal::WITHDRAWN_SOON, to));
    for (ordinal, to) in behind.chain(soon) {
        let mut headers = Headers::with_capacity(1);
        headers.push(headers::SOURCE, source.to_string());
        outbox.send(Message {
            ordinal,
            delivery: Delivery::Fenced,
            to,
            key: Some(key.clone()),
            headers,
            value: Some(value.clone()),
        });
    }
    Ok(())
}

fn finished(
    config: &KernelConfig,
    job: &Job,
    ordinal: u8,
    (outcome, reason): (Outcome, &str),
    at: Timestamp,
    outbox: &mut Outbox,
) -> Result<(), Unmade> {
    let end = Finished {
        v: 1,
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        source: job.source.clone(),
        outcome,
        reason: reason.to_owned(),
        output: None,
        worker: None,
        attempts: 0,
        at,
    };
    let value = serde_json::to_vec(&end).map_err(|e| unmade(&job.source, e))?;
    let headers = event(config, Kind::Finished, job, at);
    outbox.send(Message {
        ordinal,
        delivery: Delivery::Fenced,
        to: by_job(&config.topics.finished, config.topics.partitions.finished, job),
        key: Some(job_key(job)),
        headers,
        value: Some(value.into()),
    });
    Ok(())
}

fn dead(config: &KernelConfig, death: &Death<'_>, record: &Record, outbox: &mut Outbox) {
    let position = death.source.to_string();
    let key = death.job.map_or_else(|| Bytes::from(position.clone()), job_key);
    let mut headers = Headers::with_capacity(record.headers.len() + 9);
    for (name, value) in record.headers.iter().filter(|(name, _)| !name.starts_with(CONNECT)) {
        if name.starts_with(OURS) {
            headers.push(format!("original-{name}"), value.clone());
        } else {
            headers.push(name.to_owned(), value.clone());
        }
    }
    if let Some(key) = &record.key {
        headers.push(headers::DEAD_KEY, key.clone());
    }
    let mut value = record.value.clone();
    // Leaves room for the headers below.
    let most = config.max_record_bytes.saturating_sub(1_024 + key.len() + death.detail.len());
    let cut = headers.bytes() + value.as_ref().map_or(0, Bytes::len) > most;
    if cut {
        value = None;
        if headers.bytes() > most {
            headers = Headers::with_capacity(8);
        }
    }
    headers.push(headers::SOURCE, position);
    headers.push(headers::DEAD_TOPIC, config.topics.source.as_str().to_owned());
    headers.push(headers::DEAD_PARTITION, death.source.partition.to_string());
    headers.push(headers::DEAD_OFFSET, death.source.offset.to_string());
    headers.push(headers::DEAD_STAGE, "kernel");
    headers.push(headers::DEAD_CLASS, death.reason.word());
    headers.push(headers::DEAD_MESSAGE, death.detail.to_owned());
    if cut {
        headers.push(headers::DEAD_HASH, death.input_hash.to_string());
    }
    outbox.send(Message {
        ordinal: death.ordinal,
        delivery: Delivery::Advisory,
        to: config.topics.dead.partition(partition_of(&key, config.topics.partitions.dead)),
        key: Some(key),
        headers,
        value,
    });
}

/// The size of the judged job's record, when that is more than `most` bytes.
pub(crate) fn too_large(
    job: &Job,
    decision: &Decision,
    payload: PayloadAt,
    record: &Record,
    most: usize,
) -> Option<usize> {
    // Once as a header, once in the record.
    let traced = record.headers.get(trace::PARENT).map_or(0, |parent| parent.len() + 20);
    let headers = carried(&job.source, record).bytes() + traced + STAMPS;
    let value = record.value.as_deref().unwrap_or_default();
    // Attributes are bounded and may double in JSON, so what is far below the limit needs no measuring.
    let plain = job.delegation.is_none();
    if plain && value.len() * 2 + headers + MOST_JUDGEMENT < most && said(decision) < MOST_JUDGEMENT / 8 {
        return None;
    }
    let bytes = Judged::encode(job, decision, payload, value).map_or(usize::MAX, |encoded| encoded.len());
    let bytes = bytes.saturating_add(headers + job.tenant.as_str().len() + job.id.as_str().len() + 1);
    (bytes > most).then_some(bytes)
}

/// Room for the stamp headers and the ticket the runner adds.
const STAMPS: usize = 512 + MOST_TICKET_BYTES;
/// What job and decision may take beside twice the record's value: attributes from headers, and the decision.
const MOST_JUDGEMENT: usize = 64 << 10;

/// Bytes of what policy put into the decision.
fn said(decision: &Decision) -> usize {
    let texts = decision.rule_ids.iter().chain(&decision.risk_tags);
    decision.reason.len() + texts.map(|text| text.len() + 3).sum::<usize>()
}

fn judged(job: &Job, decision: &Decision, payload: PayloadAt, record: &Record) -> Result<Bytes, Unmade> {
    let value = record.value.as_deref().unwrap_or_default();
    let mut judged = Judged::encode(job, decision, payload, value).map_err(|e| unmade(&job.source, e))?;
    if let Some(traceparent) = record.headers.text(trace::PARENT) {
        Judged::put_trace(&mut judged, traceparent);
    }
    Ok(judged.into())
}

fn carried(source: &SourcePosition, record: &Record) -> Headers {
    let mut carried = Headers::with_capacity(4);
    carried.push(headers::SOURCE, source.text());
    if !record.headers.is_empty() {
        for name in CARRIED {
            if let Some(value) = record.headers.get(name) {
                carried.push(name, value.clone());
            }
        }
    }
    carried
}

/// Where they are wanted, an event's own; then what the job's record was stands in others.
fn of_denied(config: &KernelConfig, job: &Job, at: Timestamp, record: &Record) -> Headers {
    if !config.topics.cloudevents {
        return carried(&job.source, record);
    }
    let mut headers = event(config, Kind::Denied, job, at);
    for (name, of_record) in [("ce_causesource", CE_SOURCE), ("ce_causeid", CE_ID), (trace::PARENT, trace::PARENT)] {
        if let Some(value) = record.headers.get(of_record) {
            headers.push(name, value.clone());
        }
    }
    headers
}

/// What says that it is about a job, and where that is wanted, what happened to it.
fn event(config: &KernelConfig, kind: Kind, job: &Job, at: Timestamp) -> Headers {
    let mut headers = Headers::with_capacity(12);
    headers.push(headers::SOURCE, job.source.text());
    if config.topics.cloudevents {
        for (name, value) in cloudevents::headers(kind, &job.source, &job.id, &job.tenant, at) {
            headers.push(name, value);
        }
    }
    headers
}

fn job_key(job: &Job) -> Bytes {
    Bytes::copy_from_slice(job.id.as_str().as_bytes())
}

fn by_job(topic: &TopicName, partitions: u32, job: &Job) -> tidegate_protocol::address::TopicPartition {
    topic.partition(partition_of(job.id.as_str().as_bytes(), partitions))
}

/// What a fact emits from: the record it settles, what that gives back, or what was kept until this fact.
fn origin<'a>(
    kernel: &Kernel,
    input: Option<&'a Record>,
    source: &SourcePosition,
    replaces: Option<Replaced>,
) -> Result<Cow<'a, Record>, Unmade> {
    match replaces {
        None => input.map(Cow::Borrowed).ok_or_else(|| unmade(source, "its record was not given")),
        Some(Replaced { was: KeptAs::Released, .. }) => {
            let record = input.ok_or_else(|| unmade(source, "its record was not given"))?;
            returned::opened(record).map(Cow::Owned).ok_or_else(|| unmade(source, "it did not come back"))
        }
        Some(Replaced { was: KeptAs::Dead, .. }) => {
            let command = input.ok_or_else(|| unmade(source, "its command was not given"))?;
            redriven::opened(command).map(Cow::Owned).ok_or_else(|| unmade(source, "its command carries no record"))
        }
        Some(Replaced { was: KeptAs::Held | KeptAs::Deferred, .. }) => {
            let kept = kernel.kept.leaving(source).ok_or_else(|| unmade(source, "it was not kept"))?;
            Ok(Cow::Owned(restored(&kept.record)))
        }
    }
}

fn unmade(source: &SourcePosition, problem: impl std::fmt::Display) -> Unmade {
    Unmade { source_position: source.clone(), problem: problem.to_string() }
}
