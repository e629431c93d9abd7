//! Passing people's signed commands on to the kernel that holds the job, and telling what became of them.
//!
//! A command is signed where its person is: here it is only passed on, and whoever forges one is refused by the kernel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::command::{Action, Command, CommandRefusal, MAX_COMMAND_BYTES};
use tidegate_protocol::ids::{CommandId, SourceName};
use tidegate_protocol::redrive::MAX_REDRIVE_BYTES;
use tidegate_spine::{AppendError, NewRecord, Producer, ProducerOptions, Spine, SpineError};
use tokio::sync::Mutex;

use crate::view::{Filter, JobKey, State, Story, View};

/// How long a command may take to land, and how long an answer waits for what it leads to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command that was not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPassedOn {
    /// It is none.
    #[error("this is no command: {reason}")]
    NoCommand {
        /// Why.
        reason: String,
    },
    /// Its record is of a source that is not here.
    #[error("there is no source `{source_name}` here")]
    NoSuchSource {
        /// The source.
        source_name: SourceName,
    },
    /// The spine cannot be reached. Nothing landed.
    #[error("the spine does not answer")]
    Away(SpineError),
    /// The spine refused it. Nothing landed.
    #[error("the spine refused the record")]
    Refused(AppendError),
    /// Not acknowledged in time: it may land later.
    #[error("the spine has not acknowledged the command within {} s; it may still land", PATIENCE.as_secs())]
    Unknown,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It counts: the approval was taken, and more may be needed; the pool of a released job was told to end it; a dead
    /// record was judged again, or dropped.
    Given,
    /// The job is no longer held: released, denied or called off.
    Ended,
    /// It has no effect.
    Refused,
    /// Nothing is known of it yet: the kernel is away, or did not believe it.
    Pending,
}

/// The answer to a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passed {
    /// The command.
    pub command: CommandId,
    /// What became of it.
    pub became: Became,
    /// Why it was refused, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<CommandRefusal>,
    /// Why it was refused, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The job as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Story>,
}

/// Where the commands of a source go.
#[derive(Debug, Clone)]
pub struct CommandTopic {
    /// The source.
    pub source: SourceName,
    /// Its topic of commands.
    pub topic: TopicName,
    /// Whether it takes delegated jobs, so that a revocation concerns all its shards.
    pub delegates: bool,
}

/// Appends commands to `commands.<source>`.
pub struct Commands {
    spine: Arc<dyn Spine>,
    topics: Vec<CommandTopic>,
    producer: Mutex<Option<Box<dyn Producer>>>,
}

/// Reads a signed command, to know where it goes; whether it is genuine is the kernel's to say.
///
/// # Errors
/// [`NotPassedOn::NoCommand`].
pub fn read(value: &[u8]) -> Result<Command, NotPassedOn> {
    let too_large = |most: usize| {
        let reason = format!("it has {} bytes, a command like this has at most {most}", value.len());
        Err(NotPassedOn::NoCommand { reason })
    };
    if value.len() > MAX_REDRIVE_BYTES {
        return too_large(MAX_REDRIVE_BYTES);
    }
    let command: Command =
        serde_json::from_slice(value).map_err(|error| NotPassedOn::NoCommand { reason: error.to_string() })?;
    if value.len() > MAX_COMMAND_BYTES && command.action != Action::Redrive {
        return too_large(MAX_COMMAND_BYTES);
    }
    Ok(command)
}

