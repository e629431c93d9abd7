//! How fast the embedded spine is with nothing above it.
//!
//! `cargo run -p tidegate-embedded --example embedded_throughput -- [folder] [seconds a run] [os|fsync]`
//!
//! For 1 and 4 partitions of 1 KiB records: the most it takes with a bounded window in flight while a reader reads
//! everything, then append and end-to-end latency from the intended time at fixed rates.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement: prints, and stops at the first error")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use hdrhistogram::Histogram;
use tidegate_embedded::{Durability, EmbeddedOptions, EmbeddedSpine};
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Cleanup, Landing, NewRecord, ProducerOptions, Spine, Start, TopicSpec};

/// Appends under way in the run for the most.
const WINDOW: usize = 64;

/// `batch` records that carry `stamp`.
fn record(stamp: Duration, batch: usize) -> Vec<NewRecord> {
    let mut value = vec![b'x'; 1024];
    let nanos = u64::try_from(stamp.as_nanos()).unwrap();
    value.get_mut(..8).unwrap().copy_from_slice(&nanos.to_le_bytes());
    let value = Bytes::from(value);
    (0..batch).map(|_| NewRecord { value: Some(value.clone()), ..NewRecord::default() }).collect()
}

/// Reads `total` records of all partitions; latency of each in microseconds.
fn read_all(
    spine: &EmbeddedSpine,
    topic: &TopicName,
    partitions: u32,
    total: usize,
    origin: Instant,
) -> Histogram<u64> {
    let mut latency = Histogram::new(3).unwrap();
    block_on(async {
        let mut reader = spine.reader("throughput").await.unwrap();
        let handles: Vec<_> = (0..partitions).map(|p| reader.open(&topic.partition(p), Start::Earliest)).collect();
        let mut records = Vec::new();
        let mut seen = 0;
        while seen < total {
            poll_fn(|cx| {
                for handle in &handles {
                    if let Poll::Ready(read) = reader.poll_read(*handle, 1_000, cx, &mut records) {
                        read.unwrap();
                    }
                }
                if records.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            let now = u64::try_from(origin.elapsed().as_nanos()).unwrap();
            seen += records.len();
            for record in records.drain(..) {
                let sent = u64::from_le_bytes(record.value.unwrap().get(..8).unwrap().try_into().unwrap());
                latency.record(now.saturating_sub(sent) / 1_000).unwrap();
            }
        }
    });
    latency
}

fn show(what: &str, latency: &Histogram<u64>) -> String {
    let ms = |q| latency.value_at_quantile(q) as f64 / 1e3;
    format!("{what} p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.1} ms", ms(0.5), ms(0.99), ms(0.999), ms(1.0))
}

fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of /proc/self/stat, in hundredths of a second on Linux.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

async fn topic(spine: &EmbeddedSpine, name: &str, partitions: u32) -> TopicName {
    let spec = TopicSpec {
        name: TopicName::new(name).unwrap(),
        partitions,
        cleanup: Cleanup::Log { retention_ms: None },
        max_record_bytes: 1 << 20,
        broker_time: true,
        replication: None,
    };
    spine.create(&spec).await.unwrap();
    spec.name
}

/// As fast as it goes, `batch` records an append.
fn most(spine: &EmbeddedSpine, partitions: u32, batch: usize, seconds: u64) {
    let name = format!("most-{partitions}-{batch}");
    let topic = block_on(topic(spine, &name, partitions));
    let origin = Instant::now();
    let cpu = cpu_seconds();
    // The reader does not know how many there will be: it reads while the writer writes, up to a number sent later.
    let total = block_on(async {
        let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
        let mut window: VecDeque<Landing> = VecDeque::new();
        let mut sent = 0;
        let reading = {
            let (spine, topic) = (spine.clone(), topic.clone());
            let (tell, told) = std::sync::mpsc::channel::<usize>();
            let reader = thread::spawn(move || {
                let mut reader = block_on(spine.reader("throughput")).unwrap();
                let handles: Vec<_> =
                    (0..partitions).map(|p| reader.open(&topic.partition(p), Start::Earliest)).collect();
                let (mut seen, mut total, mut records) = (0, usize::MAX, Vec::new());
                while seen < total {
                    block_on(poll_fn(|cx| {
                        for handle in &handles {
                            if let Poll::Ready(read) = reader.poll_read(*handle, 1_000, cx, &mut records) {
                                read.unwrap();
                            }
                        }
                        if records.is_empty() { Poll::Pending } else { Poll::Ready(()) }
                    }));
                    seen += records.len();
                    records.clear();
                    total = told.try_recv().unwrap_or(total);
                }
                seen
            });
            (tell, reader)
        };
        let mut to = (0..partitions).cycle();
        while origin.elapsed() < Duration::from_secs(seconds) {
            if window.len() == WINDOW {
                window.pop_front().unwrap().await.unwrap();
            }
            sent += batch;
            window.push_back(producer.append(&topic.partition(to.next().unwrap()), record(origin.elapsed(), batch)));
        }
        reading.0.send(sent + 1).unwrap();
        for landing in window {
            landing.await.unwrap();
        }
        // One more, so that the reader wakes and learns the number.
        producer.append(&topic.partition(0), record(origin.elapsed(), 1)).await.unwrap();
        assert_eq!(reading.1.join().unwrap(), sent + 1);
        sent
    });
    let took = origin.elapsed().as_secs_f64();
    println!(
        "most, {partitions} partitions, {batch:3} records an append: {:8.0} records/s written and read, cpu {:.2} us/record",
        total as f64 / took,
        (cpu_seconds() - cpu) * 1e6 / total as f64
    );
    block_on(spine.delete(&topic)).unwrap();
}

/// `rate` appends of one record a second; latency from the intended time.
fn paced(spine: &EmbeddedSpine, partitions: u32, rate: u32, seconds: u64) {
    let topic = block_on(topic(spine, &format!("paced-{partitions}-{rate}"), partitions));
    let total = rate as usize * usize::try_from(seconds).unwrap();
    let origin = Instant::now();
    let reading = {
        let (spine, topic) = (spine.clone(), topic.clone());
        thread::spawn(move || read_all(&spine, &topic, partitions, total, origin))
    };
    let (landings, landed) = std::sync::mpsc::channel::<(Duration, Landing)>();
    let waiting = thread::spawn(move || {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        for (intended, landing) in landed {
            block_on(landing).unwrap();
            latency.record(u64::try_from(origin.elapsed().saturating_sub(intended).as_micros()).unwrap()).unwrap();
        }
        latency
    });
    let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    let mut to = (0..partitions).cycle();
    for n in 0..total {
        let intended = Duration::from_secs_f64(n as f64 / f64::from(rate));
        while let Some(early) = intended.checked_sub(origin.elapsed()).filter(|e| !e.is_zero()) {
            thread::sleep(early);
        }
        let landing = producer.append(&topic.partition(to.next().unwrap()), record(intended, 1));
        landings.send((intended, landing)).unwrap();
    }
    drop(landings);
    let (appended, read) = (waiting.join().unwrap(), reading.join().unwrap());
    println!("{rate:6}/s, {partitions} partitions: {} | {}", show("append", &appended), show("read", &read));
    block_on(spine.delete(&topic)).unwrap();
}

/// The control: the same pace handed to another thread and nothing else. What this shows is the machine, not the spine.
fn handoff(rate: u32, seconds: u64) {
    let origin = Instant::now();
    let (hand, handed) = std::sync::mpsc::channel::<Duration>();
    let waiting = thread::spawn(move || {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        for intended in handed {
            latency.record(u64::try_from(origin.elapsed().saturating_sub(intended).as_micros()).unwrap()).unwrap();
        }
        latency
    });
    for n in 0..u64::from(rate) * seconds {
        let intended = Duration::from_secs_f64(n as f64 / f64::from(rate));
        while let Some(early) = intended.checked_sub(origin.elapsed()).filter(|e| !e.is_zero()) {
            thread::sleep(early);
        }
        hand.send(intended).unwrap();
    }
    drop(hand);
    println!("{rate:6}/s, no spine:     {}", show("handoff", &waiting.join().unwrap()));
}

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "throughput-data".into()));
    let seconds = args.next().map_or(4, |n| n.parse().unwrap());
    let durability = match args.next().as_deref() {
        Some("fsync") => Durability::Fsync,
        _ => Durability::Os,
    };
    drop(std::fs::remove_dir_all(&folder));
    let spine = EmbeddedSpine::open(EmbeddedOptions { durability, ..EmbeddedOptions::new(&folder) }).unwrap();
    println!("{}", spine.url());
    // First the paced runs: deleting the gigabytes of the others keeps the disk busy for a while.
    for partitions in [1, 4] {
        for rate in [1_000, 10_000, 25_000] {
            handoff(rate, seconds);
            paced(&spine, partitions, rate, seconds);
        }
    }
    for partitions in [1, 4] {
        for batch in [1, 16, 64] {
            most(&spine, partitions, batch, seconds);
        }
    }
    drop(spine);
    std::fs::remove_dir_all(&folder).unwrap();
}
