//! The configuration, checked: later code need not check again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_kernel::sources::TICKET_TTL_MS;
use tidegate_kernel::wallet::WalletBounds;
use tidegate_kernel::{DelegationBounds, KeptBounds, Routes, Source, WindowBounds};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{Capability, PoolName, SourceName};
use tidegate_protocol::topic_glob::TopicGlob;
use tidegate_scheduler::Tuning;
use tidegate_stage::Pace;

use super::keys::KeysConfig;
use super::lines::{Lines, Step};
use super::payloads::{self, Payloads};
use super::problem::{ConfigRefused, Problem};
use super::setting::Settings;
use super::written::{PoolWritten, Written};

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker.
    pub spine: SpineConfig,
    /// Begins every topic and group.
    pub prefix: String,
    /// Where jobs come from.
    pub sources: Vec<Arc<Source>>,
    /// Who runs them.
    pub pools: Vec<PoolConfig>,
    /// Folder of policy bundles.
    pub policy: PathBuf,
    /// Whether it needs a signature.
    pub require_signed_policy: bool,
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// This process's own files.
    pub data: PathBuf,
    /// Whose signatures count, and what this process signs with.
    pub keys: KeysConfig,
    /// How topics are made and checked.
    pub topics: TopicSettings,
    /// How long an allowed job may wait.
    pub tickets: Tickets,
    /// Bounds.
    pub limits: RecordLimits,
    /// How work is shared.
    pub membership: Membership,
    /// A file that checkpoints of the log of decisions are also appended to.
    pub checkpoint_file: Option<PathBuf>,
    /// Where payloads go that are too large for the log.
    pub payloads: Payloads,
    /// As it was written, for what may change while a process runs.
    pub(crate) written: Arc<Written>,
    /// Bounds and paces of shards; the usual ones unless a caller in code changes them.
    pub pace: Pace,
}

/// Which spine, and how.
#[derive(Debug, Clone)]
pub struct SpineConfig {
    /// Its URL.
    pub url: String,
    /// Settings for its client.
    pub settings: Settings,
}

/// A pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Name, capabilities, globs and buckets.
    pub route: tidegate_kernel::Pool,
    /// Shards.
    pub shards: u32,
    /// Lanes.
    pub lanes: u32,
    /// Leases, attempts, bounds.
    pub tuning: Tuning,
}

impl PoolConfig {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &PoolName {
        &self.route.name
    }

    /// Whether its shards borrow its limits from the limits stage; one shard keeps them itself.
    #[must_use]
    pub const fn borrows(&self) -> bool {
        self.shards > 1
    }
}

/// How topics are made and checked.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// Verify only.
    pub adopt: bool,
    /// Copies.
    pub replication: Option<u16>,
    /// Partitions of a source of ours.
    pub source_partitions: u32,
    /// For single sources.
    pub partitions: BTreeMap<SourceName, u32>,
    /// Of `denied`, `finished`, `dead`.
    pub shared_partitions: u32,
    /// Largest record.
    pub record_bytes: usize,
    /// Records of `denied` and `finished` carry the headers of CloudEvents.
    pub cloudevents: bool,
    /// Retention of logs, facts and lanes, milliseconds.
    pub retention: super::RetentionWritten,
}

impl TopicSettings {
    /// Partitions of a source of ours.
    #[must_use]
    pub fn partitions_of(&self, source: &SourceName) -> u32 {
        self.partitions.get(source).copied().unwrap_or(self.source_partitions)
    }
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct RecordLimits {
    /// Largest record the kernel writes.
    pub record_bytes: usize,
    /// Largest HTTP body.
    pub body_bytes: usize,
    /// Longest `wait`.
    pub wait: Duration,
    /// Bounds of the view.
    pub view_jobs: usize,
    /// Largest output in the view.
    pub view_output_bytes: usize,
    /// Window of seen ids.
    pub seen: WindowBounds,
    /// What a kernel shard keeps of limits.
    pub wallet: WalletBounds,
    /// How limits are shared out.
    pub escrow: tidegate_limits::Tuning,
    /// Jobs kept past the release of their record.
    pub kept: KeptBounds,
}

/// Tickets of allowed jobs.
#[derive(Debug, Clone, Copy)]
pub struct Tickets {
    /// How long one is valid, of a source that does not say.
    pub ttl: Duration,
    /// How far jobs may delegate.
    pub delegation: DelegationBounds,
}

impl Tickets {
    /// How long one of this source is valid.
    #[must_use]
    pub fn of(&self, source: &Source) -> Duration {
        source.ticket_ttl().unwrap_or(self.ttl)
    }
}

/// How work is shared.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Session timeout.
    pub session_timeout_ms: u32,
    /// Static membership.
    pub instance: Option<String>,
}

