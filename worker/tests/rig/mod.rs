//! A scheduler's side played by a script, over a real embedded spine.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses another part")]

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use tempfile::TempDir;
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::decision::{Decision, Judged, PayloadAt, Verdict};
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::ids::{Capability, JobId, KeyId, PoolName, SenderId, TenantId, WorkerId};
use tidegate_protocol::job::{Actor, InputHash, Job};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::proof::{Emission, Ticket, content};
use tidegate_protocol::signature::Role;
use tidegate_spine::inbox::lane_of;
use tidegate_spine::{
    Cleanup, Headers, NewRecord, Producer, ProducerOptions, ReadHandle, Reader, Spine, Start, TopicSpec,
};
use tidegate_worker::session::JobKey;
use tidegate_worker::{Builder, Drained, RunError, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) mod faulty;

pub(crate) const LANES: u32 = 4;
const PREFIX: &str = "t.";

pub(crate) struct Rig {
    pub(crate) spine: Arc<dyn Spine>,
    pub(crate) work: TopicName,
    producer: Box<dyn Producer>,
    reader: Box<dyn Reader>,
    handles: Vec<ReadHandle>,
    reports: Vec<Vec<Report>>,
    pub(crate) incarnation: u64,
    pub(crate) lease_ms: u64,
    /// Done to the next record in the lane.
    pub(crate) spoil: Option<fn(&mut NewRecord)>,
    sent: u64,
    _folder: TempDir,
}

pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Drained, RunError>>,
}

impl Running {
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Drops the worker on the spot.
    pub(crate) fn abort(self) {
        self.task.abort();
    }

    pub(crate) async fn ended(self) -> Result<Drained, RunError> {
        within(self.task).await.unwrap()
    }
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it takes longer than 30 s")
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A deadline that passes soon.
pub(crate) fn soon() -> u64 {
    now_ms() + 2_000
}

/// One that does not pass before a process has started, or has heard of the job, on a machine that is busy.
pub(crate) fn once_started() -> u64 {
    now_ms() + 10_000
}

pub(crate) fn worker() -> Builder {
    Worker::builder(PoolName::new("p").unwrap(), WorkerId::new("w1").unwrap(), keyring())
}

/// The key of a stage.
pub(crate) fn key(stage: &str) -> SecretKey {
    let id = KeyId::new(stage).unwrap();
    SecretKey::from_seed(id, &[u8::try_from(stage.len()).unwrap(); 32])
}

/// Kernel and scheduler, each for itself.
fn keyring() -> Arc<Keyring> {
    let trusted = |stage: &str| Trusted {
        id: KeyId::new(stage).unwrap(),
        public: key(stage).public(),
        person: None,
        roles: vec![Role::Stage(stage.into())],
        tenants: None,
        until_ms: None,
    };
    Arc::new(Keyring::new([trusted("kernel"), trusted("scheduler")]).unwrap())
}

/// The trace of every job here.
pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A record of `approved.p` as the kernel of the job's partition sends it.
pub(crate) fn ticketed(job: &Job, decision: &Decision, payload: &str) -> Vec<u8> {
    let at = PayloadAt::Json(0, u32::try_from(payload.len()).unwrap());
    let mut text = Judged::encode(job, decision, at, payload.as_bytes()).unwrap();
    Judged::put_trace(&mut text, TRACE);
    let to = TopicName::new("t.approved.p").unwrap().partition(0);
    let stamp = Stamp { epoch: 3, sequence: job.source.offset, group: 7, index: 0 };
    let sender = format!("kernel.{}/{}", job.source.source, job.source.partition);
    let mut emission = Emission::default();
    emission.push(&to, stamp.sequence, stamp.index, &Ticket::content(&text));
    let proof = emission.seal(&key("kernel"), &sender, stamp.epoch, stamp.group).unwrap().proof(0);
    Ticket::new(proof, SenderId::new(sender).unwrap(), to, stamp).splice(&text).unwrap()
}

pub(crate) fn spec(name: &TopicName, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.clone(),
        partitions,
        cleanup: Cleanup::Log { retention_ms: None },
        max_record_bytes: 4 << 20,
        broker_time: true,
        replication: None,
    }
}

