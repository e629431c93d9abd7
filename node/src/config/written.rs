//! The file as it is written. Every field has a default; `tidegate config show` prints them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_kernel::sources::{FormatWritten, ParentTickets, SourceLimitsWritten, TenantsWritten};
use tidegate_kernel::{DEFAULT_TICKET_TTL, DelegationBounds, SourceWritten};
use tidegate_scheduler::Tuning;

use super::payloads::PayloadsWritten;
use super::setting::Settings;

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// The broker.
    pub spine: SpineWritten,
    /// Begins the name of every topic and group, its own dot included.
    pub prefix: String,
    /// Where jobs come from.
    pub sources: Vec<SourceWritten>,
    /// Who runs them, in the order in which they are asked.
    pub pools: Vec<PoolWritten>,
    /// Folder of policy bundles (`*.yaml`), read again when a file changes.
    pub policy: PathBuf,
    /// Whether the folder needs a signature by a key that is trusted for the role `policy`.
    pub require_signed_policy: bool,
    /// Address of the HTTP API, metrics and health.
    pub listen: String,
    /// Folder of this process's own files: the HTTP key, the spine of `tidegate dev`.
    pub data: PathBuf,
    /// Whose signatures count, and what this process signs with.
    pub keys: KeysWritten,
    /// How topics are made and checked.
    pub topics: TopicsWritten,
    /// How long an allowed job may wait.
    pub tickets: TicketsWritten,
    /// Bounds.
    pub limits: LimitsWritten,
    /// How processes of a role share the work.
    pub membership: MembershipWritten,
    /// What is said of the log of decisions beside it.
    pub audit: AuditWritten,
    /// Where payloads go that are too large for the log.
    pub payloads: PayloadsWritten,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            spine: SpineWritten::default(),
            prefix: "tidegate.".into(),
            sources: vec![default_source()],
            pools: vec![PoolWritten::default()],
            policy: "policy".into(),
            require_signed_policy: false,
            listen: "127.0.0.1:7070".into(),
            data: ".tidegate".into(),
            keys: KeysWritten::default(),
            topics: TopicsWritten::default(),
            tickets: TicketsWritten::default(),
            limits: LimitsWritten::default(),
            membership: MembershipWritten::default(),
            audit: AuditWritten::default(),
            payloads: PayloadsWritten::default(),
        }
    }
}

fn default_source() -> SourceWritten {
    SourceWritten {
        name: "jobs.raw".into(),
        topic: None,
        format: FormatWritten::default(),
        mapping: None,
        tenants: TenantsWritten::Any,
        observe: false,
        parent_ticket: ParentTickets::Accepted,
        ticket_ttl_ms: None,
        limits: SourceLimitsWritten::default(),
    }
}

/// `spine:`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpineWritten {
    /// `embedded:FOLDER` or `kafka://host:port,…`.
    pub url: String,
    /// Settings for the broker's client: values, `{file: PATH}` or `{env: NAME}`.
    pub settings: Settings,
}

impl Default for SpineWritten {
    fn default() -> Self {
        Self { url: "embedded:.tidegate/spine".into(), settings: Settings::default() }
    }
}

/// One entry of `pools:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolWritten {
    /// Its name; part of topic names.
    pub name: String,
    /// What its workers can do; `*` means everything (consumers of one's own).
    pub capabilities: Vec<String>,
    /// Job topics it takes, as dotted globs; none means all.
    pub topics: Vec<String>,
    /// Schedulers that share it; fixed for its life.
    pub shards: u32,
    /// Partitions of `approved.<pool>`; fixed for its life.
    pub buckets: u32,
    /// How many of them one tenant has; fixed for its life.
    pub tenant_buckets: u32,
    /// Partitions of `work.<pool>`: at least as many as worker processes.
    pub lanes: u32,
    /// It takes no further job; what it has goes on. What comes before a pool is taken out.
    pub draining: bool,
    /// Leases, attempts, bounds.
    pub scheduling: Tuning,
}

