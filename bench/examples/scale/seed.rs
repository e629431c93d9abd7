//! Jobs as a kernel sends them, and the stage fed by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::{Kind, Mark, Stamp};
use tidegate_protocol::decision::{Decision as Verdicts, Judged, PayloadAt, Verdict};
use tidegate_protocol::headers;
use tidegate_protocol::ids::{KeyId, PoolName, SenderId};
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::proof::{Emission, Ticket};
use tidegate_protocol::signature::{Role, signed};
use tidegate_protocol::statements;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{Layout, Pool, Scheduler, Tuning};
use tidegate_spine::{Headers, NewRecord, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Outbox, Signal, Stage};

/// Sender of all jobs.
pub(crate) const KERNEL: &str = "kernel.jobs/0";
/// Jobs that share a signature.
const GROUP: u64 = 64;

pub(crate) fn layout(buckets: u32) -> anyhow::Result<Layout> {
    Ok(Layout {
        prefix: "scale.".into(),
        pool: PoolName::new("p")?,
        shards: 1,
        buckets,
        lanes: 1,
        finished_partitions: 1,
        dead_partitions: 1,
        sources: BTreeMap::new(),
        lending: tidegate_scheduler::Lending::default(),
    })
}

/// A key of all stages, the same in every process of a run, and who trusts it.
pub(crate) fn keys() -> anyhow::Result<(Arc<SecretKey>, Arc<Keyring>)> {
    let secret = SecretKey::from_seed(KeyId::new("scale")?, &[7; 32]);
    let public = secret.public();
    let trusted = Trusted {
        id: KeyId::new("scale")?,
        public,
        person: None,
        roles: vec![Role::AnyStage],
        tenants: None,
        until_ms: None,
    };
    Ok((Arc::new(secret), Arc::new(Keyring::new([trusted])?)))
}

/// Bytes of a job's payload, unless told.
pub(crate) const PAYLOAD: usize = 256;

/// A judged job's record without its ticket, with the usual payload.
pub(crate) fn record(number: u64) -> anyhow::Result<Vec<u8>> {
    record_of(number, PAYLOAD)
}

/// The same, with so many bytes of payload: at least two, its quotes.
pub(crate) fn record_of(number: u64, payload: usize) -> anyhow::Result<Vec<u8>> {
    let source: SourcePosition = format!("jobs/0@{number}").parse()?;
    let job: Job = serde_json::from_value(serde_json::json!({
        "id": format!("job-{number}"), "tenant": format!("tenant-{}", number % 20), "topic": "job.scale", "capability": "noop",
        "source": source, "input_hash": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "submitted_ms": 0,
    }))?;
    let payload = format!("\"{}\"", "x".repeat(payload.saturating_sub(2)));
    let at = PayloadAt::Json(0, u32::try_from(payload.len())?);
    Ok(Judged::encode(&job, &Verdicts::new(Verdict::Allow, "scale", "s"), at, payload.as_bytes())?)
}

/// What announces the kernel's epoch, before its first record.
pub(crate) fn fence(signer: &SecretKey, to: &TopicPartition) -> anyhow::Result<NewRecord> {
    let mark = Mark { v: 1, sender: SenderId::new(KERNEL)?, epoch: 1, claim: None, key: None, signature: None };
    let value = signed(signer, &statements::mark(Kind::Fence, to), serde_json::to_vec(&mark)?);
    let mut all = Headers::with_capacity(3);
    all.push(headers::KIND, Kind::Fence.word());
    all.push(headers::SENDER, KERNEL);
    all.push(headers::EPOCH, "1");
    Ok(NewRecord { key: Some(KERNEL.into()), value: Some(value.into()), headers: all })
}

/// Records of `approved`, with tickets, of the jobs from `first` on: one group of them.
pub(crate) fn group(
    signer: &SecretKey,
    to: &TopicPartition,
    first: u64,
    jobs: u64,
) -> anyhow::Result<(Vec<NewRecord>, u64)> {
    let many = GROUP.min(jobs - first);
    let texts: Vec<Vec<u8>> = (first..first + many).map(record).collect::<Result<_, _>>()?;
    let sender = SenderId::new(KERNEL)?;
    // No group of facts stands at offset 0: a claim does.
    let stamp = |n: usize| Stamp { epoch: 1, sequence: first + n as u64, group: first + 1, index: 256 * n as u64 };
    let mut emission = Emission::default();
    for (n, text) in texts.iter().enumerate() {
        emission.push(to, stamp(n).sequence, stamp(n).index, &Ticket::content(text));
    }
    let sealed = emission.seal(signer, KERNEL, 1, first + 1).ok_or_else(|| anyhow::anyhow!("nothing to sign"))?;
    let mut records = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let ticket = Ticket::new(sealed.proof(n), sender.clone(), to.clone(), stamp(n));
        let mut all = Headers::with_capacity(3);
        all.push(headers::SENDER, KERNEL);
        all.push(headers::EPOCH, "1");
        all.push(headers::STAMP, stamp(n).written());
        records.push(NewRecord { key: None, value: Some(ticket.splice(text)?.into()), headers: all });
    }
    Ok((records, many))
}

/// The stage without a runner.
pub(crate) struct Bare {
    pub(crate) stage: Scheduler,
    kernel: SenderId,
    partition: TopicPartition,
    pub(crate) at: Timestamp,
    offset: u64,
}

impl Bare {
    pub(crate) fn new(tuning: &Tuning) -> anyhow::Result<Self> {
        let pool = Arc::new(Pool::new(layout(1)?, tuning)?);
        let spec = pool.shard_spec(0, "scale", tidegate_stage::Pace::default())?;
        let partition = spec.inputs.first().map(|input| input.partition.clone());
        let mut stage = Scheduler::new(pool, 0);
        let at = Timestamp(1_000_000);
        stage.observe(Signal::Owner { epoch: 1 }, at);
        let partition = partition.ok_or_else(|| anyhow::anyhow!("a shard without inputs"))?;
        Ok(Self { stage, kernel: SenderId::new(KERNEL)?, partition, at, offset: 0 })
    }

    /// A record on that input; facts that followed.
    pub(crate) fn arrive(&mut self, input: u32, value: Bytes) -> usize {
        self.at = self.at + Duration::from_micros(1);
        self.offset += 1;
        let offset = self.offset;
        let record = Record { offset, timestamp_ms: 0, key: None, value: Some(value), headers: Headers::new() };
        let (kernel, partition) = (self.kernel.clone(), self.partition.clone());
        let sender = Some((&kernel, Stamp { epoch: 1, sequence: offset, group: 0, index: 0 }));
        let arrival = Arrival { at: InputRef { input, offset }, partition: &partition, record: &record, sender };
        self.stage.observe(Signal::Arrived(arrival), self.at);
        self.enact(&Input::Record(arrival))
    }

    /// Everything that is possible now; facts that followed.
    pub(crate) fn poll(&mut self) -> usize {
        let mut facts = 0;
        loop {
            let more = self.enact(&Input::Poll);
            facts += more;
            if more == 0 {
                return facts;
            }
        }
    }

    fn enact(&mut self, input: &Input<'_>) -> usize {
        let mut decision = Decision::default();
        self.stage.decide(input, self.at, &mut decision);
        for (fact, _) in decision.facts() {
            self.stage.apply(fact, self.at);
            self.stage.emit(fact, self.at, None, &mut Outbox::new());
        }
        decision.facts().len()
    }
}