/// A job that is allowed; change it before `assign`.
pub(crate) fn job(offset: u64, capability: &str) -> Job {
    Job {
        id: JobId::new(format!("job-{offset}")).unwrap(),
        tenant: TenantId::new("acme").unwrap(),
        topic: "job.test".into(),
        actor: Actor::default(),
        capability: Capability::new(capability).unwrap(),
        requires: Vec::new(),
        risk_tags: Vec::new(),
        labels: [].into(),
        priority: 5,
        deadline: None,
        not_before: None,
        ordering_key: None,
        select: tidegate_protocol::selector::Selector::default(),
        prefer: tidegate_protocol::selector::Selector::default(),
        retry: tidegate_protocol::job::Retry::default(),
        parent: None,
        scope: None,
        delegation: None,
        source: format!("jobs/0@{offset}").parse().unwrap(),
        input_hash: InputHash([7; 32]),
        submitted_ms: 0,
    }
}

/// How a job ended, as its result says.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) job: JobKey,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) output: Option<String>,
    pub(crate) retryable: bool,
}

impl Rig {
    pub(crate) async fn new(shards: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder.path())).unwrap());
        let work = TopicName::new("t.work.p").unwrap();
        let reports = TopicName::new("t.reports.p").unwrap();
        spine.create(&spec(&work, LANES)).await.unwrap();
        spine.create(&spec(&reports, shards)).await.unwrap();
        let producer = spine.producer(ProducerOptions::default()).await.unwrap();
        let mut reader = spine.reader("rig").await.unwrap();
        let handles = (0..shards).map(|shard| reader.open(&reports.partition(shard), Start::Earliest)).collect();
        let reports = (0..shards).map(|_| Vec::new()).collect();
        Self {
            spine,
            work,
            producer,
            reader,
            handles,
            reports,
            incarnation: 0,
            lease_ms: 20_000,
            spoil: None,
            sent: 0,
            _folder: folder,
        }
    }

    pub(crate) fn start(&self, builder: Builder) -> Running {
        self.start_on(Arc::clone(&self.spine), builder)
    }

    pub(crate) fn start_on(&self, spine: Arc<dyn Spine>, builder: Builder) -> Running {
        let (stop, stopped) = oneshot::channel();
        let worker = builder.build().unwrap();
        let task = tokio::spawn(async move {
            let shutdown = async move { stopped.await.unwrap_or_default() };
            worker.run(spine, PREFIX, shutdown).await
        });
        Running { stop: Some(stop), task }
    }

    /// The next report of a shard that `which` wants; what lies before it is passed over.
    pub(crate) async fn next<T>(&mut self, shard: usize, which: impl Fn(&Report) -> Option<T>) -> T {
        let (reader, handle, queue) = (&mut self.reader, self.handles[shard], &mut self.reports[shard]);
        let find = async {
            loop {
                while !queue.is_empty() {
                    if let Some(found) = which(&queue.remove(0)) {
                        return found;
                    }
                }
                let mut records = Vec::new();
                poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap();
                let read = |value: &[u8]| serde_json::from_slice::<Report>(value).unwrap();
                queue.extend(records.iter().map(|record| read(record.value.as_ref().unwrap())));
            }
        };
        within(find).await
    }

    /// The first records of a partition.
    pub(crate) async fn read_all(
        &mut self,
        of: &tidegate_protocol::address::TopicPartition,
        count: usize,
    ) -> Vec<tidegate_spine::Record> {
        let mut reader = self.spine.reader("rig-2").await.unwrap();
        let handle = reader.open(of, Start::Earliest);
        let find = async {
            let mut records = Vec::new();
            while records.len() < count {
                poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap();
            }
            records
        };
        within(find).await
    }

    /// Waits for a Hello and answers it.
    pub(crate) async fn welcome(&mut self, shard: usize, epoch: u64) -> u32 {
        let hello = |report: &Report| match report {
            Report::Hello { incarnation, capacity, .. } => Some((*incarnation, *capacity)),
            _ => None,
        };
        let (incarnation, capacity) = self.next(shard, hello).await;
        self.incarnation = incarnation;
        let welcome = Order::Welcome { incarnation, epoch, heartbeat_ms: 200, lease_ms: self.lease_ms };
        self.order(shard, epoch, &welcome).await;
        capacity
    }

    /// The number of the next Hello that says such a one.
    pub(crate) async fn hello(&mut self, shard: usize, which: impl Fn(u64) -> bool) -> u64 {
        let hello = |report: &Report| match report {
            Report::Hello { incarnation, .. } => Some(*incarnation).filter(|number| which(*number)),
            _ => None,
        };
        self.next(shard, hello).await
    }

    /// Welcomes that incarnation.
    pub(crate) async fn welcome_as(&mut self, shard: usize, epoch: u64, incarnation: u64) {
        self.incarnation = incarnation;
        let welcome = Order::Welcome { incarnation, epoch, heartbeat_ms: 200, lease_ms: self.lease_ms };
        self.order(shard, epoch, &welcome).await;
    }

    /// The credit total of the next heartbeat under `epoch`.
    pub(crate) async fn credit(&mut self, shard: usize, wanted: u64) -> u64 {
        let credit = |report: &Report| match report {
            Report::Heartbeat { epoch, credit, .. } if *epoch == wanted => Some(*credit),
            _ => None,
        };
        self.next(shard, credit).await
    }

    pub(crate) async fn order(&mut self, shard: usize, epoch: u64, order: &Order) {
        let value = serde_json::to_vec(order).unwrap();
        self.lane(shard, epoch, "w1", value).await;
    }

    pub(crate) async fn lane(&mut self, shard: usize, epoch: u64, to: &str, value: Vec<u8>) {
        let lane = self.work.partition(lane_of("w1", LANES));
        self.sent += 1;
        let (sender, stamp) =
            (format!("scheduler.p/{shard}"), Stamp { epoch, sequence: self.sent, group: self.sent, index: 0 });
        let mut emission = Emission::default();
        emission.push(&lane, stamp.sequence, stamp.index, &content(Some(to.as_bytes()), Some(&value)));
        let proof = emission.seal(&key("scheduler"), &sender, epoch, stamp.group).unwrap().proof(0).to_header();
        let mut headers: Headers = [
            ("tg-to", to.to_owned()),
            ("tg-sender", sender),
            ("tg-epoch", epoch.to_string()),
            ("tg-stamp", format!("{0} {0} 0", self.sent)),
        ]
        .into_iter()
        .collect();
        headers.push("tg-proof", proof);
        let mut record = NewRecord { key: Some(to.to_owned().into_bytes().into()), value: Some(value.into()), headers };
        if let Some(spoil) = self.spoil.take() {
            spoil(&mut record);
        }
        within(self.producer.append(&lane, vec![record])).await.unwrap();
    }

    /// Assigns `job` with `payload` to the worker; its offset is the number too.
    pub(crate) async fn assign(&mut self, shard: usize, epoch: u64, job: &Job, payload: &str) -> JobKey {
        self.assign_as(shard, epoch, job, payload, Verdict::Allow).await
    }

    pub(crate) async fn assign_as(
        &mut self,
        shard: usize,
        epoch: u64,
        job: &Job,
        payload: &str,
        verdict: Verdict,
    ) -> JobKey {
        let decision = Decision::new(verdict, "test", "s1");
        self.assign_text(shard, epoch, job, ticketed(job, &decision, payload)).await
    }

    /// Assigns that record.
    pub(crate) async fn assign_text(&mut self, shard: usize, epoch: u64, job: &Job, work: Vec<u8>) -> JobKey {
        let work = RawValue::from_string(String::from_utf8(work).unwrap()).unwrap();
        let key = JobKey { source: job.source.clone(), token: Token { epoch, attempt: 1 } };
        let order = Order::Assignment {
            incarnation: self.incarnation,
            number: job.source.offset,
            source: key.source.clone(),
            token: key.token,
            work,
        };
        self.order(shard, epoch, &order).await;
        key
    }

    pub(crate) async fn settle(&mut self, shard: usize, epoch: u64, job: &JobKey, accepted: bool) {
        let reason = if accepted { "" } else { "not_holder" }.to_owned();
        let order = Order::Settled { source: job.source.clone(), token: job.token, accepted, reason };
        self.order(shard, epoch, &order).await;
    }

    /// The next result.
    pub(crate) async fn result(&mut self, shard: usize) -> Said {
        let result = |report: &Report| match report {
            Report::Result { source, token, outcome, reason, output, retryable, .. } => Some(Said {
                job: JobKey { source: source.clone(), token: *token },
                outcome: *outcome,
                reason: reason.clone(),
                output: output.as_ref().map(|output| output.get().to_owned()),
                retryable: *retryable,
            }),
            _ => None,
        };
        self.next(shard, result).await
    }

    pub(crate) async fn given_back(&mut self, shard: usize) -> JobKey {
        let back = |report: &Report| match report {
            Report::GiveBack { source, token, .. } => Some(JobKey { source: source.clone(), token: *token }),
            _ => None,
        };
        self.next(shard, back).await
    }
}