impl Default for PoolWritten {
    fn default() -> Self {
        Self {
            name: "default".into(),
            capabilities: vec!["*".into()],
            topics: Vec::new(),
            shards: 1,
            buckets: 4,
            tenant_buckets: 4,
            lanes: 16,
            draining: false,
            scheduling: Tuning::default(),
        }
    }
}

/// `keys:`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysWritten {
    /// What stages of this process sign with.
    pub signing: Option<SigningWritten>,
    /// Whose signatures count; the signing key need not be listed for this process itself.
    pub trusted: Vec<TrustedWritten>,
    /// Who may pull jobs over HTTP.
    pub workers: Vec<WorkerKeyWritten>,
}

/// One entry of `keys.workers:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerKeyWritten {
    /// The key's name in logs and in its workers' ids.
    pub id: String,
    /// SHA-256 of the key, 64 hex digits.
    pub sha256: String,
    /// The tenants whose jobs it sees; `null` for all.
    pub tenants: Option<Vec<String>>,
    /// The pools it pulls from; `null` for all.
    pub pools: Option<Vec<String>>,
    /// What its workers may offer; `null` for anything.
    pub capabilities: Option<Vec<String>>,
    /// The labels its workers may say they have, with the values; `null` for any.
    pub labels: Option<BTreeMap<String, Vec<String>>>,
    /// What its workers' surroundings enforce.
    pub enforces: Vec<String>,
    /// Most jobs its workers have at once.
    pub max_leases: usize,
    /// It counts for nothing after this; milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

impl Default for WorkerKeyWritten {
    fn default() -> Self {
        Self {
            id: String::new(),
            sha256: String::new(),
            tenants: None,
            pools: None,
            capabilities: None,
            labels: None,
            enforces: Vec::new(),
            max_leases: 1_000,
            until_ms: None,
        }
    }
}

/// `keys.signing:`, with exactly one of `file` and `env`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningWritten {
    /// The key's name in records.
    pub id: String,
    /// File that holds the secret; its owner alone may read it.
    pub file: Option<PathBuf>,
    /// Environment variable that holds the secret.
    pub env: Option<String>,
}

/// One entry of `keys.trusted:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustedWritten {
    /// The key's name in records.
    pub id: String,
    /// 64 hex digits.
    pub public: String,
    /// Whose it is, where that is not its id: somebody with several keys approves once.
    pub person: Option<String>,
    /// `stage`, `stage:kernel`, …, `approver`, `approver:finance`, …, `submitter`, `worker`, `operator`.
    pub roles: Vec<String>,
    /// For which tenants it approves or submits; `null` for all.
    pub tenants: Option<Vec<String>>,
    /// Nothing signed after this counts; milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

/// `topics:`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsWritten {
    /// Topics are made by somebody else: they are verified and never created or altered.
    pub adopt: bool,
    /// Copies of each partition; the broker's default when left out.
    pub replication: Option<u16>,
    /// Partitions of a source of ours (an adopted topic has what it has).
    pub source_partitions: u32,
    /// The same for single sources, by name.
    pub partitions: BTreeMap<String, u32>,
    /// Partitions of `denied`, `finished` and `dead`.
    pub shared_partitions: u32,
    /// Largest record, bytes of key, value and headers.
    pub record_bytes: usize,
    /// Records of `denied` and `finished` carry the headers of CloudEvents too.
    pub cloudevents: bool,
    /// How long records are kept.
    pub retention: RetentionWritten,
}

impl Default for TopicsWritten {
    fn default() -> Self {
        Self {
            adopt: false,
            replication: None,
            source_partitions: 4,
            partitions: BTreeMap::new(),
            shared_partitions: 4,
            record_bytes: 1_048_588,
            cloudevents: false,
            retention: RetentionWritten::default(),
        }
    }
}

