//! How fast the adapter is: two hops at a fixed rate, and one hop as fast as it goes.
//!
//! `TIDEGATE_TEST_KAFKA=host:port cargo run -p tidegate-kafka --example hops -- [RATE] [SECONDS] [RECORDS] [name=value ...]`
//! with librdkafka settings to try. Two hops: a record is appended, read, appended to a second topic, and read there;
//! measured from the time it was due. Three: the same with a fact acknowledged in between.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::executor::block_on;
use hdrhistogram::Histogram;
use tidegate_kafka::{KafkaOptions, KafkaSpine};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::{Cleanup, Headers, NewRecord, ProducerOptions, Reader, Record, Spine, Start, TopicSpec};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (settings, numbers): (Vec<_>, Vec<_>) = arguments.iter().partition(|a| a.contains('='));
    let rate: u64 = numbers.first().map_or(1_000, |n| n.parse().unwrap());
    let seconds: u64 = numbers.get(1).map_or(10, |n| n.parse().unwrap());
    let mut options = KafkaOptions::new(vec![std::env::var("TIDEGATE_TEST_KAFKA").unwrap()]);
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap();
        options.settings.insert(name.into(), value.into());
    }
    let spine: Arc<dyn Spine> = Arc::new(block_on(KafkaSpine::open(options)).unwrap());
    ends(&spine);
    // The broker's JIT is cold at first.
    let records: usize = numbers.get(2).map_or(600_000, |n| n.parse().unwrap());
    for (count, what) in [(100_000, "warm-up"), (records, "one hop, as fast as it goes")] {
        one_hop(&spine, count, what);
    }
    hops(&spine, rate, seconds, false);
    hops(&spine, rate, seconds, true);
}

fn topic(spine: &Arc<dyn Spine>, name: &str) -> TopicPartition {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let name = TopicName::new(format!("hops-{stamp}-{name}")).unwrap();
    let cleanup = Cleanup::Log { retention_ms: Some(3_600_000) };
    let spec =
        TopicSpec { name, partitions: 1, cleanup, max_record_bytes: 1 << 20, broker_time: true, replication: None };
    block_on(spine.create(&spec)).unwrap();
    spec.name.partition(0)
}

fn record(stamp: u64) -> NewRecord {
    let headers: Headers = [
        ("tg-sender", Bytes::from_static(b"kernel.jobs.raw/0")),
        ("tg-epoch", Bytes::from_static(b"17")),
        ("tg-stamp", Bytes::from_static(b"123456 7890 1")),
        ("tg-source", Bytes::from(stamp.to_be_bytes().to_vec())),
    ]
    .into_iter()
    .collect();
    NewRecord { key: Some(Bytes::from_static(b"job-0001")), value: Some(Bytes::from_static(&[b'x'; 1024])), headers }
}

fn stamp(record: &Record) -> u64 {
    let bytes = record.headers.get("tg-source").unwrap();
    u64::from_be_bytes(bytes[..].try_into().unwrap())
}

async fn read(reader: &mut dyn Reader, handle: tidegate_spine::ReadHandle, into: &mut Vec<Record>) {
    poll_fn(|cx| reader.poll_read(handle, 1_000, cx, into)).await.unwrap();
}

fn ends(spine: &Arc<dyn Spine>) {
    let asked = topic(spine, "ends");
    let mut times = Histogram::<u64>::new(3).unwrap();
    for _ in 0..500 {
        let start = Instant::now();
        block_on(spine.ends(std::slice::from_ref(&asked))).unwrap();
        times.record(micros(start.elapsed())).unwrap();
    }
    tell("ends of a partition", &times);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

fn tell(what: &str, times: &Histogram<u64>) {
    let at = |q: f64| times.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "{what}: p50 {:.2} p90 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} ms ({} samples)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        times.len()
    );
}

