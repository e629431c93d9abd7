//! What a kernel is made from: its source, its routes, its topics, its bounds.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::address::{BadTopicName, TopicName};
use tidegate_protocol::command::People;
use tidegate_protocol::ids::{BadName, SenderId};
use tidegate_protocol::signature::Trust;
use tidegate_protocol::topics::Topic;
use tidegate_stage::{InputKind, InputSpec, Pace, ShardSpec, Writers};

use crate::delegation::DelegationBounds;
use crate::identity::WindowBounds;
use crate::kept::KeptBounds;
use crate::routes::Routes;
use crate::sources::Source;
use crate::wallet::WalletBounds;

/// Number of the input that jobs come from: the source's partition.
pub const INPUT_JOBS: u32 = 0;
/// Number of the input that commands come from: the same partition of `commands.<source>`.
pub const INPUT_COMMANDS: u32 = 1;
/// Number of the input that outcomes come from: the same partition of `outcomes.<source>`.
pub const INPUT_OUTCOMES: u32 = 2;

/// Number of the input that answers of the limits stage come from: the same partition of `grants.<source>`.
pub const INPUT_GRANTS: u32 = 3;

/// Least `max_record_bytes`: below it a fact of largest allowed attributes might not fit.
pub const LEAST_RECORD_BYTES: usize = 128 << 10;

/// Partitions of the topics that all kernels share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Of `denied`.
    pub denied: u32,
    /// Of `held`.
    pub held: u32,
    /// Of `finished`.
    pub finished: u32,
    /// Of `dead`.
    pub dead: u32,
    /// Of `limits.requests`.
    pub limits: u32,
}

/// The topics of the kernels of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTopics {
    /// Where its records stand.
    pub source: TopicName,
    /// Facts.
    pub decisions: TopicName,
    /// Commands.
    pub commands: TopicName,
    /// Outcomes.
    pub outcomes: TopicName,
    /// Answers of the limits stage.
    pub grants: TopicName,
    /// Requests to the limits stage.
    pub limit_requests: TopicName,
    /// Denied jobs.
    pub denied: TopicName,
    /// Jobs that wait for people.
    pub held: TopicName,
    /// Ended jobs.
    pub finished: TopicName,
    /// What could not be handled.
    pub dead: TopicName,
    /// Snapshots.
    pub snapshots: TopicName,
    /// Terms.
    pub shards: TopicName,
    /// Checkpoints of its facts.
    pub checkpoints: TopicName,
    /// Partitions of the shared ones.
    pub partitions: PartitionCounts,
    /// Records of `denied` and `finished` carry the headers of CloudEvents ([`tidegate_protocol::cloudevents`]).
    pub cloudevents: bool,
}

impl KernelTopics {
    /// The names under `prefix` (which brings its own dot, e.g. `tidegate.`).
    ///
    /// # Errors
    /// [`BadTopicName`] for the first that no broker would take.
    pub fn new(prefix: &str, source: &Source, partitions: PartitionCounts) -> Result<Self, BadTopicName> {
        let name = source.name().clone();
        Ok(Self {
            source: source.topic(prefix)?,
            decisions: Topic::Decisions(name.clone()).name(prefix)?,
            commands: Topic::Commands(name.clone()).name(prefix)?,
            outcomes: Topic::Outcomes(name.clone()).name(prefix)?,
            grants: Topic::Grants(name).name(prefix)?,
            limit_requests: Topic::LimitRequests.name(prefix)?,
            denied: Topic::Denied.name(prefix)?,
            held: Topic::Held.name(prefix)?,
            finished: Topic::Finished.name(prefix)?,
            dead: Topic::Dead.name(prefix)?,
            snapshots: Topic::Snapshots.name(prefix)?,
            shards: Topic::Shards.name(prefix)?,
            checkpoints: Topic::AuditCheckpoints.name(prefix)?,
            partitions,
            cloudevents: false,
        })
    }
}

