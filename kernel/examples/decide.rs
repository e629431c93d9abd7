//! Measures what a job of 1 KiB costs a kernel: decide, apply and emit, without writing anything anywhere.
//!
//! `cargo run -p tidegate-kernel --example decide [-- JOBS]`

#![expect(clippy::print_stdout, reason = "a measurement is printed")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is; the crate itself has no clock")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_kernel::{
    DEFAULT_RECORD_BYTES, INPUT_JOBS, KeptBounds, Kernel, KernelConfig, KernelTopics, PartitionCounts, Pool, Routes,
    SourceWritten, WindowBounds,
};
use tidegate_protocol::command::Nobody;
use tidegate_protocol::ids::{Capability, PoolName};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Outbox, Signal, Stage};

const POLICY: &str = "
id: bank
revision: 1
derivers:
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 1000 }
rules:
  - { id: pay, match: { topics: [job.pay.>] }, decision: allow, reason: payments are fine }
  - { id: no-large, invariant: true, match: { risk_tags: [large] }, decision: deny, reason: above the limit }
";

fn job(number: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"id":"job-{number}","tenant":"tenant-{}","topic":"job.pay.wire","actor":{{"id":"agent-7","type":"agent"}},"capability":"pay","labels":{{"team":"blue"}},"payload":{{"amount":{},"recipient":"UK12345678901234567890","note":""#,
        number % 50,
        number % 1_100
    );
    let note = "lorem ipsum ".repeat(100);
    let note: String = note.chars().take(1_024 - head.len() - 3).collect();
    format!(r#"{head}{note}"}}}}"#).into_bytes()
}

const BATCH: usize = 500;

fn arrived(number: usize) -> Record {
    Record {
        offset: number as u64,
        timestamp_ms: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from(job(number))),
        headers: Headers::new(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs: usize = std::env::args().nth(1).map_or(Ok(200_000), |n| n.parse())?;
    let written: SourceWritten = serde_json::from_str(r#"{"name":"jobs.raw","tenants":"any"}"#)?;
    let source = written.checked()?;
    let pool = Pool {
        name: PoolName::new("bank")?,
        capabilities: BTreeSet::from([Capability::new("pay")?]),
        topics: Vec::new(),
        buckets: 4,
        tenant_buckets: 2,
        draining: false,
        shards: 1,
    };
    let topics =
        KernelTopics::new("bench.", &source, PartitionCounts { denied: 4, held: 4, finished: 4, dead: 4, limits: 4 })?;
    let partition = topics.source.partition(0);
    let mut kernel = Kernel::new(KernelConfig {
        source: Arc::new(source),
        shard: 0,
        routes: Arc::new(Routes::new(vec![pool], "bench.")?),
        topics: Arc::new(topics),
        max_record_bytes: DEFAULT_RECORD_BYTES,
        window: WindowBounds::default(),
        kept: KeptBounds::default(),
        wallet: tidegate_kernel::wallet::WalletBounds::default(),
        ticket_ttl: tidegate_kernel::DEFAULT_TICKET_TTL,
        ticket_ttl_elsewhere: std::time::Duration::ZERO,
        delegation: tidegate_kernel::DelegationBounds::default(),
        trust: Arc::new(Nobody),
        people: Arc::new(Nobody),
    })?;
    let policy = tidegate_policy::load([("bank.yaml", POLICY)], None)?;
    let mut at = Timestamp::from_millis(1_700_000_000_000);
    kernel.observe(Signal::Outside(Arc::new(policy)), at);

    let mut spent = [Duration::ZERO; 4];
    let (mut facts, mut messages) = (0, 0);
    // Batches as a broker's client gives them: in the cache, not 200 MB behind one another.
    let batches = (0..jobs).step_by(BATCH).map(|from| (from..jobs.min(from + BATCH)).map(arrived).collect::<Vec<_>>());
    for record in batches.flatten() {
        let record = &record;
        at = at + Duration::from_micros(20);
        let arrival = Arrival {
            at: InputRef { input: INPUT_JOBS, offset: record.offset },
            partition: &partition,
            record,
            sender: None,
        };
        let mut decision = Decision::default();
        let start = Instant::now();
        kernel.decide(&Input::Record(arrival), at, &mut decision);
        let decided = Instant::now();
        spent[0] += decided - start;
        for (fact, _) in decision.facts() {
            let start = Instant::now();
            kernel.apply(fact, at);
            let applied = Instant::now();
            let mut outbox = Outbox::new();
            kernel.emit(fact, at, Some(record), &mut outbox);
            let emitted = Instant::now();
            let text = serde_json::to_string(fact)?;
            spent[1] += applied - start;
            spent[2] += emitted - applied;
            spent[3] += emitted.elapsed();
            black_box(text);
            facts += 1;
            messages += black_box(outbox.into_messages()).len();
        }
    }
    println!("{jobs} jobs of {} bytes: {facts} facts, {messages} messages", job(1).len());
    let of = |time: Duration| time.as_nanos() / jobs.max(1) as u128;
    println!(
        "decide {} ns, apply {} ns, emit {} ns: {} ns a job",
        of(spent[0]),
        of(spent[1]),
        of(spent[2]),
        of(spent[0] + spent[1] + spent[2])
    );
    println!("(writing the fact as JSON, the runner's work: {} ns)", of(spent[3]));
    let start = Instant::now();
    let snapshot = kernel.snapshot()?;
    println!("snapshot of {} ids: {} bytes in {:?}", kernel.known_ids(), snapshot.len(), start.elapsed());
    Ok(())
}
