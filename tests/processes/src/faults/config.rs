//! The configuration of a run's processes, written once: runs differ in their pools alone, and in how often shards write their state.

use std::time::Duration;

use super::load::PARTITIONS;
use crate::broker::Broker;
use crate::home::{Home, KEYS};

/// Silence after which a process's shards go to others: the least that a broker allows unless told otherwise.
pub(super) const SESSION: Duration = Duration::from_secs(6);
/// Most job ids that count as seen, a kernel's shard, where a run does not say otherwise.
pub(super) const SEEN: u32 = 200_000;

/// What runs differ in.
pub(super) struct Config<'a> {
    pub(super) broker: &'a Broker,
    pub(super) prefix: &'a str,
    /// Each as [`pool`] writes it.
    pub(super) pools: Vec<String>,
    /// A shard with new facts writes its state after so long: often enough that replay can be judged by many snapshots.
    pub(super) snapshots: Duration,
    /// Most job ids that count as seen, a kernel's shard.
    pub(super) seen: u32,
}

/// A pool of so many shards, and what its `scheduling` says (`lease_ms: 6000, …`).
pub(super) fn pool(name: &str, capabilities: &[&str], shards: usize, scheduling: &str) -> String {
    let capabilities = capabilities.join(", ");
    format!(
        "{{ name: {name}, capabilities: [{capabilities}], lanes: 8, shards: {shards}, scheduling: {{ {scheduling} }} }}"
    )
}

impl Config<'_> {
    /// Of the process `name`, which listens on `port`, into the file that it returns.
    pub(super) fn write(&self, home: &Home, name: &str, port: u16) -> anyhow::Result<String> {
        let pools: String = self.pools.iter().map(|pool| format!("  - {pool}\n")).collect();
        let text = format!(
            "\
spine: {{ url: \"{url}\" }}
prefix: \"{prefix}\"
sources:
  - {{ name: jobs.raw, tenants: any }}
pools:
{pools}policy: policy
listen: 127.0.0.1:{port}
data: data-{name}
topics: {{ source_partitions: {PARTITIONS} }}
limits: {{ seen_ids: {seen}, snapshot_ms: {snapshots} }}
membership: {{ session_timeout_ms: {session} }}
{KEYS}",
            url = self.broker.url(),
            prefix = self.prefix,
            seen = self.seen,
            snapshots = self.snapshots.as_millis(),
            session = SESSION.as_millis(),
        );
        let file = format!("{name}.yaml");
        home.write(&file, &text)?;
        Ok(file)
    }
}

/// Makes the topics that a configuration file asks for.
pub(super) fn make_topics(home: &Home, file: &str) -> anyhow::Result<()> {
    let made = home.run(&["topics", "apply", "--config", file])?;
    anyhow::ensure!(made.code == Some(0), "`topics apply` ended with {:?}:\n{}{}", made.code, made.out, made.err);
    Ok(())
}