pub(super) struct Check<'a> {
    file: &'a str,
    lines: Lines,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, path: &[Step<'_>], reason: impl Into<String>, remedy: impl Into<String>) {
        let line = self.lines.of_path(path);
        self.problems.push(Problem::new(self.file, line, reason, remedy));
    }

    pub(super) fn within(&mut self, path: &[Step<'_>], name: &str, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.wrong(path, format!("`{name}` is {value}"), format!("write {least} to {most}"));
        }
    }

    pub(super) fn keep<T, E: std::fmt::Display>(
        &mut self,
        path: &[Step<'_>],
        remedy: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.wrong(path, error.to_string(), remedy)).ok()
    }
}

use Step::{Field, Item};

impl Config {
    pub(super) fn check(written: &Written, file: &str, text: &str) -> Result<Self, ConfigRefused> {
        let mut check = Check { file, lines: Lines::of(text), problems: Vec::new() };
        let prefix = &written.prefix;
        let usable = prefix.is_empty() || (TopicName::new(prefix).is_ok() && prefix.len() <= 100);
        if !usable {
            check.wrong(
                &[Field("prefix")],
                format!("`prefix` is `{prefix}`, with which no topic can begin"),
                "write up to 100 letters, digits, `.`, `_` and `-`, e.g. `tidegate.`",
            );
        }
        // What follows from a bad prefix is not worth telling.
        let begins = if usable { prefix } else { "" };
        let sources = sources(&mut check, written, begins);
        let pools: Vec<PoolConfig> =
            written.pools.iter().enumerate().filter_map(|(n, pool)| pool_of(&mut check, n, pool, &sources)).collect();
        let routes = Routes::new(pools.iter().map(|pool| pool.route.clone()).collect(), begins);
        check.keep(&[Field("pools")], "a pool's name is part of its topics' names", routes);
        let listen = check.keep(
            &[Field("listen")],
            "write an address and a port, e.g. `127.0.0.1:7070`",
            written.listen.parse::<SocketAddr>().map_err(|_| format!("`listen` is `{}`, no address", written.listen)),
        );
        if let Err(error) = crate::spine::check_url(&written.spine.url) {
            check.wrong(&[Field("spine"), Field("url")], error, "see `examples/tidegate.yaml`");
        }
        let keys = super::keys::checked(&mut check, written);
        let topics = topics(&mut check, written, &sources);
        numbers(&mut check, written);
        let payloads = payloads::checked(&mut check, &written.payloads, written.limits.record_bytes);
        let (Some(listen), true) = (listen, check.problems.is_empty()) else {
            check.problems.sort_by_key(|problem| problem.line);
            return Err(ConfigRefused { problems: check.problems });
        };
        let limits = &written.limits;
        Ok(Self {
            spine: SpineConfig { url: written.spine.url.clone(), settings: written.spine.settings.clone() },
            prefix: prefix.clone(),
            sources,
            pools,
            policy: written.policy.clone(),
            require_signed_policy: written.require_signed_policy,
            listen,
            data: written.data.clone(),
            keys,
            topics,
            tickets: Tickets {
                ttl: Duration::from_millis(written.tickets.ttl_ms),
                delegation: DelegationBounds { max_depth: written.tickets.max_depth },
            },
            limits: RecordLimits {
                record_bytes: limits.record_bytes,
                body_bytes: limits.body_bytes,
                wait: Duration::from_millis(limits.wait_ms),
                view_jobs: limits.view_jobs,
                view_output_bytes: limits.view_output_bytes,
                seen: WindowBounds { age: Duration::from_millis(limits.seen_ms), ids: limits.seen_ids },
                wallet: WalletBounds {
                    entries: limits.limit_keys,
                    tenant_entries: limits.tenant_limit_keys,
                    open: limits.open_spends,
                    skew: Duration::from_millis(limits.escrow.skew_ms),
                    ..WalletBounds::default()
                },
                escrow: limits.escrow.clone(),
                kept: KeptBounds { jobs: limits.kept_jobs, bytes: limits.kept_bytes },
            },
            membership: Membership {
                session_timeout_ms: written.membership.session_timeout_ms,
                instance: written.membership.instance.clone(),
            },
            checkpoint_file: written.audit.checkpoint_file.clone(),
            payloads,
            written: Arc::new(written.clone()),
            pace: Pace {
                checkpoint_every: Duration::from_millis(written.audit.checkpoint_every_ms),
                snapshot_every: limits.snapshot_ms.map(Duration::from_millis),
                ..Pace::default()
            },
        })
    }

