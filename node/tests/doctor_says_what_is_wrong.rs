//! `doctor`: what is wrong is found, each with what to do; what is right is said to be.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tidegate_keys::SecretKey;
use tidegate_node::doctor::{Asked, Finding, Level, Report, examine};
use tidegate_node::gateway::view::JobKey;
use tidegate_node::topics::{apply, plan, wanted};
use tidegate_node::{Config, Role, serve};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::KeyId;
use tidegate_spine::{Cleanup, NewRecord, ProducerOptions, Spine, TopicSpec};

const POLICY: &str =
    "id: p\nrevision: 1\nrules:\n  - { id: r, match: { topics: [job.>] }, decision: allow, reason: fine }\n";

fn asked() -> Asked {
    Asked { roles: Role::ALL.into(), write: true, patience: Duration::from_secs(60) }
}

fn config(folder: &Path, more: &str) -> Config {
    let text = format!(
        "spine: {{url: 'embedded:{0}/spine'}}\ndata: {0}\npolicy: {0}/policy\nlisten: 127.0.0.1:0\nprefix: t.\n\
         topics: {{ source_partitions: 1 }}\n{more}",
        folder.display()
    );
    Config::parse("t.yaml", &text).unwrap()
}

fn of<'a>(report: &'a Report, check: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.check == check).collect()
}

fn level(report: &Report, check: &str) -> Level {
    let found = of(report, check);
    found.iter().map(|finding| finding.level).max().unwrap_or_else(|| panic!("`{check}` says nothing: {report:?}"))
}

async fn append(spine: &Arc<dyn Spine>, values: &[&str]) {
    let raw = TopicName::new("t.jobs.raw").unwrap().partition(0);
    let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
    for value in values {
        let record = NewRecord { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..NewRecord::default() };
        producer.append(&raw, vec![record]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_bad_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let report = examine(&config(folder.path(), ""), &asked()).await;
    for check in ["keys", "policy", "topics"] {
        assert_eq!(level(&report, check), Level::Bad, "{check}");
    }
    assert!(report.reached && report.level() == Level::Bad);
    let bad = report.findings.iter().filter(|finding| finding.level == Level::Bad);
    assert!(bad.clone().count() > 20 && bad.into_iter().all(|finding| !finding.remedy.is_empty()), "{report:?}");
    assert_eq!(level(&report, "shards"), Level::Note, "not looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_right_and_what_is_lost_or_about_to_end_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let key = SecretKey::generate(KeyId::new("k").unwrap()).unwrap();
    let file = folder.path().join("stage.key");
    tidegate_keys::create(&key, &file).unwrap();
    std::fs::create_dir(folder.path().join("policy")).unwrap();
    std::fs::write(folder.path().join("policy/p.yaml"), POLICY).unwrap();
    let other = SecretKey::generate(KeyId::new("other").unwrap()).unwrap();
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() + 3_600_000;
    let keys = format!(
        "keys:\n  signing: {{ id: k, file: '{}' }}\n  trusted:\n    - {{ id: other, public: '{}', roles: [operator], until_ms: {soon} }}\n",
        file.display(),
        other.public()
    );
    let config = config(folder.path(), &keys);
    {
        let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
        let wanted = wanted(&config, &*spine).await.unwrap();
        apply(&plan(wanted, &*spine).await.unwrap(), &*spine).await.unwrap();
    }
    // A process has judged a job, so that it is known how far it has read.
    let node = serve(config.clone(), Role::ALL.into()).await.unwrap();
    node.ready().await;
    append(node.spine(), &[r#"{"id":"one","tenant":"acme","topic":"job.x","capability":"dig","payload":1}"#]).await;
    let mut since = 0;
    let view = Arc::clone(node.view().unwrap());
    let decided = async {
        let job = JobKey::Position("jobs.raw/0@0".parse().unwrap());
        while view.get(&job).is_none_or(|story| story.times.decided_ms.is_none()) {
            since = view.changes(since, &Default::default(), 10, Duration::from_secs(5)).await.next;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), decided).await.unwrap();
    node.stop().await;

    let report = examine(&config, &asked()).await;
    for check in ["policy", "spine", "topics", "rights", "clock"] {
        assert_eq!(level(&report, check), Level::Ok, "{check}: {report:?}");
    }
    assert_eq!(report.level(), Level::Note, "{report:?}");
    assert!(
        of(&report, "keys").iter().any(|finding| finding.what.starts_with("key `other` ends in 0 h")),
        "{report:?}"
    );
    assert!(of(&report, "lanes").iter().any(|finding| finding.what.starts_with("no worker of pool")), "{report:?}");

    // Records that are gone before anybody read them.
    {
        let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
        append(&spine, &["{}", "{}", "{}"]).await;
        let raw = TopicName::new("t.jobs.raw").unwrap().partition(0);
        spine.trim(&raw, 3).await.unwrap();
    }
    let report = examine(&config, &asked()).await;
    let lost = of(&report, "shards");
    assert!(
        lost.iter().any(|finding| finding.level == Level::Bad && finding.remedy.contains("accept-loss")),
        "{lost:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_somebody_else_is_judged_by_how_long_its_owner_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    // Ours would be kept for a week.
    let config = config(folder.path(), "sources: [{ name: theirs, topic: their.jobs, tenants: any }]\n");
    let theirs = TopicName::new("their.jobs").unwrap();
    {
        let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
        let spec = TopicSpec {
            name: theirs.clone(),
            partitions: 1,
            cleanup: Cleanup::Log { retention_ms: Some(60) },
            max_record_bytes: 100_000,
            broker_time: true,
            replication: None,
        };
        spine.create(&spec).await.unwrap();
        let wanted = wanted(&config, &*spine).await.unwrap();
        apply(&plan(wanted, &*spine).await.unwrap(), &*spine).await.unwrap();
        let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
        let record = NewRecord { value: Some(Bytes::from_static(b"{}")), ..NewRecord::default() };
        producer.append(&theirs.partition(0), vec![record]).await.unwrap();
    }
    // Until half of it is over.
    let found = async {
        loop {
            let report = examine(&config, &asked()).await;
            if let Some(bad) = of(&report, "shards").into_iter().find(|finding| finding.level == Level::Bad) {
                return bad.clone();
            }
        }
    };
    let bad = tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
    assert!(bad.what.starts_with("`their.jobs/0`: 1 records are not settled"), "{bad:?}");
    assert!(bad.remedy.contains("have its owner keep it longer"), "{bad:?}");
}
