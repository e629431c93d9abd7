//! `tidegate dev` in this process: jobs in over HTTP, stories out.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_node::config::Written;
use tidegate_node::{Dev, DevNode, dev};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::{Record, Spine, Start};

/// Generous: machines that run tests are busy. Nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(folder: &std::path::Path) -> DevNode {
    start_with(folder, |_| {}).await
}

/// The same with other settings.
async fn start_with(folder: &std::path::Path, change: impl FnOnce(&mut Dev)) -> DevNode {
    if let Ok(filter) = std::env::var("TIDEGATE_LOG") {
        // The second test of a process finds them set up.
        let _ = tidegate_telemetry::logs::install(tidegate_telemetry::logs::Format::Text, &filter);
    }
    let mut how = Dev::new(folder);
    how.listen = Some("127.0.0.1:0".parse().unwrap());
    how.workers = ["greet=builtin:echo".parse().unwrap(), "fail=false".parse().unwrap()].to_vec();
    change(&mut how);
    let node = dev(how).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or_else(|_| panic!("not ready: {:?}", node.readiness()));
    node
}

/// Method, path and body; status and JSON back.
async fn ask(node: &DevNode, method: &str, path: &str, body: Option<String>) -> (u16, Value) {
    let url = format!("http://{}{path}", node.address());
    let key = format!("Bearer {}", node.key().reveal());
    let method = method.to_owned();
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = match method.as_str() {
            "POST" => agent.post(&url).header("authorization", &key).send(body.unwrap_or_default()).unwrap(),
            _ => agent.get(&url).header("authorization", &key).call().unwrap(),
        };
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    })
    .await
    .unwrap()
}

/// The story of a job once it has ended.
async fn story(node: &DevNode, source: &str) -> Value {
    let path = format!("/v1/jobs/{}?wait=60s", source.replace('/', "%2F").replace('@', "%40"));
    let (status, story) = ask(node, "GET", &path, None).await;
    assert_eq!(status, 200, "{story}");
    story
}

