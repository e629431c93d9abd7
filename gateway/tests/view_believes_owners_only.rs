//! What the view makes of a facts log that others could write to as well: groups of the rightful owner, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_gateway::view::tail::{ViewTopics, run};
use tidegate_gateway::view::{Bounds, Filter, JobKey, View};
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Kind;
use tidegate_protocol::ids::{JobId, KeyId, SourceName};
use tidegate_protocol::merkle;
use tidegate_protocol::signature::{Role, Sign, Trust, signed};
use tidegate_protocol::statements;
use tidegate_spine::{Cleanup, Headers, NewRecord, Producer, ProducerOptions, Spine, TopicSpec};
use tidegate_stage::control::value_hash;

fn control(kind: &'static str, epoch: u64, value: String) -> NewRecord {
    let headers = Headers::from_iter([
        ("tg-kind", Bytes::from(kind)),
        ("tg-sender", Bytes::from("kernel.jobs.raw/0")),
        ("tg-epoch", Bytes::from(epoch.to_string())),
    ]);
    NewRecord { key: None, value: Some(value.into()), headers }
}

const SENDER: &str = "kernel.jobs.raw/0";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(KeyId::new("node").unwrap(), &[seed; 32])
}

/// Trusts the key of seed 1.
fn trust() -> Arc<dyn Trust> {
    let (id, public) = (KeyId::new("node").unwrap(), key(1).public());
    let stage = Trusted { id, public, person: None, roles: vec![Role::AnyStage], tenants: None, until_ms: None };
    Arc::new(Keyring::new([stage]).unwrap())
}

fn mark_by(seed: u8, epoch: u64) -> NewRecord {
    let at = TopicName::new("t.decisions.jobs.raw").unwrap().partition(0);
    let text = json!({"v": 1, "sender": SENDER, "epoch": epoch}).to_string();
    let value = signed(&key(seed), &statements::mark(Kind::Barrier, &at), text.into_bytes());
    control("barrier", epoch, String::from_utf8(value).unwrap())
}

fn mark(epoch: u64) -> NewRecord {
    mark_by(1, epoch)
}

fn group(epoch: u64, sequence: u64, previous: &str, id: &str, offset: u64) -> (NewRecord, String) {
    group_by(1, epoch, sequence, previous, id, offset)
}

fn group_by(seed: u8, epoch: u64, sequence: u64, previous: &str, id: &str, offset: u64) -> (NewRecord, String) {
    let header = json!({"v": 1, "epoch": epoch, "sequence": sequence, "released": null, "previous": previous});
    let fact = json!({"at": 5, "fact": {"job_decided": {
        "job": {"id": id, "tenant": "t", "topic": "x", "capability": "c", "source": format!("jobs.raw/0@{offset}"),
                "input_hash": "0".repeat(64), "submitted_ms": 1},
        "decision": {"verdict": "allow", "reason": "r", "snapshot": "s"}, "pool": "p", "payload": "none"}}})
    .to_string();
    let leaves = vec![merkle::leaf(&[fact.as_bytes()])];
    let value = statements::group_text(header.to_string().into_bytes(), fact.as_bytes(), leaves, |root| {
        ("node", key(seed).sign(&statements::group(SENDER, epoch, root)))
    });
    let value = String::from_utf8(value).unwrap();
    let hash = value_hash(value.as_bytes());
    (control("group", epoch, value), hash)
}

async fn append(producer: &mut dyn Producer, topic: &TopicName, record: NewRecord) {
    producer.append(&topic.partition(0), vec![record]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_a_forger_and_what_follows_a_gap_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder.path())).unwrap());
    let name = |text: &str| TopicName::new(text).unwrap();
    let (decisions, dead) = (name("t.decisions.jobs.raw"), name("t.dead"));
    for topic in [&decisions, &dead] {
        let cleanup = Cleanup::Log { retention_ms: None };
        let spec = TopicSpec {
            name: topic.clone(),
            partitions: 1,
            cleanup,
            max_record_bytes: 1 << 20,
            broker_time: true,
            replication: None,
        };
        spine.create(&spec).await.unwrap();
    }
    let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
    let (unannounced, _) = group(5, 0, "", "unannounced", 0);
    let (first, head) = group(9, 0, "", "first", 1);
    let (second, head_of_second) = group(9, 1, &head, "second", 2);
    let (zombie, _) = group(9, 2, &head_of_second, "zombie", 3);
    let (third, head_of_third) = group(12, 0, &head_of_second, "third", 4);
    let (after_a_gap, _) = group(12, 2, &head_of_third, "after-a-gap", 5);
    let plain = NewRecord { key: None, value: first.value.clone(), headers: Headers::new() };
    let (forged, _) = group_by(2, 9, 1, &head, "forged", 7);
    let again = NewRecord { key: None, value: first.value.clone(), headers: first.headers.clone() };
    for record in [
        unannounced,
        mark(9),
        first,
        plain,
        mark_by(2, 11),
        forged,
        again,
        second,
        mark(12),
        zombie,
        third,
        after_a_gap,
    ] {
        append(&mut *producer, &decisions, record).await;
    }
    let view = Arc::new(View::new(Bounds::default()));
    let topics = ViewTopics {
        decisions: vec![(SourceName::new("jobs.raw").unwrap(), decisions.clone())],
        leases: Vec::new(),
        limits: None,
        dead: dead.clone(),
        trust: Some(trust()),
    };
    let reading = tokio::spawn(run(Arc::clone(&spine), tokio::sync::watch::channel(topics).1, Arc::clone(&view)));
    tokio::time::timeout(Duration::from_secs(30), view.caught_up()).await.unwrap();
    let mut known: Vec<String> =
        view.list(&Filter::default(), 10).jobs.iter().map(|job| job.id.clone().unwrap().to_string()).collect();
    known.sort();
    assert_eq!(known, ["first", "second", "third"]);

    // It goes on: what is appended later is read without being asked for.
    let since = view.list(&Filter::default(), 1).next;
    append(&mut *producer, &decisions, mark(20)).await;
    append(&mut *producer, &decisions, group(20, 0, &head_of_third, "fourth", 6).0).await;
    let changes = view.changes(since, &Filter::default(), 10, Duration::from_secs(30)).await;
    assert_eq!(changes.jobs.len(), 1);
    assert!(view.get(&JobKey::Id { id: JobId::new("fourth").unwrap(), tenant: None }).is_some());

    // A record of `dead` is shown by its headers, whoever wrote it.
    let headers = Headers::from_iter([
        ("tg-source", Bytes::from("jobs.raw/0@9")),
        ("__connect.errors.exception.class.name", Bytes::from("unparsable")),
        ("__connect.errors.exception.message", Bytes::from("no JSON")),
    ]);
    append(&mut *producer, &dead, NewRecord { key: None, value: Some(Bytes::from("{")), headers }).await;
    while view.dead_records(1).is_empty() {
        tokio::task::yield_now().await;
    }
    let record = view.dead_record("jobs.raw/0@9").unwrap();
    assert_eq!((record.at.as_str(), record.reason.as_str(), record.preview.as_str()), ("0@0", "unparsable", "{"));
    reading.abort();
}
