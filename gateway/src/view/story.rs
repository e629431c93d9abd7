//! What is told of a job.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_protocol::decision::Decision;
use tidegate_protocol::facts::LeaseEnd;
use tidegate_protocol::ids::{JobId, PoolName, TenantId, WorkerId};
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::outcome::{DeadReason, Outcome};
use tidegate_protocol::time::Timestamp;

use super::hold::{HoldStory, RefusedCommand, WithdrawnStory};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Allowed; waits for a worker.
    Approved,
    /// It waits for people to approve it.
    Held,
    /// It waits for a slice of a limit or for a throttle's delay, and is judged again.
    Deferred,
    /// A worker has it.
    Running,
    /// Ended well.
    Succeeded,
    /// Its worker said it failed.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Ran out of time.
    TimedOut,
    /// The kernel said no.
    Denied,
    /// In `dead`.
    Dead,
    /// The same job stands elsewhere; see `duplicate_of`.
    Duplicate,
    /// Judged for the record only (`observe: true`).
    Observed,
    /// Only parts of its story have been read.
    Unknown,
}

impl State {
    /// The word used in output and questions.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Held => "held",
            Self::Deferred => "deferred",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::Dead => "dead",
            Self::Duplicate => "duplicate",
            Self::Observed => "observed",
            Self::Unknown => "unknown",
        }
    }

    /// All states, in the order of a job's life.
    pub const ALL: [Self; 13] = [
        Self::Approved,
        Self::Held,
        Self::Deferred,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Denied,
        Self::Dead,
        Self::Duplicate,
        Self::Observed,
        Self::Unknown,
    ];

    /// The state of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::TimedOut
            | Self::Denied
            | Self::Dead
            | Self::Duplicate
            | Self::Observed => true,
            Self::Approved | Self::Held | Self::Deferred | Self::Running | Self::Unknown => false,
        }
    }

    pub(super) const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Denied => Self::Denied,
            Outcome::Dead => Self::Dead,
        }
    }
}

/// One lease of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Epoch of the granting owner; with `attempt` the fencing token.
    pub epoch: u64,
    /// Who had it.
    pub worker: WorkerId,
    /// When it was granted, milliseconds since the Unix epoch.
    pub leased_ms: f64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// Why it ended without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LeaseEnd>,
    /// Why it failed, when another was to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// With `lost` or `failed`: before when the job was not ready again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<f64>,
}

/// When what happened, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Times {
    /// The record's own timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_ms: Option<f64>,
    /// The verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<f64>,
    /// The first lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_ms: Option<f64>,
    /// The end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<f64>,
}

/// Why it is in `dead`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadCause {
    /// The word.
    pub reason: DeadReason,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What is known of one record of a source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Story {
    /// Where the record stands.
    pub source: SourcePosition,
    /// The job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Where it stands.
    pub state: State,
    /// The job without its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Verdict, reason, rules, policy snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What people were asked, and what they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<HoldStory>>,
    /// Genuine commands that had no effect, the last 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedCommand>,
    /// It was released and called off since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Box<WithdrawnStory>>,
    /// The pool it went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Its leases, the last 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ended so, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the worker gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// The output is larger than the view keeps; `finished` has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_left_out: bool,
    /// Why it is in `dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<DeadCause>,
    /// The record that stands for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<SourcePosition>,
    /// Records that repeated this job, the first 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated_at: Vec<SourcePosition>,
    /// When what happened.
    pub times: Times,
    /// Number of its last change.
    pub change: u64,
}

impl Story {
    pub(super) fn new(source: SourcePosition) -> Self {
        Self {
            source,
            id: None,
            tenant: None,
            state: State::Unknown,
            job: None,
            decision: None,
            hold: None,
            refused: Vec::new(),
            withdrawn: None,
            pool: None,
            attempts: Vec::new(),
            outcome: None,
            reason: String::new(),
            output: None,
            output_left_out: false,
            dead: None,
            duplicate_of: None,
            repeated_at: Vec::new(),
            times: Times::default(),
            change: 0,
        }
    }

    /// Whether it has ended and the verdict is known too: decisions and leases are read side by side, so an end may be
    /// met first.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.state.is_ended() && (self.decision.is_some() || self.dead.is_some() || self.duplicate_of.is_some())
    }

    /// Whether the kernel allowed it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision.as_ref().is_some_and(|d| d.verdict.permits())
    }
}

/// A record of `dead`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadRecord {
    /// Where it stands in `dead`: `partition@offset`.
    pub at: String,
    /// The source record it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePosition>,
    /// The original record: `topic/partition@offset`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub original: String,
    /// Which stage gave up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// Why, as a word.
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Size of the original value.
    pub bytes: usize,
    /// Its first bytes as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preview: String,
    /// SHA-256 of a value that was too large to carry on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input_hash: String,
}

impl DeadRecord {
    /// The reason when it is one of ours: a label must not grow with what strangers write.
    pub(super) fn reason_label(&self) -> &'static str {
        let named = serde_json::from_value::<DeadReason>(serde_json::Value::String(self.reason.clone()));
        named.map_or("other", DeadReason::word)
    }
}

pub(super) fn millis(at: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century are below 2^53")]
    let us = at.0 as f64;
    us / 1_000.0
}
