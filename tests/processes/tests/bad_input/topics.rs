//! Topics of a real Kafka that are not kept as they should be: nothing begins on them, and what is adopted stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use tidegate_processes::broker::Broker;
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::process::until;

use super::must_end;

const POLICY: &str = "id: p\nrevision: 1\nrules:\n  - { id: r, match: {}, decision: allow }\n";

/// The bare admin client.
struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    fn of(broker: &Broker) -> Self {
        Self(ClientConfig::new().set("bootstrap.servers", &broker.address).create().unwrap())
    }

    /// What was set for a topic, by name.
    fn set(&self, topic: &str) -> BTreeMap<String, String> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = block_on(self.0.describe_configs(&asked, &AdminOptions::new())).unwrap().remove(0).unwrap();
        let set = answer.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        set.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
    }

    /// Changes one setting of a topic.
    fn alter(&self, topic: &str, name: &str, value: &str) {
        let mut all = self.set(topic);
        all.insert(name.to_owned(), value.to_owned());
        let request = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let request = all.iter().fold(request, |request, (name, value)| request.set(name, value));
        block_on(self.0.alter_configs([&request], &AdminOptions::new())).unwrap().remove(0).unwrap();
        // A broker answers before it shows the change.
        let shown = || Ok((self.set(topic) == all).then_some(()));
        until(Duration::from_secs(60), "the broker shows the new setting", shown).unwrap();
    }
}

const ALL: &[&str] = &["kernel", "limits", "scheduler", "gateway"];
const STAGES: &[&str] = &["kernel", "limits", "scheduler"];
const KERNEL: &[&str] = &["kernel", "gateway"];

/// A topic, what is altered of it, how that is told, and the roles that read or write it.
const ALTERED: [(&str, &str, &str, &str, &[&str]); 7] = [
    ("snapshots", "cleanup.policy", "compact,delete", "cleanup is compact,delete, should be compact", STAGES),
    ("shards", "cleanup.policy", "delete", "cleanup is delete, should be compact", STAGES),
    ("decisions.jobs.raw", "cleanup.policy", "compact", "cleanup is compact, should be delete", KERNEL),
    ("jobs.raw", "retention.bytes", "1000000", "retention_bytes is 1000000, should be without limit", KERNEL),
    ("denied", "retention.ms", "60000", "retention is 60000 ms, should be 604800000 ms", KERNEL),
    ("dead", "max.message.bytes", "2000", "record_bytes is ", ALL),
    (
        "finished",
        "message.timestamp.type",
        "CreateTime",
        "timestamps is the producer's, should be the broker's",
        &["kernel", "scheduler", "gateway"],
    ),
];

fn config(broker: &Broker, prefix: &str, topics: &str) -> String {
    format!(
        "spine: {{ url: \"{}\" }}\nprefix: \"{prefix}\"\npolicy: policy\nlisten: 127.0.0.1:0\n\
         topics: {{ source_partitions: 1{topics} }}\n{KEYS}",
        broker.url()
    )
}

#[test]
fn every_setting_that_would_lose_records_is_named_and_stays_as_it_is_where_topics_are_adopted() {
    let broker = Broker::from_environment().unwrap();
    let prefix = own_prefix("kept-otherwise");
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", &config(&broker, &prefix, "")).unwrap();
    home.write("adopts.yaml", &config(&broker, &prefix, ", adopt: true")).unwrap();
    must_end(&home.run(&["topics", "apply"]).unwrap(), 0, &[]);

    let admin = Admin::of(&broker);
    for (topic, name, value, ..) in ALTERED {
        admin.alter(&format!("{prefix}{topic}"), name, value);
    }
    let found = || ALTERED.map(|(topic, ..)| admin.set(&format!("{prefix}{topic}")));
    let before = found();
    for (config, sign, why) in [
        ("adopts.yaml", "!", "(adopted: it is verified and never altered; whoever made it must)"),
        ("tidegate.yaml", "~", ""),
    ] {
        for role in ALL {
            let ended = home.run(&["serve", "--config", config, "--roles", role]).unwrap();
            must_end(&ended, 78, &[why]);
            for (topic, .., told, roles) in ALTERED {
                let line = format!("{sign} {prefix}{topic}: {told}");
                assert_eq!(ended.err.contains(&line), roles.contains(role), "{role}: `{line}`:\n{}", ended.err);
            }
        }
    }
    must_end(&home.run(&["topics", "apply", "--config", "adopts.yaml"]).unwrap(), 78, &["nothing was changed"]);
    assert_eq!(found(), before, "what is adopted is never altered");

    must_end(&home.run(&["topics", "apply"]).unwrap(), 0, &[]);
    assert_ne!(found(), before);
    for config in ["tidegate.yaml", "adopts.yaml"] {
        must_end(&home.run(&["topics", "plan", "--config", config]).unwrap(), 0, &[]);
    }
}