/// Appends of 100 with at most 16 MiB in flight; the reader beside it.
fn one_hop(spine: &Arc<dyn Spine>, count: usize, what: &str) {
    let to = topic(spine, "one");
    let start = Instant::now();
    let (reading, from) = (Arc::clone(spine), to.clone());
    let reader = std::thread::spawn(move || {
        block_on(async {
            let mut reader = reading.reader("hops").await.unwrap();
            let handle = reader.open(&from, Start::Earliest);
            let (mut batch, mut seen) = (Vec::new(), 0);
            while seen < count {
                read(reader.as_mut(), handle, &mut batch).await;
                seen += batch.len();
                batch.clear();
            }
        });
    });
    let mut landings = std::collections::VecDeque::new();
    block_on(async {
        let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
        for _ in 0..count / 100 {
            landings.push_back(producer.append(&to, (0..100).map(record).collect()));
            if landings.len() > 100 {
                landings.pop_front().unwrap().await.unwrap();
            }
        }
        for landing in landings {
            landing.await.unwrap();
        }
        println!("{what}: appended {:.0} records/s", count as f64 / start.elapsed().as_secs_f64());
    });
    reader.join().unwrap();
    println!("{what}: read too {:.0} records/s", count as f64 / start.elapsed().as_secs_f64());
}

/// Records at `rate` from a thread, over a middle that reads, with or without a fact acknowledged first, and passes
/// on what it read as one append.
fn hops(spine: &Arc<dyn Spine>, rate: u64, seconds: u64, fact: bool) {
    let (first, second, facts) = (topic(spine, "in"), topic(spine, "out"), topic(spine, "facts"));
    let count = rate * seconds;
    let origin = Instant::now() + Duration::from_millis(500);
    let due = move |n: u64| Duration::from_nanos(n * 1_000_000_000 / rate);
    let (spine_in, to) = (Arc::clone(spine), first.clone());
    let sender = std::thread::spawn(move || {
        let mut producer = block_on(spine_in.producer(ProducerOptions::default())).unwrap();
        let mut last = None;
        for n in 0..count {
            while let Some(wait) = (origin + due(n)).checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            last = Some(producer.append(&to, vec![record(n)]));
        }
        block_on(last.unwrap()).unwrap();
    });
    let (spine_mid, from, to) = (Arc::clone(spine), first, second.clone());
    let middle = std::thread::spawn(move || {
        block_on(async {
            let mut reader = spine_mid.reader("middle").await.unwrap();
            let mut producer = spine_mid.producer(ProducerOptions::default()).await.unwrap();
            let handle = reader.open(&from, Start::Earliest);
            let (mut batch, mut seen, mut last) = (Vec::new(), 0, None);
            while seen < count {
                read(reader.as_mut(), handle, &mut batch).await;
                seen += batch.len() as u64;
                let out: Vec<_> = batch.drain(..).map(|r| record(stamp(&r))).collect();
                if out.is_empty() {
                    continue;
                }
                if fact {
                    let group = Bytes::from(vec![b'f'; out.len() * 500]);
                    producer
                        .append(&facts, vec![NewRecord { value: Some(group), ..NewRecord::default() }])
                        .await
                        .unwrap();
                }
                last = Some(producer.append(&to, out));
            }
            if let Some(last) = last {
                last.await.unwrap();
            }
        });
    });
    let mut times = Histogram::<u64>::new(3).unwrap();
    block_on(async {
        let mut reader = spine.reader("end").await.unwrap();
        let handle = reader.open(&second, Start::Earliest);
        let (mut batch, mut seen) = (Vec::new(), 0);
        while seen < count {
            read(reader.as_mut(), handle, &mut batch).await;
            let now = origin.elapsed();
            for record in batch.drain(..) {
                seen += 1;
                let n = stamp(&record);
                // The first second is warm-up.
                if n >= rate {
                    times.record(micros(now.saturating_sub(due(n)))).unwrap();
                }
            }
        }
    });
    sender.join().unwrap();
    middle.join().unwrap();
    tell(if fact { "two hops with a fact between" } else { "two hops" }, &times);
}