/// Everything a kernel shard is made from; cheap to clone, one for every ownership.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// Its source.
    pub source: Arc<Source>,
    /// Number of the shard: the partition of the source.
    pub shard: u32,
    /// Where allowed jobs go.
    pub routes: Arc<Routes>,
    /// Names of its topics.
    pub topics: Arc<KernelTopics>,
    /// Largest record it may write (key, value and headers), in bytes; below the brokers' limits.
    /// At least [`LEAST_RECORD_BYTES`].
    pub max_record_bytes: usize,
    /// Bounds of the window in which a job id counts as seen.
    pub window: WindowBounds,
    /// Bounds of what is kept past the release of its record.
    pub kept: KeptBounds,
    /// Bounds of what is kept of limits.
    pub wallet: WalletBounds,
    /// How long an allowed job may wait for a worker before it is judged again.
    pub ticket_ttl: Duration,
    /// The longest such time of any other source whose kernels judge what is delegated here, or delegate to here; zero when
    /// there is none.
    pub ticket_ttl_elsewhere: Duration,
    /// How far jobs may delegate.
    pub delegation: DelegationBounds,
    /// Whose signatures count on commands.
    pub trust: Arc<dyn Trust>,
    /// Whose keys they are.
    pub people: Arc<dyn People>,
}

impl KernelConfig {
    /// Longer no ticket is good, wherever its job was judged: so long what is said of a chain of delegations counts.
    pub(crate) fn longest_ticket(&self) -> Duration {
        self.ticket_ttl.max(self.ticket_ttl_elsewhere)
    }
}

/// The usual `ticket_ttl`: an hour.
pub const DEFAULT_TICKET_TTL: Duration = Duration::from_secs(3_600);

/// The usual `max_record_bytes`: with a batch's overhead it stays below a broker's default of 1 MiB.
pub const DEFAULT_RECORD_BYTES: usize = 1_000_000;

/// The shard a kernel of `config` owns: its inputs in the order of their numbers, every partition it may write fenced
/// messages to, and its names. `pace` is the usual one, but a snapshot is taken seldom enough that writing the
/// window of ids stays a small part of the work.
///
/// # Errors
/// [`BadName`] when source and shard make no name of a sender.
pub fn shard_spec(config: &KernelConfig, process: &str, mut pace: Pace) -> Result<ShardSpec, BadName> {
    let KernelConfig { source, shard, routes, topics, .. } = config;
    let input =
        |topic: &TopicName, kind, writers, trim| InputSpec { partition: topic.partition(*shard), kind, writers, trim };
    let requests = (0..topics.partitions.limits).map(|partition| topics.limit_requests.partition(partition));
    let finished = (0..topics.partitions.finished).map(|partition| topics.finished.partition(partition));
    pace.snapshot_facts =
        pace.snapshot_facts.max(u64::try_from(config.window.ids).unwrap_or(u64::MAX).saturating_mul(2));
    Ok(ShardSpec {
        sender: SenderId::new(format!("kernel.{}/{shard}", source.name()))?,
        facts: topics.decisions.partition(*shard),
        inputs: vec![
            input(&topics.source, InputKind::Jobs, Writers::Anyone, !source.adopted()),
            input(&topics.commands, InputKind::Control, Writers::Anyone, false),
            input(&topics.outcomes, InputKind::Control, Writers::Stages(&["scheduler"]), false),
            input(&topics.grants, InputKind::Control, Writers::Stages(&["limits"]), false),
        ],
        outputs: if source.observe() {
            Vec::new()
        } else {
            routes.buckets().chain(routes.withdrawals()).chain(finished).chain(requests).collect()
        },
        snapshots: topics.snapshots.clone(),
        shards: topics.shards.clone(),
        checkpoints: Some(topics.checkpoints.partition(0)),
        process: process.to_owned(),
        pace,
    })
}