fn job(id: &str, topic: &str, capability: &str) -> Value {
    json!({"id": id, "tenant": "acme", "topic": topic, "capability": capability, "payload": {"name": "Ada"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_and_a_denied_and_a_bad_one_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let lines = [
        job("good", "job.demo.greet", "greet").to_string(),
        job("bad", "job.bank.pay", "greet").to_string(),
        json!({"id": "odd", "tenant": "acme", "topic": "job.demo.greet"}).to_string(),
        job("fails", "job.demo.fail", "fail").to_string(),
        "not json".to_owned(),
    ];
    let (status, answer) = ask(&node, "POST", "/v1/jobs", Some(lines.join("\n"))).await;
    assert_eq!(status, 207, "{answer}");
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(4), &json!(1)));
    assert_eq!(answer["jobs"][4]["line"], 5);
    assert_eq!(answer["jobs"][4]["error"], "not_a_job");
    let source = |n: usize| answer["jobs"][n]["source"].as_str().unwrap().to_owned();

    let good = story(&node, &source(0)).await;
    assert_eq!((&good["state"], &good["id"]), (&json!("succeeded"), &json!("good")), "{good}");
    assert_eq!(good["output"], json!({"name": "Ada"}));
    assert_eq!(good["decision"]["rule_ids"], json!(["demo-may-run"]));
    assert_eq!(good["attempts"][0]["worker"], "dev");
    assert_eq!(good["source"], source(0).as_str());
    let times = &good["times"];
    let time = |name: &str| times[name].as_f64().unwrap();
    assert!(time("decided_ms") <= time("leased_ms") && time("leased_ms") <= time("finished_ms"), "{times}");

    let denied = story(&node, &source(1)).await;
    assert_eq!(denied["state"], "denied", "{denied}");
    assert!(denied["attempts"].is_null() && denied["reason"].as_str().unwrap().contains("denied by default"));

    let dead = story(&node, &source(2)).await;
    assert_eq!((&dead["state"], &dead["dead"]["reason"]), (&json!("dead"), &json!("invalid_field")), "{dead}");
    let failed = story(&node, &source(3)).await;
    assert_eq!(failed["state"], "failed", "{failed}");

    // By id, in lists, in `dead`.
    let (status, by_id) = ask(&node, "GET", "/v1/jobs/good?tenant=acme", None).await;
    assert_eq!((status, &by_id["source"]), (200, &good["source"]));
    let (_, list) = ask(&node, "GET", "/v1/jobs?state=denied", None).await;
    assert_eq!(list["jobs"].as_array().unwrap().len(), 1, "{list}");
    let mut list = Value::Null;
    while list["dead"].as_array().is_none_or(Vec::is_empty) {
        list = ask(&node, "GET", "/v1/dead", None).await.1;
    }
    assert_eq!(list["dead"][0]["reason"], "invalid_field", "{list}");
    let at = list["dead"][0]["at"].as_str().unwrap().to_owned();
    let (status, shown) = ask(&node, "GET", &format!("/v1/dead/{}", at.replace('@', "%40")), None).await;
    assert_eq!(status, 200);
    assert!(shown["preview"].as_str().unwrap().contains("\"odd\""), "{shown}");

    let (_, metrics) = ask(&node, "GET", "/metrics", None).await;
    let metrics = metrics.as_str().unwrap();
    for name in
        ["tidegate_kernel_decisions_total", "tidegate_stage_decided_seconds_bucket", "tidegate_node_policy_revision 1"]
    {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    // Whatever is exported says what it is.
    let typed: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(typed.len() > 30 && typed.iter().all(|name| name.starts_with("tidegate_")), "{typed:?}");
    for name in typed {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no sentence in\n{metrics}");
    }
    tokio::time::timeout(PATIENCE, node.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_again_after_a_restart_and_a_repeat_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let body = job("once", "job.demo.greet", "greet").to_string();
    let (status, first) = ask(&node, "POST", "/v1/jobs", Some(body.clone())).await;
    assert_eq!(status, 202, "{first}");
    let before = story(&node, first["source"].as_str().unwrap()).await;
    let key = node.key().reveal().to_owned();
    node.stop().await;

    let node = start(folder.path()).await;
    assert_eq!(node.key().reveal(), key);
    let (status, again) = ask(&node, "POST", "/v1/jobs", Some(body)).await;
    assert_eq!(status, 202);
    assert_ne!(again["source"], first["source"]);
    let after = story(&node, again["source"].as_str().unwrap()).await;
    assert_eq!((&after["source"], &after["attempts"]), (&before["source"], &before["attempts"]));
    assert_eq!(after["repeated_at"], json!([again["source"]]));
    node.stop().await;
}

const CONSTRAINED: &str = "
id: constrained
revision: 1
rules:
  - { id: plain, match: { topics: [job.plain] }, decision: allow }
  - id: short
    match: { topics: [job.short] }
    decision: allow_with_constraints
    constraints: { budgets: { max_runtime_ms: 200 } }
  - id: boxed
    match: { topics: [job.boxed] }
    decision: allow_with_constraints
    constraints: { sandbox: { isolated: true } }
";

/// A node with this policy, tickets of its source that live so long (or as is usual), and one worker that does one thing at a time.
async fn with(folder: &std::path::Path, ticket_ttl_ms: Option<u64>, worker: &str) -> DevNode {
    let policy = folder.join("policy");
    std::fs::create_dir_all(&policy).unwrap();
    std::fs::write(policy.join("constrained.yaml"), CONSTRAINED).unwrap();
    let mut how = Dev::new(folder.join("data"));
    let mut config = Written { policy, ..Written::default() };
    config.sources[0].ticket_ttl_ms = ticket_ttl_ms;
    how.config = Some(config);
    how.listen = Some("127.0.0.1:0".parse().unwrap());
    how.workers = vec![worker.parse().unwrap()];
    how.concurrency = 1;
    let node = dev(how).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or_else(|_| panic!("not ready: {:?}", node.readiness()));
    node
}

async fn submitted(node: &DevNode, job: &Value) -> String {
    let (status, answer) = ask(node, "POST", "/v1/jobs", Some(job.to_string())).await;
    assert_eq!(status, 202, "{answer}");
    answer["source"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waited_longer_than_its_ticket_lasts_is_judged_again_and_then_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = with(folder.path(), Some(1_000), "slow=builtin:sleep:1500").await;
    let first = submitted(&node, &job("first", "job.plain", "slow")).await;
    let second = submitted(&node, &job("second", "job.plain", "slow")).await;
    for source in [&first, &second] {
        let story = story(&node, source).await;
        assert_eq!(story["state"], "succeeded", "{story}");
        assert_eq!(story["attempts"].as_array().map(Vec::len), Some(1), "{story}");
    }
    let (_, metrics) = ask(&node, "GET", "/metrics", None).await;
    let metrics = metrics.as_str().unwrap();
    let count = |name: &str, label: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    assert!(count("tidegate_scheduler_jobs_returned_total", "ticket") >= 1.0, "{metrics}");
    assert!(count("tidegate_kernel_returned_jobs_total", "decided") >= 1.0, "{metrics}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_allowed_under_constraints_runs_within_them_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let node = with(folder.path(), None, "slow=builtin:sleep:60000").await;
    let short = submitted(&node, &job("short", "job.short", "slow")).await;
    let short = story(&node, &short).await;
    assert_eq!(short["state"], "timed_out", "{short}");
    assert_eq!(short["decision"]["constraints"], json!({"budgets": {"max_runtime_ms": 200}}));
    let boxed = submitted(&node, &job("boxed", "job.boxed", "slow")).await;
    let boxed = story(&node, &boxed).await;
    assert_eq!(boxed["state"], "failed", "{boxed}");
    assert!(boxed["reason"].as_str().unwrap().contains("does not enforce sandbox.isolated"), "{boxed}");
    node.stop().await;
}

/// The headers of the record about a job that stands in that topic, of which all partitions are as many as are made unless told.
async fn headers_of(spine: &EmbeddedSpine, topic: &str, id: &str) -> BTreeMap<String, String> {
    let topic = TopicName::new(topic).unwrap();
    let partitions = spine.describe(std::slice::from_ref(&topic)).await.unwrap()[0].as_ref().unwrap().partitions;
    let mut reader = spine.reader("test").await.unwrap();
    let handle = reader.open(&topic.partition(partition_of(id.as_bytes(), partitions)), Start::At(0));
    loop {
        let mut records = Vec::new();
        let read = poll_fn(|cx| reader.poll_read(handle, 1, cx, &mut records));
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{topic}: nothing of `{id}`")).unwrap();
        let of_job = |record: &&Record| record.key.as_deref() == Some(id.as_bytes());
        if let Some(record) = records.iter().find(of_job) {
            // Signatures are no text.
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            return record.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_every_job_is_a_cloudevent_where_the_configuration_says_so_and_nowhere_else() {
    for wanted in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let node = start_with(folder.path(), |how| {
            let policy = folder.path().join("rules");
            std::fs::create_dir_all(&policy).unwrap();
            let rules =
                "id: p\nrevision: 1\nrules:\n  - { id: ok, match: { topics: [job.demo.>] }, decision: allow }\n";
            std::fs::write(policy.join("p.yaml"), rules).unwrap();
            let mut config = Written::default();
            config.topics.cloudevents = wanted;
            (how.config, how.policy) = (Some(config), Some(policy));
        })
        .await;
        let jobs =
            [("ran", "job.demo.greet", "greet"), ("failed", "job.demo.fail", "fail"), ("no", "job.bank.pay", "greet")];
        let mut stories = Vec::new();
        for (id, topic, capability) in jobs {
            let (status, answer) = ask(&node, "POST", "/v1/jobs", Some(job(id, topic, capability).to_string())).await;
            assert_eq!(status, 202, "{answer}");
            stories.push(story(&node, answer["source"].as_str().unwrap()).await);
        }
        tokio::time::timeout(PATIENCE, node.stop()).await.unwrap();
        // What a consumer reads that knows nothing of us.
        let spine = EmbeddedSpine::open(EmbeddedOptions::new(folder.path().join("spine"))).unwrap();
        for (topic, kind, of) in [
            ("tidegate.finished", "finished", &stories[0]),
            ("tidegate.finished", "finished", &stories[1]),
            ("tidegate.finished", "finished", &stories[2]),
            ("tidegate.denied", "denied", &stories[2]),
        ] {
            let (id, source) = (of["id"].as_str().unwrap(), of["source"].as_str().unwrap());
            let headers = headers_of(&spine, topic, id).await;
            let said = |name: &str| headers.get(name).map(String::as_str);
            if !wanted {
                assert!(!headers.keys().any(|name| name.starts_with("ce_")), "{topic} {id}: {headers:?}");
                continue;
            }
            for (name, value) in [
                ("ce_specversion", "1.0"),
                ("ce_type", &format!("tidegate.job.{kind}")),
                ("ce_source", "/tidegate/jobs.raw"),
                ("ce_subject", id),
                ("ce_tenant", "acme"),
                ("content-type", "application/json"),
            ] {
                assert_eq!(said(name), Some(value), "{topic} {id}: {headers:?}");
            }
            assert!(said("ce_id").unwrap().starts_with(&format!("{source}.{kind}.")), "{headers:?}");
            assert!(said("ce_time").unwrap().ends_with('Z'), "{headers:?}");
        }
    }
}
