//! `KafkaTopic` resources for Strimzi's topic operator.

use std::fmt::Write;

use super::Row;

pub(super) fn resources(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "# Set CLUSTER to the name of the Kafka resource: CLUSTER=kafka envsubst < this | kubectl apply -f -\n",
    );
    for row in rows {
        let replicas = row.replication.map_or_else(String::new, |n| format!("  replicas: {n}\n"));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "---\napiVersion: kafka.strimzi.io/v1beta2\nkind: KafkaTopic\nmetadata:\n  name: {}\n  labels:\n    \
             strimzi.io/cluster: ${{CLUSTER}}\nspec:\n  topicName: {}\n  partitions: {}\n{replicas}  config:\n",
            resource_name(row.topic),
            row.topic,
            row.partitions,
        );
        for (name, value) in row.settings() {
            // Quoted: a number of YAML may lose digits on its way.
            let _ = writeln!(out, "    {name}: \"{value}\"");
        }
    }
    out
}

/// A topic's name as the name of a Kubernetes resource: small letters, digits, `.` and `-`. One that had to be changed
/// ends in a hash of the topic's, so that no two become the same.
fn resource_name(topic: &str) -> String {
    let plain: String = topic
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let trimmed = plain.trim_matches(['.', '-']);
    if trimmed == topic {
        return plain;
    }
    format!("{trimmed}-{:08x}", tidegate_protocol::topics::partition_of(topic.as_bytes(), u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_name_becomes_that_of_a_resource_and_stays_its_own() {
        assert_eq!(resource_name("tidegate.jobs.raw"), "tidegate.jobs.raw");
        let (one, other) = (resource_name("Jobs_Raw"), resource_name("jobs-raw_"));
        assert!(one.starts_with("jobs-raw-") && other.starts_with("jobs-raw-") && one != other, "{one} {other}");
    }
}
