//! Makers of jobs, records and reports.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_protocol::decision::{Decision, Judged, PayloadAt, Verdict};
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Held, Report};
use tidegate_protocol::ids::{Capability, JobId, PersonId, PoolName, SourceName, TenantId, WorkerId};
use tidegate_protocol::job::{Actor, DEFAULT_PRIORITY, InputHash, Job, SourcePosition};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::withdrawal::{Cause, Withdrawal, Withdrawn};
use tidegate_scheduler::Layout;

pub fn position(offset: u64) -> SourcePosition {
    SourcePosition::new(SourceName::new("jobs").unwrap(), 0, offset)
}

pub fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

pub fn capabilities(names: &[&str]) -> Vec<Capability> {
    names.iter().map(|name| Capability::new(name).unwrap()).collect()
}

/// A job of tenant `t` that needs `echo`.
pub fn job(id: &str, offset: u64) -> Job {
    Job {
        id: JobId::new(id).unwrap(),
        tenant: TenantId::new("t").unwrap(),
        topic: "job.test".into(),
        actor: Actor::default(),
        capability: Capability::new("echo").unwrap(),
        requires: Vec::new(),
        risk_tags: Vec::new(),
        labels: BTreeMap::new(),
        priority: DEFAULT_PRIORITY,
        deadline: None,
        not_before: None,
        ordering_key: None,
        select: tidegate_protocol::selector::Selector::default(),
        prefer: tidegate_protocol::selector::Selector::default(),
        retry: tidegate_protocol::job::Retry::default(),
        parent: None,
        scope: None,
        delegation: None,
        source: position(offset),
        input_hash: InputHash::of(id.as_bytes(), []),
        submitted_ms: 0,
    }
}

fn decision(verdict: Verdict) -> Decision {
    Decision::new(verdict, "", "s")
}

/// The record the kernel writes to `approved`.
pub fn approved(job: &Job, payload: &str) -> Bytes {
    let at = PayloadAt::Json(0, u32::try_from(payload.len()).unwrap());
    Judged::encode(job, &decision(Verdict::Allow), at, payload.as_bytes()).unwrap().into()
}

/// One that must never be there.
pub fn denied(job: &Job) -> Bytes {
    Judged::encode(job, &decision(Verdict::Deny), PayloadAt::None, b"").unwrap().into()
}

/// What the kernel writes to call a job off.
pub fn withdrawal(id: &str, offset: u64) -> Bytes {
    let withdrawn = Withdrawn {
        source: position(offset),
        tenant: TenantId::new("t").unwrap(),
        id: JobId::new(id).unwrap(),
        cause: Cause::Cancelled,
        by: PersonId::new("olga").unwrap(),
        reason: String::new(),
    };
    serde_json::to_vec(&Withdrawal { v: 1, withdrawn }).unwrap().into()
}

pub fn layout() -> Layout {
    Layout {
        prefix: "tg.".into(),
        pool: PoolName::new("p").unwrap(),
        shards: 1,
        buckets: 2,
        lanes: 4,
        finished_partitions: 2,
        dead_partitions: 1,
        sources: std::collections::BTreeMap::from([(tidegate_protocol::ids::SourceName::new("jobs.raw").unwrap(), 8)]),
        lending: tidegate_scheduler::Lending::default(),
    }
}

pub fn hello(name: &str, incarnation: u64, capabilities: Vec<Capability>, capacity: u32) -> Report {
    Report::Hello {
        worker: worker(name),
        incarnation,
        lane: 0,
        lane_position: 0,
        capabilities,
        capacity,
        tenants: None,
        labels: BTreeMap::new(),
    }
}

/// What a worker of the tests knows of itself.
#[derive(Debug, Clone)]
pub struct Says {
    pub name: String,
    pub incarnation: u64,
    pub lane: u32,
    pub epoch: u64,
    pub capabilities: Vec<Capability>,
    pub capacity: u32,
    pub running: Vec<Held>,
    pub received: u64,
    pub credit: u64,
    pub draining: bool,
    pub tenants: Option<Vec<TenantId>>,
    pub labels: BTreeMap<String, String>,
    pub load: Option<f64>,
}

pub fn held(offset: u64, token: Token) -> Held {
    Held { source: position(offset), token, waits: false }
}

impl Says {
    /// A worker that can `echo`, one at a time.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            incarnation: 1,
            lane: 0,
            epoch: 0,
            capabilities: capabilities(&["echo"]),
            capacity: 1,
            running: Vec::new(),
            received: 0,
            credit: 1,
            draining: false,
            tenants: None,
            labels: BTreeMap::new(),
            load: None,
        }
    }

    pub fn hello(&self) -> Report {
        Report::Hello {
            worker: worker(&self.name),
            incarnation: self.incarnation,
            lane: self.lane,
            lane_position: 0,
            capabilities: self.capabilities.clone(),
            capacity: self.capacity,
            tenants: self.tenants.clone(),
            labels: self.labels.clone(),
        }
    }

    pub fn heartbeat(&self) -> Report {
        Report::Heartbeat {
            worker: worker(&self.name),
            incarnation: self.incarnation,
            lane: self.lane,
            epoch: self.epoch,
            capabilities: self.capabilities.clone(),
            capacity: self.capacity,
            running: self.running.clone(),
            received: self.received,
            credit: self.credit,
            draining: self.draining,
            tenants: self.tenants.clone(),
            labels: self.labels.clone(),
            load: self.load,
        }
    }

    pub fn result(&self, source: SourcePosition, token: Token, outcome: Outcome) -> Report {
        Report::Result {
            worker: worker(&self.name),
            incarnation: self.incarnation,
            lane: self.lane,
            epoch: self.epoch,
            source,
            token,
            outcome,
            reason: String::new(),
            output: None,
            usage: tidegate_protocol::limits::Usage::default(),
            retryable: false,
            retry_after_ms: None,
            credit: self.credit,
        }
    }

    pub fn give_back(&self, source: SourcePosition, token: Token) -> Report {
        Report::GiveBack { worker: worker(&self.name), incarnation: self.incarnation, epoch: self.epoch, source, token }
    }
}
