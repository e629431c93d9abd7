//! A reload that fails after a pool was closed to kernels, because another cannot begin, or a job came into it just before:
//! everything goes on as it was, and the same reload may be tried again.
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
    Ends, Headers, Layer, MemberOptions, Membership, NewRecord, ProducerOptions, Spine, SpineError, Start, TopicState,
};

/// A spine one of whose groups nobody may join while it is told so, and one of whose logs has a record more than anybody wrote from a
/// moment of a reload on.
struct Closed {
    inner: Arc<dyn Spine>,
    group_of: &'static str,
    closed: Arc<AtomicBool>,
    late: Arc<Late>,
}

/// A record that stands in a log since a process asked what its topics are: a reload does so once it has seen that a pool is empty, and
/// before it closes it to kernels.
#[derive(Default)]
struct Late {
    log: Option<&'static str>,
    /// The next who asks makes it stand there.
    comes: AtomicBool,
    is_there: AtomicBool,
}

impl Late {
    fn stands_in(&self, topic: &TopicName) -> bool {
        self.is_there.load(Ordering::SeqCst) && self.log.is_some_and(|log| topic.as_str().ends_with(log))
    }
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

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>> {
        async move {
            let mut ends = self.inner.ends(of).await?;
            for (_, ends) in of.iter().zip(&mut ends).filter(|(one, _)| self.late.stands_in(&one.topic)) {
                ends.end += 1;
            }
            Ok(ends)
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        // Who looks at lag asks of inputs alone.
        let asks_of_all = topics.iter().any(|topic| topic.as_str() == "tidegate.decisions.jobs.raw");
        if asks_of_all && self.late.comes.swap(false, Ordering::SeqCst) {
            self.late.is_there.store(true, Ordering::SeqCst);
        }
        self.inner.describe(topics)
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
    let spine = Arc::new(Closed { inner, group_of: ".comes", closed: Arc::clone(&closed), late: Arc::default() });
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

/// The second look, alone: when the pool is looked at first it is empty, and what it is then refused for came after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_into_which_a_job_came_before_it_was_closed_is_not_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = dev_node::start(folder.path(), pool("stays", false)).await;
    let before = with(dev.config(), vec![pool("stays", false), pool("drains", true)]);
    dev.reload(&before).await.unwrap();
    let keys = dev.keys().clone();
    dev.stop().await;

    let late = Arc::new(Late { log: Some(".approved.drains"), ..Late::default() });
    let inner = tidegate_node::spine::open(&before.spine).await.unwrap();
    let closed = Closed { inner, group_of: ".nobody", closed: Arc::default(), late: Arc::clone(&late) };
    let mut node = start(before.clone(), Arc::new(closed), keys, Role::ALL.into_iter().collect()).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    let known = refused(&node, "before").await;
    assert!(known.ends_with("; pool `drains` would, but is draining"), "{known}");

    let after = with(&before, vec![pool("stays", false)]);
    late.comes.store(true, Ordering::SeqCst);
    let error = node.reload(&after).await.unwrap_err();
    let is_the_late_one =
        matches!(&error, ReloadRefused::NotEmpty { left, .. } if left.records == 1 && left.jobs == Some(0));
    assert!(is_the_late_one, "{error}");
    assert!(late.is_there.load(Ordering::SeqCst), "the first look found it empty");
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    assert_eq!(refused(&node, "after the refusal").await, known, "kernels know the pool as before");

    late.is_there.store(false, Ordering::SeqCst);
    assert_eq!(node.reload(&after).await.unwrap().to_string(), "removed: drains; kernels send by the new pools");
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
    let gone = refused(&node, "at the end").await;
    assert!(!gone.contains("pool `drains`"), "{gone}");
    node.stop().await;
}
