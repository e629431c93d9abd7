//! The one table of topics, rendered into docs, plans and exports.

use crate::address::{BadTopicName, TopicName};
use crate::ids::{PoolName, SourceName};

/// How records of a topic go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Log without time retention: holds backlog, its reader trims it.
    Backlog,
    /// Log kept for the configured time.
    Log,
    /// Facts log: kept long.
    Facts,
    /// Log kept for minutes (lanes).
    Short,
    /// Latest record per key.
    Keyed,
}

/// A kind of topic; see [`TABLE`] for what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Raw jobs of a source that is ours; an adopted source names its own topic.
    Raw(SourceName),
    /// Kernel facts of a source.
    Decisions(SourceName),
    /// Commands to the kernel of a source.
    Commands(SourceName),
    /// Outcomes told to the kernel of a source.
    Outcomes(SourceName),
    /// Answers of the limits stage to the kernels of a source.
    Grants(SourceName),
    /// Allowed jobs of a pool.
    Approved(PoolName),
    /// Released jobs of a pool that are called off, ahead of whatever stands in `approved.<pool>`.
    Withdrawals(PoolName),
    /// Denied jobs.
    Denied,
    /// Jobs that wait for people.
    Held,
    /// Scheduler's messages to workers.
    Work(PoolName),
    /// Workers' reports.
    Reports(PoolName),
    /// Scheduler facts of a pool.
    Leases(PoolName),
    /// Operators' commands to a pool.
    PoolCommands(PoolName),
    /// Answers of the limits stage to the schedulers of a pool; a pool of one shard has none.
    PoolGrants(PoolName),
    /// Waiting jobs moved out of the way.
    Overflow(PoolName),
    /// Kernels' and schedulers' requests to the limits stage.
    LimitRequests,
    /// Facts of the limits stage.
    LimitFacts,
    /// One record per ended job.
    Finished,
    /// What could not be handled.
    Dead,
    /// Snapshots of all stages.
    Snapshots,
    /// Terms of facts logs.
    Shards,
    /// Signed checkpoints of the logs of decisions.
    AuditCheckpoints,
}

/// A row of the topic table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Name with its parameter, without prefix.
    pub name: &'static str,
    /// What partitions it.
    pub partition_by: &'static str,
    /// Cleanup.
    pub kind: Kind,
    /// Whether stages alone may write it: fences are honoured there.
    pub sealed: bool,
    /// Who writes.
    pub writers: &'static str,
    /// Who reads.
    pub readers: &'static str,
}

macro_rules! row {
    ($name:literal, $by:literal, $kind:ident, $sealed:literal, $writers:literal, $readers:literal) => {
        Row { name: $name, partition_by: $by, kind: Kind::$kind, sealed: $sealed, writers: $writers, readers: $readers }
    };
}

/// The table (DESIGN section 3), in the order of [`Topic`]'s variants.
pub const TABLE: [Row; 22] = [
    row!("<source>", "producer's key", Backlog, false, "anyone allowed", "kernel"),
    row!("decisions.<source>", "source partition", Facts, true, "kernel", "kernel, gateway, audit"),
    row!("commands.<source>", "source partition", Log, false, "gateway, cli", "kernel"),
    row!("outcomes.<source>", "source partition", Log, true, "scheduler", "kernel"),
    row!("grants.<source>", "source partition", Log, true, "limits", "kernel"),
    row!("approved.<pool>", "tenant bucket", Backlog, true, "kernel", "scheduler"),
    row!("withdrawals.<pool>", "pool shard", Log, true, "kernel", "scheduler"),
    row!("denied", "job id", Log, false, "kernel", "submitters, gateway"),
    row!("held", "source position", Keyed, false, "kernel", "gateway, people"),
    row!("work.<pool>", "lane", Short, false, "scheduler", "workers of the pool"),
    row!("reports.<pool>", "pool shard", Log, false, "workers", "scheduler, gateway"),
    row!("leases.<pool>", "pool shard", Facts, true, "scheduler", "scheduler, gateway"),
    row!("commands.<pool>", "pool shard", Log, false, "gateway, cli", "scheduler"),
    row!("grants.<pool>", "pool shard", Log, true, "limits", "scheduler"),
    row!("overflow.<pool>", "tenant bucket", Backlog, true, "scheduler", "scheduler"),
    row!("limits.requests", "limit key", Log, true, "kernel, scheduler", "limits"),
    row!("limits.facts", "limits shard", Facts, true, "limits", "limits, gateway"),
    row!("finished", "run id, else job id", Log, true, "scheduler, kernel", "workflows, gateway, submitters"),
    row!("dead", "job id or record id", Log, false, "all stages", "operators"),
    row!("snapshots", "stage, shard, epoch, chunk", Keyed, true, "all stages", "all stages"),
    row!("shards", "stage/shard", Keyed, true, "topics apply, cli", "all stages"),
    row!("audit.checkpoints", "source", Facts, true, "kernel", "audit"),
];

