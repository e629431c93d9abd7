//! A worker over HTTP while the broker is away: it hears that its lease is in doubt, and afterwards that it stands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dev_node;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dev_node::PATIENCE;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_node::Role;
use tidegate_node::config::PoolWritten;
use tidegate_node::process::{Node, start};
use tidegate_protocol::address::TopicPartition;
use tidegate_scheduler::Tuning;
use tidegate_spine::{
    Landing, Layer, NewRecord, Producer, ProducerOptions, ReadError, ReadHandle, ReadProgress, Reader, Record, Spine,
    SpineError, Start,
};
use tokio::sync::watch;

/// A spine whose broker can go away: what is appended lands, but nobody hears of it, and nothing is read.
struct Outage {
    inner: Arc<dyn Spine>,
    away: watch::Sender<bool>,
}

impl Layer for Outage {
    fn behind(&self) -> &dyn Spine {
        &*self.inner
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        async move {
            let inner = self.inner.producer(options).await?;
            Ok(Box::new(Deaf { inner, away: self.away.subscribe() }) as Box<dyn Producer>)
        }
        .boxed()
    }

    fn reader(&self, name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        let inner = self.inner.reader(name);
        async move { Ok(Box::new(Blind { inner: inner.await?, away: self.away.subscribe() }) as Box<dyn Reader>) }
            .boxed()
    }
}

struct Deaf {
    inner: Box<dyn Producer>,
    away: watch::Receiver<bool>,
}

impl Producer for Deaf {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        let landing = self.inner.append(to, records);
        let mut away = self.away.clone();
        async move {
            let landed = landing.await;
            let _closed = away.wait_for(|away| !away).await;
            landed
        }
        .boxed()
    }
}

struct Blind {
    inner: Box<dyn Reader>,
    away: watch::Receiver<bool>,
}

impl Reader for Blind {
    fn open(&mut self, partition: &TopicPartition, start: Start) -> ReadHandle {
        self.inner.open(partition, start)
    }

    fn close(&mut self, handle: ReadHandle) {
        self.inner.close(handle);
    }

    fn poll_read(
        &mut self,
        handle: ReadHandle,
        max: usize,
        cx: &mut Context<'_>,
        into: &mut Vec<Record>,
    ) -> Poll<Result<ReadProgress, ReadError>> {
        if *self.away.borrow() {
            // Whoever asks is woken when the broker is back.
            let (mut away, waker) = (self.away.clone(), cx.waker().clone());
            tokio::spawn(async move {
                let _closed = away.wait_for(|away| !away).await;
                waker.wake();
            });
            return Poll::Pending;
        }
        self.inner.poll_read(handle, max, cx, into)
    }

    fn pause(&mut self, handle: ReadHandle) {
        self.inner.pause(handle);
    }

    fn resume(&mut self, handle: ReadHandle) {
        self.inner.resume(handle);
    }
}

/// Status and JSON of a `POST`.
async fn post(node: &Node, key: &str, path: &str, body: Value) -> (u16, Value) {
    let (url, key) = (format!("http://{}{path}", node.address()), format!("Bearer {key}"));
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.post(&url).header("authorization", &key).send(body.to_string()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_hears_that_its_lease_is_in_doubt_and_afterwards_that_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let pool = PoolWritten {
        capabilities: vec!["dig".into()],
        buckets: 1,
        tenant_buckets: 1,
        scheduling: Tuning { lease_ms: 3_000, ..Tuning::default() },
        ..PoolWritten::default()
    };
    // Makes keys and topics, then leaves.
    let dev = dev_node::start(folder.path(), pool).await;
    let (config, keys) = (dev.config().clone(), dev.keys().clone());
    dev.stop().await;
    let worker_key = std::fs::read_to_string(folder.path().join("worker.key")).unwrap().trim().to_owned();

    let inner = tidegate_node::spine::open(&config.spine).await.unwrap();
    let outage = Arc::new(Outage { inner, away: watch::channel(false).0 });
    let spine: Arc<dyn Spine> = Arc::clone(&outage) as Arc<dyn Spine>;
    let node = start(config, spine, keys, Role::ALL.into_iter().collect()).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or_else(|_| panic!("not ready: {:?}", node.readiness()));

    let job = json!({"id": "one", "tenant": "acme", "topic": "job.x", "capability": "dig", "payload": 1});
    let (status, answer) = post(&node, node.key().reveal(), "/v1/jobs", job).await;
    assert_eq!(status, 202, "{answer}");
    let ask = json!({"worker": "w", "capabilities": ["dig"], "wait_ms": 10_000});
    let (status, answer) = post(&node, &worker_key, "/v1/pools/default/lease", ask).await;
    let lease = answer["leases"][0].clone();
    assert!(status == 200 && lease["job"]["id"] == "one", "{answer}");
    let (token, path) = (json!({"token": lease["token"]}), format!("/v1/leases/{}", lease["lease"].as_str().unwrap()));

    // Beats until it is told whether its lease is in doubt; every beat says that it is held.
    let beats = async |in_doubt: bool| {
        let until = async {
            loop {
                let (status, said) = post(&node, &worker_key, &format!("{path}/heartbeat"), token.clone()).await;
                assert!(status == 200 && said["state"] == "held", "{said}");
                let told = said.get("in_doubt").map(|told| told.as_bool().unwrap());
                assert_ne!(told, Some(false), "left out when it is not so: {said}");
                if told.unwrap_or_default() == in_doubt {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, until).await.unwrap_or_else(|_| panic!("never `in_doubt: {in_doubt}`"));
    };
    beats(false).await;
    outage.away.send_replace(true);
    beats(true).await;
    outage.away.send_replace(false);
    beats(false).await;
    let mut complete = token.clone();
    complete["result"] = json!(1);
    let (status, said) = post(&node, &worker_key, &format!("{path}/complete"), complete).await;
    assert!(status == 200 && said["state"] == "accepted", "the same lease, to its end: {said}");
    node.stop().await;
}
