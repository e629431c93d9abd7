//! Decisions as lines of JSON, for a SIEM or a warehouse: one line for every fact that says what may become of a record.
//!
//! A later line about the same `position` replaces the one before (`replaces` says so). What people and limits did on the
//! way is in the log and not here.

use serde::Serialize;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{FactRecord, Group};
use tidegate_protocol::decision::Decision;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{JobId, PersonId, PoolName, TenantId};
use tidegate_protocol::job::{Actor, InputHash, Job, SourcePosition};
use tidegate_protocol::kept::Replaced;
use tidegate_protocol::limits::Spend;

/// A decision's line. A field that says nothing is left out.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// Format version, 1.
    pub v: u32,
    /// The record: `source/partition@offset`.
    pub position: &'a SourcePosition,
    /// Its tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a TenantId>,
    /// The job's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<&'a JobId>,
    /// Its dotted topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<&'a str>,
    /// What it asks a worker for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<&'a str>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<&'a Actor>,
    /// Hash of what was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_hash: Option<&'a InputHash>,
    /// A verdict's word; or `cancelled`, `duplicate`, `dead`.
    pub verdict: &'static str,
    /// Why, for people.
    pub reason: &'a str,
    /// The rules that decided.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rules: &'a [String],
    /// Hash of the policy snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<&'a str>,
    /// The people whose approvals it rests on.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub approved_by: &'a [PersonId],
    /// Where an allowed job went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<&'a PoolName>,
    /// Decided and not released (`observe: true`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// It waits until then for people, or for a limit; microseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// How the job was kept before: this stands in place of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
    /// The record that was decided, when this one is the same job again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<&'a SourcePosition>,
    /// Who called it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a PersonId>,
    /// What it takes of limits.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub spends: &'a [Spend],
    /// When it was decided, microseconds since the Unix epoch.
    pub at: u64,
    /// Epoch of the kernel that decided.
    pub epoch: u64,
    /// The group's place in the audit log.
    pub log: LogPlace<'a>,
}

/// Where a fact stands.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LogPlace<'a> {
    /// The facts topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// The group's offset.
    pub offset: Offset,
    /// The fact's number in the group.
    pub fact: u64,
}

impl<'a> Line<'a> {
    fn new(position: &'a SourcePosition, verdict: &'static str, reason: &'a str, log: LogPlace<'a>) -> Self {
        Self {
            v: 1,
            position,
            tenant: None,
            job: None,
            topic: None,
            capability: None,
            actor: None,
            input_hash: None,
            verdict,
            reason,
            rules: &[],
            snapshot: None,
            approved_by: &[],
            pool: None,
            observed: false,
            until: None,
            replaces: None,
            duplicate_of: None,
            by: None,
            spends: &[],
            at: 0,
            epoch: 0,
            log,
        }
    }

    fn of(self, job: &'a Job) -> Self {
        Self {
            tenant: Some(&job.tenant),
            job: Some(&job.id),
            topic: Some(&job.topic),
            capability: Some(job.capability.as_str()),
            actor: Some(&job.actor),
            input_hash: Some(&job.input_hash),
            ..self
        }
    }

    fn by(self, decision: &'a Decision) -> Self {
        Self {
            verdict: decision.verdict.word(),
            reason: &decision.reason,
            rules: &decision.rule_ids,
            snapshot: Some(&decision.snapshot),
            approved_by: &decision.approved_by,
            ..self
        }
    }
}

/// The lines of a group that counts.
pub fn lines<'a>(
    log: &'a TopicPartition,
    offset: Offset,
    group: &'a Group<FactRecord<KernelFact>>,
) -> impl Iterator<Item = Line<'a>> {
    (0..).zip(&group.facts).filter_map(move |(fact, record)| {
        let place = LogPlace { topic: log.topic.as_str(), partition: log.partition, offset, fact };
        let line = line(&record.fact, place)?;
        Some(Line { at: record.at.0, epoch: group.epoch, ..line })
    })
}

fn line<'a>(fact: &'a KernelFact, log: LogPlace<'a>) -> Option<Line<'a>> {
    let new = |position, verdict, reason| Line::new(position, verdict, reason, log);
    Some(match fact {
        KernelFact::JobDecided { job, decision, pool, observed, replaces, spends, .. } => Line {
            pool: pool.as_ref(),
            observed: *observed,
            replaces: *replaces,
            spends,
            ..new(&job.source, "", "").of(job).by(decision)
        },
        KernelFact::JobHeld { job, decision, until, replaces, .. } => {
            Line { until: Some(until.0), replaces: *replaces, ..new(&job.source, "", "").of(job).by(decision) }
        }
        KernelFact::HoldRenewed { source, decision, until } => {
            Line { until: Some(until.0), ..new(source, "", "").by(decision) }
        }
        KernelFact::JobDeferred { job, why, until, decision, replaces, .. } => {
            let line = new(&job.source, "throttle", why.word()).of(job);
            let line = match decision {
                Some(decision) => Line { verdict: "throttle", ..line.by(decision) },
                None => line,
            };
            Line { until: Some(until.0), replaces: *replaces, ..line }
        }
        KernelFact::JobCancelled { job, by, reason, replaces, .. } => {
            Line { by: Some(by), replaces: Some(*replaces), ..new(&job.source, "cancelled", reason).of(job) }
        }
        KernelFact::JobWithdrawn { source, job_id, tenant, by, reason, .. } => {
            Line { tenant: Some(tenant), job: Some(job_id), by: Some(by), ..new(source, "withdrawn", reason) }
        }
        KernelFact::JobRepeated { source, duplicate_of, job_id, tenant } => Line {
            tenant: Some(tenant),
            job: Some(job_id),
            duplicate_of: Some(duplicate_of),
            ..new(source, "duplicate", "the same job again: its first verdict stands")
        },
        KernelFact::RecordRejected { source, detail, input_hash, job, replaces, .. } => {
            let line = new(source, "dead", detail);
            let line = match job {
                Some(job) => line.of(job),
                None => line,
            };
            Line { input_hash: Some(input_hash), replaces: *replaces, ..line }
        }
        KernelFact::PolicyAdopted { .. }
        | KernelFact::SliceRequested { .. }
        | KernelFact::SliceGranted { .. }
        | KernelFact::SliceReturned { .. }
        | KernelFact::SpendSettled { .. }
        | KernelFact::OutcomePassedOn { .. }
        | KernelFact::ApprovalGiven { .. }
        | KernelFact::HoldEscalated { .. }
        | KernelFact::CommandRefused { .. } => return None,
    })
}