impl Topic {
    /// Its row in [`TABLE`].
    #[must_use]
    pub const fn row(&self) -> &'static Row {
        let [
            raw,
            decisions,
            commands,
            outcomes,
            grants,
            approved,
            withdrawals,
            denied,
            held,
            work,
            reports,
            leases,
            pool_commands,
            pool_grants,
            overflow,
            limit_requests,
            limit_facts,
            finished,
            dead,
            snapshots,
            shards,
            audit_checkpoints,
        ] = &TABLE;
        match self {
            Self::Raw(_) => raw,
            Self::Decisions(_) => decisions,
            Self::Commands(_) => commands,
            Self::Outcomes(_) => outcomes,
            Self::Grants(_) => grants,
            Self::Approved(_) => approved,
            Self::Withdrawals(_) => withdrawals,
            Self::Denied => denied,
            Self::Held => held,
            Self::Work(_) => work,
            Self::Reports(_) => reports,
            Self::Leases(_) => leases,
            Self::PoolCommands(_) => pool_commands,
            Self::PoolGrants(_) => pool_grants,
            Self::Overflow(_) => overflow,
            Self::LimitRequests => limit_requests,
            Self::LimitFacts => limit_facts,
            Self::Finished => finished,
            Self::Dead => dead,
            Self::Snapshots => snapshots,
            Self::Shards => shards,
            Self::AuditCheckpoints => audit_checkpoints,
        }
    }

    /// The broker's name of it under `prefix` (which brings its own dot, e.g. `tidegate.`).
    ///
    /// # Errors
    /// [`BadTopicName`] when prefix and name together are no topic name.
    pub fn name(&self, prefix: &str) -> Result<TopicName, BadTopicName> {
        let name = match self {
            Self::Raw(source) => format!("{prefix}{source}"),
            Self::Decisions(source) => format!("{prefix}decisions.{source}"),
            Self::Commands(source) => format!("{prefix}commands.{source}"),
            Self::Outcomes(source) => format!("{prefix}outcomes.{source}"),
            Self::Grants(source) => format!("{prefix}grants.{source}"),
            Self::Approved(pool) => format!("{prefix}approved.{pool}"),
            Self::Withdrawals(pool) => format!("{prefix}withdrawals.{pool}"),
            Self::Denied => format!("{prefix}denied"),
            Self::Held => format!("{prefix}held"),
            Self::Work(pool) => format!("{prefix}work.{pool}"),
            Self::Reports(pool) => format!("{prefix}reports.{pool}"),
            Self::Leases(pool) => format!("{prefix}leases.{pool}"),
            Self::PoolCommands(pool) => format!("{prefix}commands.{pool}"),
            Self::PoolGrants(pool) => format!("{prefix}grants.{pool}"),
            Self::Overflow(pool) => format!("{prefix}overflow.{pool}"),
            Self::LimitRequests => format!("{prefix}limits.requests"),
            Self::LimitFacts => format!("{prefix}limits.facts"),
            Self::Finished => format!("{prefix}finished"),
            Self::Dead => format!("{prefix}dead"),
            Self::Snapshots => format!("{prefix}snapshots"),
            Self::Shards => format!("{prefix}shards"),
            Self::AuditCheckpoints => format!("{prefix}audit.checkpoints"),
        };
        TopicName::new(name)
    }
}

/// The partition a key goes to: FNV-1a 64, its bits mixed by MurmurHash3's finalizer (the low bits of FNV alone depend
/// only on the low bits of each byte, so short names would cluster), modulo the number of partitions (at least 1).
/// Fixed for ever: writers and readers compute it.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    u32::try_from((hash ^ (hash >> 33)) % u64::from(partitions.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn short_names_spread_over_partitions() {
        let mut counts = [0; 4];
        for n in 0..400 {
            counts[super::partition_of(format!("t{n}").as_bytes(), 4) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (70..130).contains(c)), "{counts:?}");
    }
}
