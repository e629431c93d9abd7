//! Topics: what differs is said, what can be altered is, and nothing else is touched.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use tidegate_keys::SecretKey;
use tidegate_node::topics::{Export, Plan, apply, export, plan, wanted};
use tidegate_node::{Config, Role, StartError, serve};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Term;
use tidegate_protocol::ids::KeyId;
use tidegate_spine::keyed::read_whole;
use tidegate_spine::{Cleanup, Spine, TopicSpec};

fn config(folder: &Path, more: &str) -> Config {
    let text = format!(
        "spine: {{url: 'embedded:{0}/spine'}}\ndata: {0}\npolicy: {0}/policy\nlisten: 127.0.0.1:0\nprefix: t.\n{more}",
        folder.display()
    );
    Config::parse("t.yaml", &text).unwrap()
}

async fn planned(config: &Config, spine: &Arc<dyn Spine>) -> Plan {
    plan(wanted(config, &**spine).await.unwrap(), &**spine).await.unwrap()
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

async fn terms(spine: &Arc<dyn Spine>) -> Vec<(String, u32)> {
    let records = read_whole(&**spine, &name("t.shards")).await.unwrap();
    let term = |value: &[u8]| serde_json::from_slice::<Term>(value).unwrap();
    records.iter().map(|r| term(r.value.as_deref().unwrap())).map(|t| (t.sender.to_string(), t.term)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_stop_a_process_with_the_difference_and_apply_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let key = SecretKey::generate(KeyId::new("k").unwrap()).unwrap();
    let file = folder.path().join("stage.key");
    tidegate_keys::create(&key, &file).unwrap();
    let keys = format!("keys: {{ signing: {{ id: k, file: '{}' }} }}\n", file.display());
    let without = serve(config(folder.path(), ""), [Role::Scheduler].into()).await.unwrap_err();
    assert!(without.to_string().contains("tidegate keys create --role stage"), "{without}");
    let config = config(folder.path(), &keys);
    let refused = serve(config.clone(), [Role::Kernel].into()).await.unwrap_err();
    let StartError::Topics { plan: found } = &refused else { unreachable!("{refused}") };
    // Of the 21 those that a kernel reads or writes.
    assert_eq!((found.differences.len(), found.wanted.len()), (15, 15));
    assert!(
        refused.to_string().contains("+ t.jobs.raw: is missing, should have 4 partitions, kept for ever"),
        "{refused}"
    );

    let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
    apply(&planned(&config, &spine).await, &*spine).await.unwrap();
    assert!(planned(&config, &spine).await.is_clean());
    apply(&planned(&config, &spine).await, &*spine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_named_and_only_what_is_safe_is_altered() {
    let folder = tempfile::tempdir().unwrap();
    let first = config(folder.path(), "");
    let spine = tidegate_node::spine::open(&first.spine).await.unwrap();
    apply(&planned(&first, &spine).await, &*spine).await.unwrap();

    let grown =
        config(folder.path(), "topics: {source_partitions: 6, retention: {log_ms: 60000}, record_bytes: 2000000}\n");
    let changes = planned(&grown, &spine).await;
    let told = changes.to_string();
    for line in [
        "~ t.jobs.raw: partitions is 4, should be 6",
        "~ t.decisions.jobs.raw: partitions is 4, should be 6",
        "~ t.denied: retention is 604800000 ms, should be 60000 ms",
        "~ t.work.default: record_bytes is 1048588, should be 2000000",
    ] {
        assert!(told.lines().any(|told| told == line), "`{line}` is not in\n{told}");
    }
    apply(&changes, &*spine).await.unwrap();
    assert!(planned(&grown, &spine).await.is_clean());

    // Fewer partitions, or other buckets, nobody can make: nothing is changed, not even what could be.
    let other = "topics: {source_partitions: 6, record_bytes: 3000000, retention: {log_ms: 60000}}\n\
                 pools: [{name: default, capabilities: [c], buckets: 8, lanes: 32}]\n";
    let other = config(folder.path(), other);
    let error = apply(&planned(&other, &spine).await, &*spine).await.unwrap_err().to_string();
    assert!(error.contains("! t.approved.default: partitions is 4, should be 8 (cannot be altered"), "{error}");
    assert!(error.contains("! t.work.default: partitions is 16, should be 32"), "{error}");
    assert!(planned(&grown, &spine).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_kept_or_stamped_otherwise_are_named_and_made_right() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
    apply(&planned(&config, &spine).await, &*spine).await.unwrap();
    let specs = wanted(&config, &*spine).await.unwrap();
    let of = |topic: &str| specs.iter().find(|one| one.spec.name.as_str() == topic).unwrap().spec.clone();
    spine.alter(&TopicSpec { cleanup: Cleanup::Keyed, ..of("t.decisions.jobs.raw") }).await.unwrap();
    spine.alter(&TopicSpec { cleanup: Cleanup::Log { retention_ms: Some(1) }, ..of("t.snapshots") }).await.unwrap();
    spine.alter(&TopicSpec { broker_time: false, ..of("t.finished") }).await.unwrap();
    let found = planned(&config, &spine).await;
    let mut told: Vec<String> = found.to_string().lines().map(str::to_owned).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "~ t.decisions.jobs.raw: cleanup is compact, should be delete",
            "~ t.finished: timestamps is the producer's, should be the broker's",
            "~ t.snapshots: cleanup is delete, should be compact",
        ]
    );
    apply(&found, &*spine).await.unwrap();
    assert!(planned(&config, &spine).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_topics_are_verified_and_never_altered() {
    let folder = tempfile::tempdir().unwrap();
    let text = "topics: {adopt: true}\nsources: [{name: orders, topic: shop.orders, tenants: {constant: shop}}]\n";
    let config = config(folder.path(), text);
    let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
    let missing = wanted(&config, &*spine).await.unwrap_err().to_string();
    assert_eq!(
        missing,
        "topic `shop.orders` of source `orders` does not exist; make it, or correct the source's `topic`"
    );
    let foreign = TopicSpec {
        name: name("shop.orders"),
        partitions: 3,
        cleanup: Cleanup::Log { retention_ms: Some(1_000_000) },
        max_record_bytes: 1 << 20,
        broker_time: true,
        replication: None,
    };
    spine.create(&foreign).await.unwrap();
    let found = planned(&config, &spine).await;
    // Its companions follow its partitions; itself it is as it is.
    let line = "! t.decisions.orders: is missing, should have 3 partitions, kept 31536000000 ms, records up to 1048588 bytes \
                (adopted: it is verified and never altered; whoever made it must)";
    assert!(found.to_string().lines().any(|told| told == line), "{found}");
    assert!(!found.to_string().contains("shop.orders"), "{found}");
    apply(&found, &*spine).await.unwrap_err();
    assert_eq!(spine.list("t.").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facts_log_made_anew_has_a_higher_term() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "topics: {source_partitions: 1}\n");
    let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
    apply(&planned(&config, &spine).await, &*spine).await.unwrap();
    let terms_with = |kernel| {
        let limits = (0..4).map(|shard| (format!("limits/{shard}"), 1));
        let kernel = ("kernel.jobs.raw/0".to_owned(), kernel);
        std::iter::once(kernel).chain(limits).chain([("scheduler.default/0".to_owned(), 1)]).collect::<Vec<_>>()
    };
    assert_eq!(terms(&spine).await, terms_with(1));
    spine.delete(&name("t.decisions.jobs.raw")).await.unwrap();
    apply(&planned(&config, &spine).await, &*spine).await.unwrap();
    assert_eq!(terms(&spine).await, terms_with(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_export_has_every_topic() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "topics: {replication: 3}\n");
    let spine = tidegate_node::spine::open(&config.spine).await.unwrap();
    let wanted = wanted(&config, &*spine).await.unwrap();
    for form in [Export::Text, Export::Json, Export::KafkaTopics] {
        let text = export("t.", &wanted, form);
        for wanted in &wanted {
            assert!(text.contains(wanted.spec.name.as_str()), "{} is not in\n{text}", wanted.spec.name);
        }
    }
    let script = export("t.", &wanted, Export::KafkaTopics);
    let snapshots = script.lines().find(|line| line.contains("t.snapshots")).unwrap();
    assert_eq!(
        snapshots,
        "kafka-topics.sh --bootstrap-server \"$BOOTSTRAP\" --create --topic t.snapshots --partitions 1 --replication-factor 3 \
         --config cleanup.policy=compact --config max.message.bytes=1049612 --config message.timestamp.type=LogAppendTime"
    );
}
