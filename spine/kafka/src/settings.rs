//! The settings each kind of client runs with. Measured on a real broker; see the crate's docs for why.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use tidegate_spine::MemberOptions;

use crate::KafkaOptions;

/// Largest record any producer takes, bytes; each topic's own limit is below it.
pub(crate) const LARGEST_RECORD: usize = 128 << 20;

/// What all clients share.
fn base(options: &KafkaOptions, name: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    let prefix = options.settings.get("client.id").map_or("tidegate", String::as_str);
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("client.id", format!("{prefix}-{name}"))
        .set("allow.auto.create.topics", "false")
        .set("enable.metrics.push", "false")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // A broker that returns is found within a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        // How long a topic that was just made may seem unknown: long enough for brokers to tell each other, short
        // enough that a missing topic is reported while somebody looks (librdkafka's 30 s would hold a shard).
        .set("topic.metadata.propagation.max.ms", "3000")
        .set("topic.metadata.refresh.fast.interval.ms", "50");
    config
}

fn finish(mut config: ClientConfig, options: &KafkaOptions) -> ClientConfig {
    for (name, value) in options.settings.iter().filter(|(name, _)| *name != "client.id") {
        config.set(name, value);
    }
    config
}

/// For questions: metadata, ends.
pub(crate) fn asking(options: &KafkaOptions) -> ClientConfig {
    let mut config = base(options, "ask");
    config
        .set("isolation.level", "read_committed")
        .set("socket.timeout.ms", options.request_timeout.as_millis().clamp(10, 300_000).to_string());
    let mut config = finish(config, options);
    // Without a group, so that it asks for no coordinator.
    config.remove("group.id");
    config
}

/// For creating, altering and describing topics.
pub(crate) fn administering(options: &KafkaOptions) -> ClientConfig {
    finish(base(options, "admin"), options)
}

/// For appending.
pub(crate) fn producing(options: &KafkaOptions, name: &str) -> ClientConfig {
    let mut config = base(options, name);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        // Own accounting refuses first (`Full`); librdkafka never may.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", LARGEST_RECORD.to_string())
        // A batch must fit every topic; Kafka's default limit is 1,048,588 bytes a batch.
        .set("batch.size", "1000000")
        .set("linger.ms", "0");
    finish(config, options)
}

/// For reading partitions by hand.
pub(crate) fn reading(options: &KafkaOptions, name: &str) -> ClientConfig {
    let mut config = base(options, name);
    config
        // Needed by `assign`; nothing is ever committed under it.
        .set("group.id", "tidegate-readers")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.min.bytes", "1")
        // One fetch is under way per broker, for the partitions that had room when it was sent. What was opened or
        // drained since waits for its return: this bounds that wait.
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.error.backoff.ms", "20")
        .set("queued.min.messages", "100000")
        // Per partition, since each has a queue of its own.
        .set("queued.max.messages.kbytes", "8192");
    finish(config, options)
}

/// For being a member of a group.
pub(crate) fn joining(options: &KafkaOptions, member: &MemberOptions) -> ClientConfig {
    let mut config = base(options, &member.group);
    let heartbeat = (member.session_timeout_ms / 3).clamp(1, 1000);
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("partition.assignment.strategy", "cooperative-sticky");
    let mut config = finish(config, options);
    config
        .set("group.id", &member.group)
        .set("session.timeout.ms", member.session_timeout_ms.to_string())
        // Short also where the session is long: a member learns of a newcomer by its heartbeat.
        .set("heartbeat.interval.ms", heartbeat.to_string());
    if let Some(instance) = &member.instance {
        config.set("group.instance.id", instance);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_knows_every_setting() {
        let options = KafkaOptions::new(vec!["127.0.0.1:1".into()]);
        let topic = tidegate_protocol_topic();
        let member = MemberOptions { group: "g".into(), topic, instance: Some("i".into()), session_timeout_ms: 6_000 };
        for config in [
            asking(&options),
            administering(&options),
            producing(&options, "p"),
            reading(&options, "r"),
            joining(&options, &member),
        ] {
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn the_user_has_the_last_word_on_what_may_be_set() {
        let mut options = KafkaOptions::new(vec!["127.0.0.1:1".into()]);
        options.settings.insert("linger.ms".into(), "7".into());
        options.settings.insert("client.id".into(), "bank".into());
        let config = producing(&options, "kernel-3");
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("client.id"), Some("bank-kernel-3"));
        assert_eq!(config.get("message.timeout.ms"), Some("0"));
    }

    fn tidegate_protocol_topic() -> tidegate_protocol::address::TopicName {
        tidegate_protocol::address::TopicName::new("t").unwrap()
    }
}
