//! The topics for other tools to make, all from the one table.
//!
//! What a reader is to replace stands as `${NAME}`, so that `envsubst` or a shell fills it in.

mod acls;
mod kafka_topics;
mod strimzi;
mod terraform;

use std::fmt::Write;

use serde::Serialize;
use tidegate_spine::Cleanup;

use super::wanted::Wanted;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// A table for people.
    Text,
    /// A JSON array.
    Json,
    /// A shell script of `kafka-topics.sh` commands.
    KafkaTopics,
    /// `KafkaTopic` resources for Strimzi's operator on Kubernetes.
    Strimzi,
    /// `kafka_topic` resources for Terraform.
    Terraform,
    /// A shell script of `kafka-acls.sh` commands: what each role must be allowed to.
    Acls,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partitions: u32,
    partition_by: &'static str,
    cleanup: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_ms: Option<u64>,
    max_record_bytes: usize,
    timestamps: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<u16>,
    stages_only: bool,
    writers: &'static str,
    readers: &'static str,
}

/// All wanted topics in that form; `prefix` begins the names of groups, as of topics. Adopted topics are left out: they exist.
#[must_use]
pub fn export(prefix: &str, wanted: &[Wanted], form: Export) -> String {
    let rows: Vec<Row<'_>> = wanted.iter().filter(|wanted| !wanted.foreign).map(row).collect();
    match form {
        Export::Text => text(&rows),
        // Strings and numbers always have a JSON text.
        Export::Json => serde_json::to_string_pretty(&rows).unwrap_or_default(),
        Export::KafkaTopics => kafka_topics::script(&rows),
        Export::Strimzi => strimzi::resources(&rows),
        Export::Terraform => terraform::resources(&rows),
        Export::Acls => acls::script(prefix, wanted),
    }
}

fn row(wanted: &Wanted) -> Row<'_> {
    let (table, spec) = (wanted.topic.row(), &wanted.spec);
    let (cleanup, retention_ms) = match spec.cleanup {
        Cleanup::Log { retention_ms } => ("delete", retention_ms),
        Cleanup::Keyed => ("compact", None),
    };
    Row {
        topic: spec.name.as_str(),
        partitions: spec.partitions,
        partition_by: table.partition_by,
        cleanup,
        retention_ms,
        max_record_bytes: spec.max_record_bytes,
        timestamps: if spec.broker_time { "broker" } else { "producer" },
        replication: spec.replication,
        stages_only: table.sealed,
        writers: table.writers,
        readers: table.readers,
    }
}

fn text(rows: &[Row<'_>]) -> String {
    let widest = rows.iter().map(|row| row.topic.len()).max().unwrap_or(0);
    let mut out = format!("{:widest$}  partitions  cleanup  retention_ms  written by -> read by\n", "topic");
    for row in rows {
        let keep = row.retention_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:widest$}  {:10}  {:7}  {keep:>12}  {} -> {}",
            row.topic, row.partitions, row.cleanup, row.writers, row.readers
        );
    }
    out
}

impl Row<'_> {
    /// The topic's settings by Kafka's names.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("cleanup.policy", self.cleanup.to_owned())];
        if self.cleanup == "delete" {
            all.push(("retention.ms", self.retention_ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string())));
            // Whatever the broker's default is: by size records would go unread.
            all.push(("retention.bytes", "-1".to_owned()));
        }
        all.push(("max.message.bytes", tidegate_kafka::batch_limit(self.max_record_bytes).to_string()));
        let stamped = if self.timestamps == "broker" { "LogAppendTime" } else { "CreateTime" };
        all.push(("message.timestamp.type", stamped.to_owned()));
        all
    }
}

#[cfg(test)]
mod tests;
