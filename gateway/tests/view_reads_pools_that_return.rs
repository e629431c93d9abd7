//! Pools come and go while the view reads: nothing is counted twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_gateway::view::tail::{ViewTopics, run};
use tidegate_gateway::view::{Bounds, JobKey, State, Story, View};
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Kind;
use tidegate_protocol::ids::{KeyId, PoolName};
use tidegate_protocol::merkle;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::signature::{Role, Sign as _, signed};
use tidegate_protocol::statements;
use tidegate_spine::{Cleanup, Headers, NewRecord, Producer, ProducerOptions, Spine, TopicSpec};
use tidegate_stage::control::value_hash;
use tokio::sync::watch;

fn leases(pool: &str) -> TopicName {
    TopicName::new(format!("t.leases.{pool}")).unwrap()
}

fn key() -> SecretKey {
    SecretKey::from_seed(KeyId::new("node").unwrap(), &[1; 32])
}

/// Of these pools; the key is trusted.
fn topics(pools: &[&str]) -> ViewTopics {
    let (id, public) = (KeyId::new("node").unwrap(), key().public());
    let stage = Trusted { id, public, person: None, roles: vec![Role::AnyStage], tenants: None, until_ms: None };
    ViewTopics {
        decisions: Vec::new(),
        leases: pools.iter().map(|pool| (PoolName::new(*pool).unwrap(), leases(pool))).collect(),
        limits: None,
        dead: TopicName::new("t.dead").unwrap(),
        trust: Some(Arc::new(Keyring::new([stage]).unwrap())),
    }
}

/// The facts log of a pool's only shard.
struct Shard {
    pool: &'static str,
    producer: Box<dyn Producer>,
    sequence: u64,
    head: String,
}

impl Shard {
    async fn begin(spine: &dyn Spine, pool: &'static str) -> Self {
        let producer = spine.producer(ProducerOptions::default()).await.unwrap();
        let mut shard = Self { pool, producer, sequence: 0, head: String::new() };
        let barrier = json!({"v": 1, "sender": format!("scheduler.{pool}/0"), "epoch": 9}).to_string();
        let statement = statements::mark(Kind::Barrier, &leases(pool).partition(0));
        let barrier = signed(&key(), &statement, barrier.into_bytes());
        shard.append("barrier", String::from_utf8(barrier).unwrap()).await;
        shard
    }

    async fn append(&mut self, kind: &'static str, value: String) {
        let headers = Headers::from_iter([
            ("tg-kind", Bytes::from(kind)),
            ("tg-sender", Bytes::from(format!("scheduler.{}/0", self.pool))),
            ("tg-epoch", Bytes::from("9")),
        ]);
        let record = NewRecord { key: None, value: Some(value.into()), headers };
        self.producer.append(&leases(self.pool).partition(0), vec![record]).await.unwrap();
    }

    /// A group of this one fact.
    async fn says(&mut self, fact: Value) {
        let header = json!({"v": 1, "epoch": 9, "sequence": self.sequence, "released": null, "previous": self.head});
        let fact = json!({"at": 5, "fact": fact}).to_string();
        let leaves = vec![merkle::leaf(&[fact.as_bytes()])];
        let sender = format!("scheduler.{}/0", self.pool);
        let value = statements::group_text(header.to_string().into_bytes(), fact.as_bytes(), leaves, |root| {
            ("node", key().sign(&statements::group(&sender, 9, root)))
        });
        let value = String::from_utf8(value).unwrap();
        self.head = value_hash(value.as_bytes());
        self.sequence += 1;
        self.append("group", value).await;
    }

    async fn leases_out(&mut self, source: &str, attempt: u32) {
        let token = json!({"epoch": 9, "attempt": attempt});
        let fact = json!({"source": source, "worker": "w", "incarnation": 1, "token": token, "number": 1, "lane": 0});
        self.says(json!({"lease_granted": fact})).await;
    }

    async fn ends(&mut self, source: &str) {
        let by = json!({"worker": "w", "token": {"epoch": 9, "attempt": 1}, "lane": 0});
        let fact =
            json!({"source": source, "job_id": "a", "tenant": "t", "outcome": "succeeded", "by": by, "attempts": 1});
        self.says(json!({"job_finished": fact})).await;
    }
}

fn story(view: &View, source: &str) -> Option<Story> {
    view.get(&JobKey::Position(source.parse().unwrap()))
}

async fn until(view: &View, source: &str) {
    let known = async {
        while story(view, source).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pool_that_was_taken_out_and_is_there_again_nothing_is_counted_twice_and_nothing_missed() {
    let folder = tempfile::tempdir().unwrap();
    let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder.path())).unwrap());
    for name in [leases("a"), leases("b"), leases("c"), TopicName::new("t.dead").unwrap()] {
        let cleanup = Cleanup::Log { retention_ms: None };
        let (max_record_bytes, broker_time, replication) = (1 << 20, true, None);
        spine
            .create(&TopicSpec { name, partitions: 1, cleanup, max_record_bytes, broker_time, replication })
            .await
            .unwrap();
    }
    let mut b = Shard::begin(&*spine, "b").await;
    let mut c = Shard::begin(&*spine, "c").await;
    b.leases_out("jobs.raw/0@1", 1).await;
    b.leases_out("jobs.raw/0@2", 1).await;
    b.ends("jobs.raw/0@2").await;
    c.leases_out("jobs.raw/0@3", 1).await;

    let view = Arc::new(View::new(Bounds::default()));
    let (pools, followed) = watch::channel(topics(&["a", "b"]));
    let reading = tokio::spawn(run(Arc::clone(&spine), followed, Arc::clone(&view)));
    tokio::time::timeout(Duration::from_secs(60), view.caught_up()).await.unwrap();
    let before = [story(&view, "jobs.raw/0@1"), story(&view, "jobs.raw/0@2")];

    // Once the job of the new pool is seen, the one that was taken out is read no more.
    pools.send_replace(topics(&["a", "c"]));
    until(&view, "jobs.raw/0@3").await;
    b.leases_out("jobs.raw/0@4", 1).await;
    pools.send_replace(topics(&["a", "b", "c"]));
    // What was said meanwhile is read after all that was said before.
    until(&view, "jobs.raw/0@4").await;

    let after = [story(&view, "jobs.raw/0@1"), story(&view, "jobs.raw/0@2")];
    let told = |stories: &[Option<Story>; 2]| {
        let told = |story: &Option<Story>| {
            story.as_ref().map(|story| (story.state, story.attempts.len(), story.outcome, story.change))
        };
        stories.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(&before), "nothing was told again");
    let [running, ended] = after.map(Option::unwrap);
    assert_eq!((running.state, running.attempts.len()), (State::Running, 1));
    assert_eq!((ended.outcome, ended.attempts.len()), (Some(Outcome::Succeeded), 1));
    reading.abort();
}
