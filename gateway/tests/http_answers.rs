//! The HTTP API over an embedded spine: what is taken, what is refused, and what lands.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_gateway::commands::Commands;
use tidegate_gateway::fleet::Fleet;
use tidegate_gateway::http::{Api, Health, Readiness, router, serve};
use tidegate_gateway::key::Key;
use tidegate_gateway::leasing::{Leasing, Place, WorkerKey, WorkerKeys};
use tidegate_gateway::submit::{SubmitSource, Submitter};
use tidegate_gateway::view::{Bounds, View};
use tidegate_keys::{BearerDigest, Keyring};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{Capability, KeyId, PoolName, SourceName};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Cleanup, Record, Spine, Start, TopicSpec};
use tokio::net::TcpListener;

const KEY: &str = "0123456789abcdef0123456789abcdef";

const WORKER: &str = "tidegate-worker-1:test";

struct Gateway {
    address: SocketAddr,
    spine: Arc<dyn Spine>,
    view: Arc<View>,
    raw: TopicName,
    _folder: tempfile::TempDir,
}

/// One worker's key: for `pay` in the pool `bank`, which is not there.
fn workers() -> WorkerKeys {
    let key = WorkerKey {
        id: KeyId::new("w").unwrap(),
        digest: BearerDigest::of(WORKER),
        tenants: None,
        pools: Some([PoolName::new("bank").unwrap()].into()),
        capabilities: Some([Capability::new("pay").unwrap()].into()),
        labels: None,
        enforces: [].into(),
        max_leases: 10,
        until_ms: None,
    };
    WorkerKeys::new([key]).unwrap()
}

async fn gateway() -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder.path())).unwrap());
    let (raw, dead) = (TopicName::new("t.jobs.raw").unwrap(), TopicName::new("t.dead").unwrap());
    for name in [&raw, &dead] {
        let spec = TopicSpec {
            name: name.clone(),
            partitions: 4,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: 1 << 20,
            broker_time: true,
            replication: None,
        };
        spine.create(&spec).await.unwrap();
    }
    let view = Arc::new(View::new(Bounds::default()));
    let source = SubmitSource {
        name: SourceName::new("jobs.raw").unwrap(),
        topic: raw.clone(),
        partitions: 4,
        max_bytes: 1_000,
        reads_ids: true,
    };
    let events = SubmitSource { name: SourceName::new("events").unwrap(), reads_ids: false, ..source.clone() };
    let api = Api {
        commands: Commands::new(spine.clone(), Vec::new()),
        key: Key::new(KEY),
        submitters: [source, events].map(|source| Submitter::new(Arc::clone(&spine), source)).into(),
        view: Arc::clone(&view),
        fleet: Fleet::new(Arc::clone(&spine), Arc::clone(&view), Vec::new(), WorkerKeys::default()),
        progress: tidegate_gateway::progress::Progress::new(Arc::clone(&spine), BTreeMap::new()),
        leasing: Leasing::new(
            Place {
                spine: Arc::clone(&spine),
                prefix: "t.".into(),
                trust: Arc::new(Keyring::default()),
                name: "test".into(),
                view: Arc::clone(&view),
                payloads: None,
            },
            BTreeMap::new(),
            workers(),
        ),
        spine: Arc::clone(&spine),
        dead,
        examine: Box::new(|write, patience| {
            Box::pin(async move { json!([write, u64::try_from(patience.as_millis()).unwrap()]) })
        }),
        body_bytes: 10_000,
        longest_wait: Duration::from_millis(50),
    };
    let waits_for = vec!["no policy is loaded".to_owned()];
    let health = Health {
        readiness: Box::new(move || Readiness { ready: false, waits_for: waits_for.clone() }),
        metrics: Box::new(|| "a_metric 1\n".to_owned()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router(health, Some(api)), std::future::pending()));
    Gateway { address, spine, view, raw, _folder: folder }
}