    /// As it was written.
    #[must_use]
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Where allowed jobs go.
    ///
    /// # Errors
    /// Never for a checked configuration, unless `pools` were changed in code.
    pub fn routes(&self) -> Result<Routes, tidegate_kernel::RoutesRefused> {
        Routes::new(self.pools.iter().map(|pool| pool.route.clone()).collect(), &self.prefix)
    }
}

fn sources(check: &mut Check<'_>, written: &Written, prefix: &str) -> Vec<Arc<Source>> {
    let mut sources: Vec<Arc<Source>> = Vec::new();
    for (number, source) in written.sources.iter().enumerate() {
        let path = [Field("sources"), Item(number)];
        match source.checked() {
            Ok(checked) if sources.iter().any(|known| known.name() == checked.name()) => {
                let reason = format!("source `{}` is defined twice", checked.name());
                check.wrong(&path, reason, "give each source its own name");
            }
            Ok(checked) => {
                check.keep(&path, "choose a shorter name or prefix", checked.topic(prefix));
                sources.push(Arc::new(checked));
            }
            Err(refused) => {
                let field = refused.field.trim_matches('`').split('.').next().unwrap_or_default().to_owned();
                let (reason, remedy) = (
                    format!("source `{}`: {}: {}", refused.source_name, refused.field, refused.problem),
                    refused.remedy,
                );
                check.wrong(&[Field("sources"), Item(number), Field(&field)], reason, remedy);
            }
        }
    }
    if written.sources.is_empty() {
        check.wrong(&[Field("sources")], "there is no source, so no job could come in", "name at least one");
    }
    sources
}

fn pool_of(check: &mut Check<'_>, number: usize, written: &PoolWritten, sources: &[Arc<Source>]) -> Option<PoolConfig> {
    let at = |field| [Field("pools"), Item(number), Field(field)];
    let name =
        check.keep(&at("name"), "choose another name; it becomes part of topic names", PoolName::new(&written.name));
    let mut capabilities = BTreeSet::new();
    for capability in &written.capabilities {
        capabilities.extend(check.keep(&at("capabilities"), "correct it", Capability::new(capability)));
    }
    if written.capabilities.is_empty() {
        let reason = format!("pool `{}` has no capability, so no job could go there", written.name);
        check.wrong(&at("name"), reason, "list its workers' capabilities, or write `[\"*\"]`");
    }
    let mut topics = Vec::new();
    for glob in &written.topics {
        let remedy = "write dotted segments, `*` for one of them, `>` as the last for all that follow";
        topics.extend(check.keep(&at("topics"), remedy, TopicGlob::new(glob)));
    }
    let name = name?;
    if sources.iter().any(|source| source.name().as_str() == name.as_str()) {
        let reason = format!("pool `{name}` has the name of a source, and both have a topic `commands.{name}`");
        check.wrong(&at("name"), reason, "give one of them another name");
    }
    let layout = tidegate_scheduler::Layout {
        prefix: String::new(),
        pool: name.clone(),
        shards: written.shards,
        buckets: written.buckets,
        lanes: written.lanes,
        finished_partitions: 1,
        dead_partitions: 1,
        sources: BTreeMap::new(),
        lending: tidegate_scheduler::Lending::default(),
    };
    let anything = capabilities.iter().any(|capability| capability.as_str() == "*");
    for limited in written.scheduling.capabilities.keys() {
        let path = [Field("pools"), Item(number), Field("scheduling"), Field("capabilities"), Field(limited.as_str())];
        if limited.as_str() == "*" {
            let reason = format!("pool `{name}` limits capability `*`, which no job needs by that name");
            check.wrong(&path, reason, "name each capability that is limited; to limit all jobs, limit tenants under `scheduling.other_tenants`");
        } else if !anything && !capabilities.contains(limited) {
            let reason = format!("pool `{name}` limits capability `{limited}`, which its workers do not have");
            check.wrong(&path, reason, "correct the name, or list it under the pool's `capabilities`");
        }
    }
    check.keep(
        &[Field("pools"), Item(number)],
        "correct the number",
        tidegate_scheduler::Pool::new(layout, &written.scheduling),
    )?;
    let (buckets, tenant_buckets) = (written.buckets, written.tenant_buckets.min(written.buckets));
    Some(PoolConfig {
        route: tidegate_kernel::Pool {
            name,
            capabilities,
            topics,
            buckets,
            tenant_buckets,
            shards: written.shards,
            draining: written.draining,
        },
        shards: written.shards,
        lanes: written.lanes,
        tuning: written.scheduling.clone(),
    })
}

