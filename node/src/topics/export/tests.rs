//! Every form has every topic that is ours, and none that is not.

use std::collections::BTreeSet;

use tidegate_spine::Spine;

use super::{Export, export};
use crate::config::Config;
use crate::topics::{Wanted, wanted};

const CONFIG: &str = "\
topics: { replication: 3 }
sources:
  - { name: jobs.raw, tenants: { allowed: [acme] } }
pools:
  - { name: payments, capabilities: [pay] }
";

async fn all() -> (tempfile::TempDir, Vec<Wanted>) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::parse("test", CONFIG).unwrap();
    let options = tidegate_embedded::EmbeddedOptions::new(folder.path());
    let spine: Box<dyn Spine> = Box::new(tidegate_embedded::EmbeddedSpine::open(options).unwrap());
    let wanted = wanted(&config, &*spine).await.unwrap();
    (folder, wanted)
}

/// What stands behind `mark`, up to white space or a quote.
fn named<'a>(text: &'a str, mark: &str) -> BTreeSet<&'a str> {
    text.split(mark).skip(1).map(|rest| rest.split(['"', '\n', ' ']).next().unwrap()).collect()
}

#[tokio::test]
async fn every_form_names_every_topic_once_with_its_partitions_and_settings() {
    let (_folder, wanted) = all().await;
    let topics: BTreeSet<&str> = wanted.iter().map(|one| one.spec.name.as_str()).collect();
    for (form, mark) in [
        (Export::KafkaTopics, "--topic "),
        (Export::Strimzi, "topicName: "),
        (Export::Terraform, "name               = \""),
        (Export::Json, "\"topic\": \""),
        (Export::Acls, "--topic "),
    ] {
        assert_eq!(named(&export("tidegate.", &wanted, form), mark), topics, "{form:?}");
    }
    let strimzi = export("tidegate.", &wanted, Export::Strimzi);
    let documents: Vec<&str> = strimzi.split("---\n").skip(1).collect();
    assert_eq!(documents.len(), wanted.len());
    for document in &documents {
        let read: serde_json::Value = serde_saphyr::from_str(document).unwrap();
        assert_eq!((&read["kind"], &read["spec"]["replicas"]), (&"KafkaTopic".into(), &3.into()));
        assert_eq!(read["spec"]["config"]["message.timestamp.type"], "LogAppendTime");
    }
    // Kafka counts the batch around a record as well.
    let bytes = tidegate_kafka::batch_limit(wanted[0].spec.max_record_bytes);
    assert!(bytes > wanted[0].spec.max_record_bytes);
    let kafka = export("tidegate.", &wanted, Export::KafkaTopics);
    assert_eq!(kafka.matches(&format!("max.message.bytes={bytes}")).count(), wanted.len());
    let terraform = export("tidegate.", &wanted, Export::Terraform);
    assert_eq!(terraform.matches('{').count(), terraform.matches('}').count());
    assert!(terraform.contains("\"retention.ms\" = \"-1\"") && terraform.contains("\"cleanup.policy\" = \"compact\""));
}

#[tokio::test]
async fn rights_are_those_of_the_table_and_no_worker_may_write_what_stages_alone_write() {
    let (_folder, wanted) = all().await;
    let acls = export("tidegate.", &wanted, Export::Acls);
    let may = |role: &str, operation: &str| -> BTreeSet<&str> {
        let begin = format!("allow \"${role}\"");
        let lines = acls.lines().filter(|line| line.starts_with(&begin) && line.contains(operation));
        lines.flat_map(|line| line.split("--topic ").skip(1).map(str::trim_end)).collect()
    };
    assert_eq!(may("WORKER", "--operation Write"), ["tidegate.reports.payments"].into());
    assert_eq!(may("WORKER", "--operation Read "), ["tidegate.work.payments"].into());
    assert_eq!(may("SUBMITTER", "--operation Write"), ["tidegate.jobs.raw"].into());
    assert_eq!(
        may("SCHEDULER", "--operation Delete"),
        ["tidegate.approved.payments", "tidegate.overflow.payments"].into()
    );
    let shown = may("GATEWAY", "--operation Read");
    for topic in ["tidegate.approved.payments", "tidegate.overflow.payments", "tidegate.dead"] {
        assert!(shown.contains(topic), "it tells how long the oldest of `{topic}` waits, or shows it");
    }
    assert!(may("GATEWAY", "--operation Delete").is_empty());
    for one in wanted.iter().filter(|one| one.topic.row().sealed) {
        let topic = one.spec.name.as_str();
        for role in ["WORKER", "SUBMITTER", "GATEWAY"] {
            assert!(!may(role, "--operation Write").contains(topic), "{role} {topic}");
        }
    }
}

#[tokio::test]
async fn a_role_may_join_its_own_groups_alone() {
    let (_folder, wanted) = all().await;
    let acls = export("tidegate.", &wanted, Export::Acls);
    let groups: BTreeSet<(&str, &str)> = acls
        .lines()
        .filter_map(|line| line.strip_prefix("allow \"$")?.split_once("\" --operation Read --group "))
        .filter(|(_, group)| *group != "tidegate-readers")
        .collect();
    let own = [
        ("KERNEL", "tidegate.kernel.jobs.raw"),
        ("LIMITS", "tidegate.limits"),
        ("SCHEDULER", "tidegate.scheduler.payments"),
    ];
    assert_eq!(groups, own.into());
    assert!(!acls.contains("--group '*'") && !acls.contains("$SUBMITTER\" --operation Read --group"));
}