impl Commands {
    /// To these topics.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, topics: Vec<CommandTopic>) -> Self {
        Self { spine, topics, producer: Mutex::new(None) }
    }

    /// Passes a command on and waits for what it leads to, as `view` comes to know of it.
    ///
    /// # Errors
    /// [`NotPassedOn`].
    pub async fn pass_on(&self, view: &View, value: Bytes) -> Result<Passed, NotPassedOn> {
        let command = read(&value)?;
        let since = view.list(&Filter::default(), 1).next;
        let key = JobKey::Position(command.source.clone());
        let job = view.get(&key);
        if let Some(ended) = job.as_ref().filter(|job| command.action == Action::Cancel && job.is_told()) {
            let detail = format!("it has ended already: {}", ended.state.word());
            return Ok(Passed {
                command: command.id,
                became: Became::Refused,
                why: Some(CommandRefusal::NotKept),
                detail,
                job,
            });
        }
        let waited = waits(job.as_ref());
        for to in self.targets(&command).await? {
            self.append(&command, &to, value.clone()).await?;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut seen = since;
        loop {
            let passed = match command.action {
                Action::Redrive => redriven(&command, view),
                Action::Approve | Action::Reject | Action::Cancel | Action::Revoke | Action::Drop => {
                    told(&command, view.get(&key), waited)
                }
            };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if passed.became != Became::Pending || left.is_zero() {
                return Ok(passed);
            }
            seen = view.changes(seen, &Filter::default(), 1_000, left).await.next;
        }
    }

    /// Where it goes: to the job's own shard; a revocation also to every other that may have jobs which act for the job, before
    /// that, so that what its own shard says of it tells that it has landed everywhere.
    async fn targets(&self, command: &Command) -> Result<Vec<TopicPartition>, NotPassedOn> {
        let source_name = command.source.source.clone();
        let own = self.topics.iter().find(|known| known.source == source_name);
        let own = own.ok_or(NotPassedOn::NoSuchSource { source_name })?.topic.partition(command.source.partition);
        let mut targets = Vec::new();
        if command.action == Action::Revoke {
            let topics: Vec<TopicName> =
                self.topics.iter().filter(|known| known.delegates).map(|known| known.topic.clone()).collect();
            let states = self.spine.describe(&topics).await.map_err(NotPassedOn::Away)?;
            for (topic, state) in topics.iter().zip(states) {
                targets.extend((0..state.map_or(0, |state| state.partitions)).map(|number| topic.partition(number)));
            }
            targets.retain(|target| *target != own);
        }
        targets.push(own);
        Ok(targets)
    }

    async fn append(&self, command: &Command, to: &TopicPartition, value: Bytes) -> Result<(), NotPassedOn> {
        let record = NewRecord {
            key: Some(Bytes::from(command.source.to_string())),
            value: Some(value),
            ..NewRecord::default()
        };
        let landing = {
            let mut producer = self.producer.lock().await;
            let producer = match &mut *producer {
                Some(producer) => producer,
                none => {
                    let options = ProducerOptions { name: "commands".into(), ..ProducerOptions::default() };
                    none.insert(self.spine.producer(options).await.map_err(NotPassedOn::Away)?)
                }
            };
            producer.append(to, vec![record])
        };
        match tokio::time::timeout(PATIENCE, landing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                if let AppendError::Fatal { .. } = error {
                    *self.producer.lock().await = None;
                }
                Err(NotPassedOn::Refused(error))
            }
            Err(_) => Err(NotPassedOn::Unknown),
        }
    }
}

/// Whether people may still have a say in the job, as far as is known.
fn waits(job: Option<&Story>) -> bool {
    job.is_none_or(|job| matches!(job.state, State::Held | State::Deferred | State::Unknown) && job.outcome.is_none())
}

/// What the story says of a command. `waited`: the job did when the command was passed on, so that it no longer does may be
/// this command's doing; one that had ended before can only be refused.
fn told(command: &Command, job: Option<Story>, waited: bool) -> Passed {
    let id = command.id.clone();
    let refused = job.as_ref().and_then(|job| job.refused.iter().find(|refused| refused.command == id));
    let hold = job.as_ref().and_then(|job| job.hold.as_ref());
    let given = hold.is_some_and(|hold| hold.given.iter().any(|given| given.command == id));
    let withdrawn = job.as_ref().and_then(|job| job.withdrawn.as_ref());
    let revoked = job.as_ref().and_then(|job| job.revoked.as_ref());
    let dropped = job.as_ref().and_then(|job| job.dropped.as_ref());
    let given = given
        || withdrawn.is_some_and(|withdrawn| withdrawn.command == id)
        || revoked.is_some_and(|revoked| revoked.command == id)
        || dropped.is_some_and(|dropped| dropped.command == id);
    let ended = command.action != Action::Drop && waited && !waits(job.as_ref());
    let (why, detail) = refused.map_or((None, String::new()), |r| (Some(r.why), r.detail.clone()));
    let became = match (refused.is_some(), given, ended) {
        (true, ..) => Became::Refused,
        (false, true, _) => Became::Given,
        (false, false, true) => Became::Ended,
        (false, false, false) => Became::Pending,
    };
    Passed { command: id, became, why, detail, job }
}

/// What the stories say of a command to redrive: of the life that died, or of the one that begins.
fn redriven(command: &Command, view: &View) -> Passed {
    let next = command.source.redriven(command.source.redrive.saturating_add(1));
    match view.get(&JobKey::Position(next)) {
        Some(job) if job.redriven.as_ref().is_some_and(|redriven| redriven.command == command.id) => Passed {
            command: command.id.clone(),
            became: Became::Given,
            why: None,
            detail: String::new(),
            job: Some(job),
        },
        _ => told(command, view.get(&JobKey::Position(command.source.clone())), false),
    }
}
