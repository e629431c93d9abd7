//! A reload that fails after a pool was closed to kernels: everything goes on as it was, and the same reload may be tried again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dev_node;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dev_node::PATIENCE;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tidegate_node::config::PoolWritten;
use tidegate_node::pools::ReloadRefused;
use tidegate_node::process::{Node, start};
use tidegate_node::{Config, Role, StartError, Written};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::headers;
use tidegate_spine::{
    Ends, Headers, Layer, MemberOptions, Membership, NewRecord, ProducerOptions, Spine, SpineError, Start,
};

/// A spine one of whose groups nobody may join, while it is told so.
struct Closed {
    inner: Arc<dyn Spine>,
    group_of: &'static str,
    closed: Arc<AtomicBool>,
}

impl Layer for Closed {
    fn behind(&self) -> &dyn Spine {
        &*self.inner
    }

    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        if options.topic.as_str().ends_with(self.group_of) && self.closed.load(Ordering::SeqCst) {
            let (spine, reason) = (self.url().to_owned(), format!("`{}` is closed by the test", options.group));
            return async { Err(SpineError::Denied { spine, reason }) }.boxed();
        }
        self.inner.join(options)
    }
}

fn pool(name: &str, draining: bool) -> PoolWritten {
    PoolWritten {
        name: name.into(),
        capabilities: vec![format!("of-{name}")],
        buckets: 1,
        tenant_buckets: 1,
        lanes: 1,
        draining,
        ..PoolWritten::default()
    }
}

fn with(config: &Config, pools: Vec<PoolWritten>) -> Config {
    Config::of(&Written { pools, ..config.written().clone() }).unwrap()
}

/// The reason why a job that only the draining pool would take is dead.
async fn refused(node: &Node, id: &str) -> String {
    let job = json!({"id": id, "tenant": "acme", "topic": "job.x", "capability": "of-drains", "payload": 1});
    let record = NewRecord { key: None, value: Some(job.to_string().into()), headers: Headers::new() };
    let mut producer = node.spine().producer(ProducerOptions::default()).await.unwrap();
    let raw = TopicName::new("tidegate.jobs.raw").unwrap().partition(0);
    let at = producer.append(&raw, vec![record]).await.unwrap().first;
    let source = format!("jobs.raw/0@{at}");
    let of: Vec<TopicPartition> = (0..4).map(|n| TopicName::new("tidegate.dead").unwrap().partition(n)).collect();
    let wait = async {
        loop {
            let ends = node.spine().ends(&of).await.unwrap();
            for (partition, Ends { end, .. }) in of.iter().zip(ends) {
                let mut reader = node.spine().reader("test").await.unwrap();
                let handle = reader.open(partition, Start::Earliest);
                let (mut records, mut position) = (Vec::new(), 0);
                while position < end {
                    position = poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap().position;
                }
                let of_it = records.iter().find(|record| record.headers.text(headers::SOURCE) == Some(&*source));
                if let Some(record) = of_it {
                    return record.headers.text(headers::DEAD_MESSAGE).unwrap_or_default().to_owned();
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("`{id}` is not dead in time"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_was_closed_stays_as_it_was_when_another_cannot_begin() {
    let folder = tempfile::tempdir().unwrap();
    // Makes keys and topics, then leaves.
    let mut dev = dev_node::start(folder.path(), pool("stays", false)).await;
    let before = with(dev.config(), vec![pool("stays", false), pool("drains", true)]);
    dev.reload(&before).await.unwrap();
    let keys = dev.keys().clone();
    dev.stop().await;

    let closed = Arc::new(AtomicBool::new(true));
    let inner = tidegate_node::spine::open(&before.spine).await.unwrap();
    let spine = Arc::new(Closed { inner, group_of: ".comes", closed: Arc::clone(&closed) });
    let mut node = start(before.clone(), spine, keys, Role::ALL.into_iter().collect()).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    let known = refused(&node, "before").await;
    assert!(known.ends_with("; pool `drains` would, but is draining"), "{known}");

    let after = with(&before, vec![pool("stays", false), pool("comes", false)]);
    let error = node.reload(&after).await.unwrap_err();
    assert!(matches!(&error, ReloadRefused::Start(StartError::Role(_))), "{error}");
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    assert_eq!(refused(&node, "after the failure").await, known, "kernels know the pool as before");

    closed.store(false, Ordering::SeqCst);
    let change = node.reload(&after).await.unwrap().to_string();
    assert_eq!(change, "added: comes; removed: drains; kernels send by the new pools");
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    let gone = refused(&node, "at the end").await;
    assert!(!gone.contains("pool `drains`"), "{gone}");
    node.stop().await;
}
