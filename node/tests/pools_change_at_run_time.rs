//! Pools of a process that runs: added, scheduled otherwise, drained and taken out, with jobs on their way all the time.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dev_node;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dev_node::{PATIENCE, ready, start};
use serde_json::json;
use tidegate_node::config::PoolWritten;
use tidegate_node::pools::ReloadRefused;
use tidegate_node::{Config, DevNode, Written};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::headers;
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_spine::{Headers, NewRecord, ProducerOptions, Start};
use tidegate_worker::handler::Ending;
use tidegate_worker::{Context, Worker};
use tokio::sync::Semaphore;

fn pool(name: &str, capability: &str) -> PoolWritten {
    PoolWritten {
        name: name.into(),
        capabilities: vec![capability.into()],
        buckets: 1,
        tenant_buckets: 1,
        lanes: 1,
        ..PoolWritten::default()
    }
}

fn with(node: &DevNode, pools: Vec<PoolWritten>) -> Config {
    Config::of(&Written { pools, ..node.config().written().clone() }).unwrap()
}

/// What jobs do.
#[derive(Default)]
struct Seen {
    started: AtomicUsize,
    /// What failed.
    failed: Mutex<BTreeSet<String>>,
    /// How often the results of jobs were accepted.
    accepted: Mutex<BTreeMap<String, u32>>,
}

/// A worker whose jobs each wait for a permit, but those that fail at once.
fn worker(node: &DevNode, pool: &str, capability: &str, gate: &Arc<Semaphore>, seen: &Arc<Seen>) -> Worker {
    let (gate, seen, settled) = (Arc::clone(gate), Arc::clone(seen), Arc::clone(seen));
    let handler = move |context: Context| {
        let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
        async move {
            if context.job().id.as_str() == "fails" {
                seen.failed.lock().unwrap().insert(context.job().source.to_string());
                return Ending::retryable("no luck");
            }
            seen.started.fetch_add(1, Ordering::Relaxed);
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            Ending::Succeeded(None)
        }
    };
    Worker::builder(PoolName::new(pool).unwrap(), WorkerId::new(pool).unwrap(), node.keys().trust())
        .capability(capability, handler)
        .concurrency(1)
        .on_settled(move |job, took, _| {
            let source = job.source.to_string();
            if took && !settled.failed.lock().unwrap().contains(&source) {
                *settled.accepted.lock().unwrap().entry(source).or_default() += 1;
            }
        })
        .build()
        .unwrap()
}

async fn submit(node: &DevNode, id: &str, capability: &str) {
    let job = json!({"id": id, "tenant": "acme", "topic": "job.x", "capability": capability, "payload": 1});
    let record = NewRecord { key: None, value: Some(job.to_string().into()), headers: Headers::new() };
    let mut producer = node.spine().producer(ProducerOptions::default()).await.unwrap();
    let to = TopicName::new("tidegate.jobs.raw").unwrap().partition(0);
    producer.append(&to, vec![record]).await.unwrap();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// The reasons in `dead`, for people.
async fn dead(node: &DevNode) -> Vec<String> {
    let mut reasons = Vec::new();
    for partition in 0..4 {
        let of = TopicName::new("tidegate.dead").unwrap().partition(partition);
        let end = node.spine().ends(std::slice::from_ref(&of)).await.unwrap()[0].end;
        let mut reader = node.spine().reader("test").await.unwrap();
        let handle = reader.open(&of, Start::Earliest);
        let (mut records, mut position) = (Vec::new(), 0);
        while position < end {
            position = poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap().position;
        }
        reasons
            .extend(records.iter().filter_map(|record| record.headers.text(headers::DEAD_MESSAGE).map(str::to_owned)));
    }
    reasons
}

/// The reasons in `dead`, once there are so many.
async fn dead_are(node: &DevNode, many: usize) -> Vec<String> {
    let wait = async {
        loop {
            let reasons = dead(node).await;
            if reasons.len() >= many {
                return reasons;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not {many} dead in time"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_are_added_changed_drained_and_taken_out_and_every_job_ends_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = start(folder.path(), pool("a", "greet")).await;
    let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(Seen::default()));
    let ended = |many: usize| {
        let seen = Arc::clone(&seen);
        move || seen.accepted.lock().unwrap().len() == many
    };
    let started = |many: usize| {
        let seen = Arc::clone(&seen);
        move || seen.started.load(Ordering::Relaxed) == many
    };
    node.start_worker(worker(&node, "a", "greet", &gate, &seen));
    submit(&node, "1", "greet").await;
    gate.add_permits(1);
    until("the first job", ended(1)).await;

    // One runs and one waits while a pool is added and the first is scheduled otherwise.
    submit(&node, "2", "greet").await;
    submit(&node, "3", "greet").await;
    until("the second job's begin", started(2)).await;
    let mut slower = pool("a", "greet");
    (slower.scheduling.max_attempts, slower.scheduling.backoff_ms) = (2, 1);
    let config = with(&node, vec![slower.clone(), pool("b", "part")]);
    let change = node.reload(&config).await.unwrap();
    assert_eq!(change.to_string(), "added: b; scheduled otherwise: a; kernels send by the new pools");
    ready(&node).await;
    node.start_worker(worker(&node, "b", "part", &gate, &seen));
    submit(&node, "4", "part").await;
    gate.add_permits(3);
    until("jobs of both pools", ended(4)).await;
    submit(&node, "fails", "greet").await;
    let reasons = dead_are(&node, 1).await;
    assert!(reasons[0].starts_with("failed in 2 of 2 attempts"), "{reasons:?}");

    // What a draining pool has goes on, it gets nothing more; then it may be taken out.
    submit(&node, "5", "greet").await;
    until("the fifth job's begin", started(5)).await;
    let drained = PoolWritten { draining: true, ..slower };
    let config = with(&node, vec![pool("b", "part")]);
    let early = node.reload(&config).await.unwrap_err();
    assert!(matches!(early, ReloadRefused::NotDrained { .. }), "{early}");
    let config = with(&node, vec![drained, pool("b", "part")]);
    assert_eq!(node.reload(&config).await.unwrap().to_string(), "kernels send by the new pools");
    ready(&node).await;
    let config = with(&node, vec![pool("b", "part")]);
    let full = node.reload(&config).await.unwrap_err();
    assert!(matches!(&full, ReloadRefused::NotEmpty { left, .. } if left.jobs == Some(1)), "{full}");
    submit(&node, "6", "greet").await;
    gate.add_permits(1);
    until("the job of the draining pool", ended(5)).await;
    let mut reasons = dead_are(&node, 2).await;
    reasons.retain(|reason| !reason.starts_with("failed in 2"));
    assert!(reasons.len() == 1 && reasons[0].ends_with("; pool `a` would, but is draining"), "{reasons:?}");
    let config = with(&node, vec![pool("b", "part")]);
    assert_eq!(node.reload(&config).await.unwrap().to_string(), "removed: a; kernels send by the new pools");
    ready(&node).await;
    submit(&node, "7", "part").await;
    gate.add_permits(1);
    until("the last job", ended(6)).await;
    assert!(seen.accepted.lock().unwrap().values().all(|times| *times == 1), "once each");

    // What is fixed for a pool's life, or is no pool, changes nothing.
    let mut wider = pool("b", "part");
    wider.buckets = 2;
    let config = with(&node, vec![wider]);
    let fixed = node.reload(&config).await.unwrap_err();
    assert!(matches!(fixed, ReloadRefused::Fixed { field: "buckets", is: 1, wanted: 2, .. }), "{fixed}");
    node.stop().await;
}
