//! `tidegate dev` is killed under load and started again on its folder: every accepted job ends exactly once.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use serde_json::{Value, json};
use tidegate_node::config::{SpineConfig, Written};
use tidegate_node::spine::{embedded_url, open};
use tidegate_processes::broker::Met;
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::http::Http;
use tidegate_processes::ledger::Ledger;
use tidegate_processes::ledger::judge::{Expected, judge};
use tidegate_processes::ledger::position::{Position, SOURCE};
use tidegate_processes::process::until;
use tidegate_spine::{Spine, Start};

const PREFIX: &str = "tidegate.";
/// Jobs in one request.
const BATCH: u64 = 50;
/// Jobs accepted between two kills.
const BETWEEN: usize = 2_000;
const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

/// Every tenth job is denied.
fn job(number: u64) -> Value {
    let topic = if number % 10 == 3 { "job.forbidden.x" } else { "job.work.x" };
    json!({"id": format!("j{number}"), "tenant": "acme", "topic": topic, "capability": "work", "payload": {"n": number}})
}

/// Submits until told to stop, or until nobody answers any more; what was accepted.
fn submit(http: &Http, numbers: &AtomicU64, accepted: &AtomicU64, stop: &AtomicBool) -> Vec<Position> {
    let mut positions = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let first = numbers.fetch_add(BATCH, Ordering::Relaxed);
        let lines: Vec<String> = (first..first + BATCH).map(|number| job(number).to_string()).collect();
        let Ok(answer) = http.post("/v1/jobs", "application/x-ndjson", lines.join("\n").as_bytes()) else { break };
        let body = answer.json();
        let jobs = body["jobs"].as_array().cloned().unwrap_or_default();
        let taken = jobs.iter().filter_map(|job| job["source"].as_str());
        let before = positions.len();
        positions.extend(taken.map(|source| Position::read(source).unwrap()));
        accepted.fetch_add(u64::try_from(positions.len() - before).unwrap(), Ordering::Relaxed);
    }
    positions
}

/// One life: load from two clients, then SIGKILL in the middle of it.
fn live_and_die(home: &Home, number: u64, numbers: &AtomicU64) -> Vec<Position> {
    let mut dev = Dev::ready(home, &format!("dev-{number}"), &ARGUMENTS).unwrap();
    let (accepted, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut all, http) = (Vec::new(), dev.http.clone());
    std::thread::scope(|scope| {
        let clients = [0, 1].map(|_| scope.spawn(|| submit(&http, numbers, &accepted, &stop)));
        let enough = until(Duration::from_secs(60), "enough jobs are accepted", || {
            Ok((accepted.load(Ordering::Relaxed) >= BETWEEN as u64).then_some(()))
        });
        dev.process.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        enough.unwrap();
        for client in clients {
            all.extend(client.join().unwrap());
        }
    });
    all
}

const ARGUMENTS: [&str; 6] = ["--policy", "policy", "--worker", "work=builtin:noop", "--concurrency", "32"];

/// Every record of a topic.
fn whole(spine: &dyn Spine, topic: &tidegate_protocol::address::TopicName) -> Vec<Met> {
    block_on(async {
        let state = spine.describe(std::slice::from_ref(topic)).await.unwrap().remove(0).unwrap();
        let mut all = Vec::new();
        for number in 0..state.partitions {
            let partition = topic.partition(number);
            let ends = spine.ends(std::slice::from_ref(&partition)).await.unwrap().remove(0);
            let mut reader = spine.reader("ledger").await.unwrap();
            let handle = reader.open(&partition, Start::Earliest);
            let (mut batch, mut position) = (Vec::new(), ends.start);
            while position < ends.end {
                position = poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut batch)).await.unwrap().position;
                all.extend(batch.drain(..).map(|record| Met {
                    topic: topic.to_string(),
                    partition: number,
                    offset: record.offset,
                    at_ms: record.timestamp_ms,
                    key: record.key.map(|key| key.to_vec()),
                    value: record.value.map(|value| value.to_vec()),
                    headers: record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
                }));
            }
        }
        all
    })
}

#[test]
fn every_accepted_job_ends_exactly_once() {
    let home = Home::new(POLICY).unwrap();
    let numbers = AtomicU64::new(0);
    let mut accepted = BTreeSet::new();
    for life in 1..=3 {
        accepted.extend(live_and_die(&home, life, &numbers));
    }
    // The last life finishes what the others left.
    let mut dev = Dev::ready(&home, "dev-last", &ARGUMENTS).unwrap();
    for position in &accepted {
        let story = dev.story(&position.to_string()).unwrap();
        assert!(["succeeded", "denied"].contains(&story["state"].as_str().unwrap()), "{story}");
    }
    // What landed although its answer never arrived ends as well.
    let quiet = |dev: &Dev| Ok::<_, anyhow::Error>(dev.http.get("/v1/jobs?state=approved&limit=1")?.json());
    until(Duration::from_secs(60), "nothing waits", || {
        let running = dev.http.get("/v1/jobs?state=running&limit=1")?.json();
        Ok((quiet(&dev)?["jobs"] == json!([]) && running["jobs"] == json!([])).then_some(()))
    })
    .unwrap();
    assert!(dev.process.terminate(Duration::from_secs(60)).unwrap().success());

    let config = SpineConfig { url: embedded_url(&home.path().join("data/spine")), ..written() };
    let spine = block_on(open(&config)).unwrap();
    let mut ledger = Ledger::new(PREFIX);
    let mut expected = HashMap::new();
    for topic in block_on(spine.list(PREFIX)).unwrap() {
        let records = whole(&*spine, &topic);
        if topic.as_str() == format!("{PREFIX}{SOURCE}") {
            for met in records {
                let position = Position { partition: met.partition, offset: met.offset };
                let job: Value = serde_json::from_slice(&met.value.unwrap()).unwrap();
                let denied = job["topic"] == "job.forbidden.x";
                expected.insert(position, if denied { Expected::Denied } else { Expected::Succeeds });
            }
        } else {
            records.iter().for_each(|met| ledger.meet(met));
        }
    }
    let lost: Vec<_> = accepted.iter().filter(|position| !expected.contains_key(position)).collect();
    assert!(lost.is_empty(), "accepted and not in the log: {lost:?}");
    let broken = judge(&ledger, &expected);
    assert!(broken.is_empty(), "{} broken: {:?}", broken.len(), &broken[..broken.len().min(10)]);
    let totals = ledger.totals();
    assert!(accepted.len() >= 3 * BETWEEN && totals.takeovers >= 3, "{} {totals:?}", accepted.len());
}

fn written() -> SpineConfig {
    let default = Written::default().spine;
    SpineConfig { url: default.url, settings: default.settings }
}