impl Gateway {
    async fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        self.ask_with(method, path, key, None, body).await
    }

    /// With this `Idempotency-Key`.
    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        idempotency: Option<&'static str>,
        body: &str,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let (method, key, body) = (method.to_owned(), key.map(str::to_owned), body.to_owned());
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let authorization = key.map_or_else(String::new, |key| format!("Bearer {key}"));
            let mut response = match method.as_str() {
                "POST" => {
                    let mut request = agent.post(&url).header("authorization", &authorization);
                    if let Some(idempotency) = idempotency {
                        request = request.header("idempotency-key", idempotency);
                    }
                    request.send(body).unwrap()
                }
                _ => agent.get(&url).header("authorization", &authorization).call().unwrap(),
            };
            let text = response.body_mut().read_to_string().unwrap();
            (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
        })
        .await
        .unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, Some(KEY), "").await
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        self.ask("POST", "/v1/jobs", Some(KEY), body).await
    }

    async fn record(&self, source: &Value) -> Record {
        let (partition, offset) = source.as_str().unwrap().strip_prefix("jobs.raw/").unwrap().split_once('@').unwrap();
        let mut reader = self.spine.reader("test").await.unwrap();
        let partition = self.raw.partition(partition.parse().unwrap());
        let handle = reader.open(&partition, Start::At(offset.parse().unwrap()));
        let mut batch = Vec::new();
        poll_fn(|cx| reader.poll_read(handle, 1, cx, &mut batch)).await.unwrap();
        batch.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_submitted_stands_where_the_answer_says_byte_for_byte() {
    let gateway = gateway().await;
    let job = r#"{"id":"a", "tenant":"t",  "payload": 1.0}"#;
    let (status, answer) = gateway.post(job).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!((&answer["id"], &answer["tenant"]), (&json!("a"), &json!("t")));
    assert_eq!(gateway.record(&answer["source"]).await.value.unwrap(), job.as_bytes());
    // A repeat lands in the same partition, where the kernel knows the first.
    let (_, again) = gateway.post(job).await;
    let partition = |answer: &Value| answer["source"].as_str().unwrap().split('@').next().unwrap().to_owned();
    assert_eq!(partition(&again), partition(&answer));
    // Without an id the position is the id.
    let (_, anonymous) = gateway.post(r#"{"tenant":"t"}"#).await;
    assert_eq!(anonymous["id"], anonymous["source"]);
    // Several lines of one object are one job.
    let (status, pretty) = gateway.post("{\n  \"id\": \"p\"\n}").await;
    assert_eq!((status, &pretty["id"]), (202, &json!("p")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_the_id_of_a_single_job_and_never_passed_over() {
    let gateway = gateway().await;
    let post = async |key, path: &str, body: &str| gateway.ask_with("POST", path, Some(KEY), Some(key), body).await;
    let (status, first) = post("pay-7", "/v1/jobs", r#"{"tenant":"t","payload": 1.0}"#).await;
    assert_eq!((status, &first["id"]), (202, &json!("pay-7")), "{first}");
    let landed = gateway.record(&first["source"]).await.value.unwrap();
    assert_eq!(landed, &br#"{"id":"pay-7","tenant":"t","payload": 1.0}"#[..]);
    // Said both ways it is the same job, in the partition where the kernel knows the first; a single line too.
    let partition = |answer: &Value| answer["source"].as_str().unwrap().split('@').next().unwrap().to_owned();
    let (status, again) = post("\"pay-7\"", "/v1/jobs", r#"{"id":"pay-7","tenant":"t"}"#).await;
    assert_eq!((status, partition(&again)), (202, partition(&first)), "{again}");
    let table = [
        ("pay-7", "/v1/jobs", r#"{"id":"pay-8","tenant":"t"}"#, "idempotency_key_contradicts"),
        ("pay-7", "/v1/jobs", "{\"tenant\":\"t\"}\n{\"tenant\":\"t\"}", "idempotency_key_of_several"),
        ("pay-7", "/v1/jobs?source=events", "{}", "idempotency_key_not_read"),
        ("", "/v1/jobs", "{}", "bad_idempotency_key"),
        ("pay-7", "/v1/jobs", "[1]", "not_a_job"),
    ];
    for (key, path, body, word) in table {
        let (status, answer) = post(key, path, body).await;
        assert_eq!((status, &answer["error"]), (400, &json!(word)), "{key} {body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_answered_one_by_one() {
    let gateway = gateway().await;
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(1_000));
    let body = format!("{{\"id\":\"a\"}}\n\n[1]\n{large}\n{{\"id\":\"b\"}}\n");
    let (status, answer) = gateway.post(&body).await;
    assert_eq!(status, 207, "{answer}");
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(2)));
    let told: Vec<(u64, &str)> = answer["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["line"].as_u64().unwrap(), job["error"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(told, [(1, ""), (3, "not_a_job"), (4, "too_large"), (5, "")]);
    for job in answer["jobs"].as_array().unwrap() {
        assert!(job["source"].is_string() != job["hint"].is_string(), "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_has_its_status_its_word_and_a_hint() {
    let gateway = gateway().await;
    let too_much = "x".repeat(20_000);
    let truncated = r#"{"id":"#;
    let deep = "[".repeat(9_000);
    let table = [
        ("POST", "/v1/jobs", Some(KEY), truncated, 400, "not_a_job"),
        ("POST", "/v1/jobs", Some(KEY), deep.as_str(), 413, "too_large"),
        ("POST", "/v1/jobs", Some(KEY), "", 400, "empty"),
        ("POST", "/v1/jobs", Some(KEY), too_much.as_str(), 413, "too_large"),
        ("POST", "/v1/jobs?source=other", Some(KEY), "{}", 404, "no_such_source"),
        ("POST", "/v1/jobs", None, "{}", 401, "unauthorized"),
        ("GET", "/v1/jobs", Some("wrong"), "", 401, "unauthorized"),
        ("GET", "/v1/dead", None, "", 401, "unauthorized"),
        ("GET", "/v1/jobs?limit=0", Some(KEY), "", 400, "bad_limit"),
        ("GET", "/v1/jobs?state=happy", Some(KEY), "", 400, "bad_state"),
        ("GET", "/v1/jobs?since=x", Some(KEY), "", 400, "bad_since"),
        ("GET", "/v1/jobs?colour=red", Some(KEY), "", 400, "bad_query"),
        ("GET", "/v1/jobs/x?wait=30", Some(KEY), "", 400, "bad_wait"),
        ("GET", "/v1/jobs/x?wait=60m", Some(KEY), "", 404, "no_such_job"),
        ("GET", "/v1/dead/7", Some(KEY), "", 404, "no_such_record"),
        ("GET", "/v2/jobs", Some(KEY), "", 404, "no_such_route"),
        ("POST", "/v1/limits", Some(KEY), "", 405, "no_such_method"),
        ("POST", "/healthz", None, "", 405, "no_such_method"),
    ];
    for (method, path, key, body, status, word) in table {
        let (answered, answer) = gateway.ask(method, path, key, body).await;
        assert_eq!((answered, &answer["error"]), (status, &json!(word)), "{method} {path}: {answer}");
        assert!(!answer["detail"].as_str().unwrap().is_empty() && !answer["hint"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_key_pulls_what_it_is_for_and_opens_nothing_else() {
    let gateway = gateway().await;
    let lease = r#"{"worker":"a","capabilities":["pay"]}"#;
    let many = format!(r#"{{"worker":"a","capabilities":["pay"],"max":{}}}"#, 101);
    let token = r#"{"token":"1.1"}"#;
    let table = [
        ("/v1/pools/bank/lease", None, lease, 401, "unauthorized"),
        ("/v1/pools/bank/lease", Some(KEY), lease, 401, "unauthorized"),
        ("/v1/jobs", Some(WORKER), "{}", 401, "unauthorized"),
        ("/v1/pools/shop/lease", Some(WORKER), lease, 403, "not_covered"),
        // Covered, and not there: the same answer.
        ("/v1/pools/bank/lease", Some(WORKER), lease, 403, "not_covered"),
        ("/v1/pools/bank/lease", Some(WORKER), r#"{"worker":"a","capabilities":["wire"]}"#, 403, "not_covered"),
        ("/v1/pools/bank/lease", Some(WORKER), r#"{"worker":"a","capabilities":[]}"#, 400, "bad_worker"),
        ("/v1/pools/bank/lease", Some(WORKER), r#"{"worker":"","capabilities":["pay"]}"#, 400, "bad_name"),
        ("/v1/pools/bank/lease", Some(WORKER), many.as_str(), 400, "bad_max"),
        ("/v1/pools/bank/lease", Some(WORKER), r#"{"worker":"a","capabilities":["pay"],"colour":1}"#, 400, "bad_body"),
        ("/v1/leases/x/heartbeat", Some(WORKER), token, 404, "lease_lost"),
        ("/v1/leases/x/complete", Some(WORKER), token, 404, "lease_lost"),
        ("/v1/leases/x/fail", Some(WORKER), r#"{"token":"1.1","error":"no","retryable":1}"#, 400, "bad_body"),
        ("/v1/leases/x/release", Some(KEY), token, 401, "unauthorized"),
    ];
    for (path, key, body, status, word) in table {
        let (answered, answer) = gateway.ask("POST", path, key, body).await;
        assert_eq!((answered, &answer["error"]), (status, &json!(word)), "{path} {body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_looks_at_itself_and_writes_only_when_it_is_posted() {
    let gateway = gateway().await;
    let path = "/v1/doctor?wait=20ms";
    assert_eq!(gateway.get(path).await, (200, json!([false, 20])));
    assert_eq!(gateway.get("/v1/doctor?wait=1m").await, (200, json!([false, 50])), "no longer than any wait");
    assert_eq!(gateway.ask("POST", path, Some(KEY), "").await, (200, json!([true, 20])));
    for (method, path, key, expected) in [
        ("GET", "/v1/doctor?write=true", Some(KEY), (400, "bad_query")),
        ("GET", "/v1/doctor?wait=long", Some(KEY), (400, "bad_wait")),
        ("POST", "/v1/doctor", None, (401, "unauthorized")),
    ] {
        let (status, answer) = gateway.ask(method, path, key, "").await;
        assert_eq!((status, answer["error"].as_str().unwrap()), expected, "{method} {path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_two_tenants_asks_for_the_tenant() {
    let gateway = gateway().await;
    for (offset, tenant) in [(0, "t"), (1, "u")] {
        let fact = format!(
            r#"{{"job_decided":{{"job":{{"id":"a","tenant":"{tenant}","topic":"x","capability":"c","source":"jobs.raw/0@{offset}",
            "input_hash":"{:064}","submitted_ms":1}},"decision":{{"verdict":"deny","reason":"no","snapshot":"s"}},"payload":"none"}}}}"#,
            0
        );
        gateway.view.kernel_fact(Timestamp(1), serde_json::from_str::<KernelFact>(&fact).unwrap());
    }
    let (status, answer) = gateway.get("/v1/jobs/a").await;
    assert_eq!((status, &answer["error"]), (409, &json!("ambiguous")), "{answer}");
    let (status, story) = gateway.get("/v1/jobs/a?tenant=u").await;
    assert_eq!((status, &story["source"]), (200, &json!("jobs.raw/0@1")));
    let (status, story) = gateway.get("/v1/jobs/jobs.raw%2F0%400").await;
    assert_eq!((status, &story["tenant"]), (200, &json!("t")));
    let (_, changes) = gateway.get("/v1/jobs?since=1&limit=5").await;
    assert_eq!((changes["jobs"].as_array().unwrap().len(), &changes["next"]), (1, &json!(2)));
}

/// The kinds of events of a stream that is over, and the story of the last.
fn events(stream: &Value) -> (Vec<String>, Value) {
    let of = |name: &str| {
        stream
            .as_str()
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix(name).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    (of("event: "), serde_json::from_str(of("data: ").last().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_ended_job_has_its_story_first_and_ends_with_its_verdict_also_when_that_is_read_later() {
    let gateway = gateway().await;
    let finished = r#"{"job_finished":{"source":"jobs.raw/0@0","job_id":"a","tenant":"t","outcome":"succeeded",
        "by":{"worker":"w","token":{"epoch":9,"attempt":1},"lane":0},"attempts":1}}"#;
    let decided = format!(
        r#"{{"job_decided":{{"job":{{"id":"a","tenant":"t","topic":"x","capability":"c","source":"jobs.raw/0@0",
        "input_hash":"{:064}","submitted_ms":1}},"decision":{{"verdict":"allow","reason":"yes","snapshot":"s"}},"pool":"p","payload":"none"}}}}"#,
        0
    );
    let pool = PoolName::new("p").unwrap();
    gateway.view.scheduler_fact(&pool, Timestamp(2), serde_json::from_str(finished).unwrap());
    let verdict = async {
        // The stream has told that it ended, and waits.
        while gateway.view.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        gateway.view.kernel_fact(Timestamp(1), serde_json::from_str::<KernelFact>(&decided).unwrap());
    };
    let path = "/v1/jobs/jobs.raw%2F0%400/events";
    let ((status, stream), ()) = tokio::join!(gateway.get(path), verdict);
    let (kinds, story) = events(&stream);
    assert_eq!((status, &kinds[..]), (200, &["story".to_owned(), "end".to_owned()][..]), "{stream}");
    assert_eq!((&story["state"], &story["decision"]["reason"]), (&json!("succeeded"), &json!("yes")));
    let (kinds, again) = events(&gateway.get(path).await.1);
    assert_eq!((&kinds[..], again), (&["story".to_owned(), "end".to_owned()][..], story));
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_need_no_key() {
    let gateway = gateway().await;
    assert_eq!(gateway.ask("GET", "/healthz", None, "").await, (200, json!("ok\n")));
    let (status, ready) = gateway.ask("GET", "/readyz", None, "").await;
    assert_eq!((status, ready), (503, json!({"ready": false, "waits_for": ["no policy is loaded"]})));
    assert_eq!(gateway.ask("GET", "/metrics", None, "").await, (200, json!("a_metric 1\n")));
}