/// `tickets:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketsWritten {
    /// An allowed job that waits longer than this for a worker is judged again before it may run, unless its source says
    /// otherwise (`ticket_ttl_ms`); milliseconds. It is also how long a job may spawn others.
    pub ttl_ms: u64,
    /// Jobs a chain of delegations may have above a job; 0 for no delegation.
    pub max_depth: u32,
}

impl Default for TicketsWritten {
    fn default() -> Self {
        Self {
            ttl_ms: u64::try_from(DEFAULT_TICKET_TTL.as_millis()).unwrap_or(u64::MAX),
            max_depth: DelegationBounds::default().max_depth,
        }
    }
}

/// `topics.retention:` in milliseconds; `null` keeps for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionWritten {
    /// `denied`, `finished`, `dead`, `reports`, `commands`, `outcomes`.
    pub log_ms: Option<u64>,
    /// `decisions` and `leases`.
    pub facts_ms: Option<u64>,
    /// `work`.
    pub short_ms: Option<u64>,
}

impl Default for RetentionWritten {
    fn default() -> Self {
        const DAY: u64 = 86_400_000;
        Self { log_ms: Some(7 * DAY), facts_ms: Some(365 * DAY), short_ms: Some(3_600_000) }
    }
}

/// `limits:`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsWritten {
    /// Largest record the kernel writes, bytes; below `topics.record_bytes`.
    pub record_bytes: usize,
    /// Largest HTTP body, bytes.
    pub body_bytes: usize,
    /// Longest `wait` of an HTTP request, milliseconds.
    pub wait_ms: u64,
    /// Jobs in the gateway's view.
    pub view_jobs: usize,
    /// Largest output kept in the view, bytes.
    pub view_output_bytes: usize,
    /// How long a job id counts as seen, milliseconds.
    pub seen_ms: u64,
    /// How many job ids count as seen, a shard.
    pub seen_ids: usize,
    /// Time after which a shard that has any new facts writes its state, milliseconds; without it their number alone counts.
    pub snapshot_ms: Option<u64>,
    /// How many jobs wait for approval, and how many for limits and throttles, a shard.
    pub kept_jobs: usize,
    /// Bytes of their records, a shard and kind.
    pub kept_bytes: usize,
    /// Keys of limits (of policy) a kernel shard may have something of.
    pub limit_keys: usize,
    /// The same of one tenant.
    pub tenant_limit_keys: usize,
    /// Jobs that took of limits and whose end a kernel shard waits for.
    pub open_spends: usize,
    /// How limits (of policy) are shared out to kernel shards.
    pub escrow: tidegate_limits::Tuning,
}

impl Default for LimitsWritten {
    fn default() -> Self {
        Self {
            record_bytes: 1_000_000,
            body_bytes: 32 << 20,
            wait_ms: 60_000,
            view_jobs: 200_000,
            view_output_bytes: 8 << 10,
            seen_ms: 600_000,
            seen_ids: 200_000,
            snapshot_ms: None,
            kept_jobs: 10_000,
            kept_bytes: 16 << 20,
            limit_keys: 200_000,
            tenant_limit_keys: 50_000,
            open_spends: 200_000,
            escrow: tidegate_limits::Tuning::default(),
        }
    }
}

/// `membership:`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MembershipWritten {
    /// Silence after which a process's shards go to others, milliseconds.
    pub session_timeout_ms: u32,
    /// A stable name of this process (static membership), or none.
    pub instance: Option<String>,
}

impl Default for MembershipWritten {
    fn default() -> Self {
        Self { session_timeout_ms: 6_000, instance: None }
    }
}

/// `audit:`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditWritten {
    /// Shortest time between two checkpoints of a log of decisions, milliseconds.
    pub checkpoint_every_ms: u64,
    /// A file that checkpoints are also appended to, synced; best where whoever holds the broker cannot write.
    pub checkpoint_file: Option<PathBuf>,
}

impl Default for AuditWritten {
    fn default() -> Self {
        Self { checkpoint_every_ms: 5_000, checkpoint_file: None }
    }
}