fn topics(check: &mut Check<'_>, written: &Written, sources: &[Arc<Source>]) -> TopicSettings {
    let topics = &written.topics;
    let mut partitions = BTreeMap::new();
    for (source, number) in &topics.partitions {
        let path = [Field("topics"), Field("partitions"), Field(source)];
        check.within(&path, &format!("topics.partitions.{source}"), (*number).into(), 1, 10_000);
        match sources.iter().find(|known| known.name().as_str() == source) {
            Some(known) if known.adopted() => {
                let reason = format!("`topics.partitions` names `{source}`, whose topic is not ours");
                check.wrong(&path, reason, "remove it: an adopted topic has the partitions it has");
            }
            Some(known) => {
                partitions.insert(known.name().clone(), *number);
            }
            None => check.wrong(&path, format!("`topics.partitions` names no source: `{source}`"), "correct the name"),
        }
    }
    TopicSettings {
        adopt: topics.adopt,
        replication: topics.replication,
        source_partitions: topics.source_partitions,
        partitions,
        shared_partitions: topics.shared_partitions,
        record_bytes: topics.record_bytes,
        cloudevents: topics.cloudevents,
        retention: topics.retention,
    }
}

fn numbers(check: &mut Check<'_>, written: &Written) {
    let Written { topics, tickets, limits, membership, .. } = written;
    let many = u64::MAX;
    let wide = |n: usize| u64::try_from(n).unwrap_or(many);
    let table: [(&str, &str, u64, u64, u64); 19] = [
        ("topics", "source_partitions", topics.source_partitions.into(), 1, 10_000),
        ("topics", "shared_partitions", topics.shared_partitions.into(), 1, 10_000),
        ("topics", "replication", topics.replication.unwrap_or(1).into(), 1, 100),
        ("topics", "record_bytes", wide(topics.record_bytes), 256 << 10, 1 << 30),
        ("tickets", "ttl_ms", tickets.ttl_ms, *TICKET_TTL_MS.start(), *TICKET_TTL_MS.end()),
        ("tickets", "max_depth", tickets.max_depth.into(), 0, tidegate_protocol::delegation::MAX_DEPTH.into()),
        (
            "limits",
            "record_bytes",
            wide(limits.record_bytes),
            wide(tidegate_kernel::LEAST_RECORD_BYTES),
            wide(topics.record_bytes),
        ),
        ("limits", "body_bytes", wide(limits.body_bytes), 1_024, 1 << 30),
        ("limits", "wait_ms", limits.wait_ms, 0, 3_600_000),
        ("limits", "view_jobs", wide(limits.view_jobs), 1, 100_000_000),
        ("limits", "seen_ids", wide(limits.seen_ids), 1, 100_000_000),
        ("limits", "snapshot_ms", limits.snapshot_ms.unwrap_or(1_000), 100, 86_400_000),
        ("limits", "kept_jobs", wide(limits.kept_jobs), 1, 1_000_000),
        ("limits", "limit_keys", wide(limits.limit_keys), 1, 100_000_000),
        ("limits", "tenant_limit_keys", wide(limits.tenant_limit_keys), 1, 100_000_000),
        ("limits", "open_spends", wide(limits.open_spends), 1, 100_000_000),
        ("limits", "kept_bytes", wide(limits.kept_bytes), 256 << 10, 256 << 20),
        ("membership", "session_timeout_ms", membership.session_timeout_ms.into(), 100, 300_000),
        ("audit", "checkpoint_every_ms", written.audit.checkpoint_every_ms, 1, 3_600_000),
    ];
    for (section, field, value, least, most) in table {
        check.within(&[Field(section), Field(field)], &format!("{section}.{field}"), value, least, most);
    }
    check.keep(&[Field("limits"), Field("escrow")], "correct the number", limits.escrow.check());
    for (field, value) in [
        ("log_ms", topics.retention.log_ms),
        ("facts_ms", topics.retention.facts_ms),
        ("short_ms", topics.retention.short_ms),
    ] {
        if let Some(value) = value {
            let path = [Field("topics"), Field("retention"), Field(field)];
            check.within(&path, &format!("topics.retention.{field}"), value, 60_000, many);
        }
    }
}
