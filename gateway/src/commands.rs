//! Passing people's signed commands on to the kernel that holds the job, and telling what became of them.
//!
//! A command is signed where its person is: here it is only passed on, and whoever forges one is refused by the kernel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::command::{Action, Command, CommandRefusal, MAX_COMMAND_BYTES};
use tidegate_protocol::ids::{CommandId, SourceName};
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
    /// It counts: the approval was taken, and more may be needed; or the pool of a released job was told to end it.
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

/// Appends commands to `commands.<source>`.
pub struct Commands {
    spine: Arc<dyn Spine>,
    topics: Vec<(SourceName, TopicName)>,
    producer: Mutex<Option<Box<dyn Producer>>>,
}

/// Reads a signed command, to know where it goes; whether it is genuine is the kernel's to say.
///
/// # Errors
/// [`NotPassedOn::NoCommand`].
pub fn read(value: &[u8]) -> Result<Command, NotPassedOn> {
    if value.len() > MAX_COMMAND_BYTES {
        let reason = format!("it has {} bytes, a command has at most {MAX_COMMAND_BYTES}", value.len());
        return Err(NotPassedOn::NoCommand { reason });
    }
    serde_json::from_slice(value).map_err(|error| NotPassedOn::NoCommand { reason: error.to_string() })
}

impl Commands {
    /// To these topics.
    #[must_use]
    pub fn new(spine: Arc<dyn Spine>, topics: Vec<(SourceName, TopicName)>) -> Self {
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
        self.append(&command, value).await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut seen = since;
        loop {
            let job = view.get(&key);
            let passed = told(&command, job, waited);
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if passed.became != Became::Pending || left.is_zero() {
                return Ok(passed);
            }
            seen = view.changes(seen, &Filter::default(), 1_000, left).await.next;
        }
    }

    async fn append(&self, command: &Command, value: Bytes) -> Result<(), NotPassedOn> {
        let source_name = command.source.source.clone();
        let topic = self.topics.iter().find(|(name, _)| *name == source_name).map(|(_, topic)| topic);
        let topic = topic.ok_or(NotPassedOn::NoSuchSource { source_name })?;
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
            producer.append(&topic.partition(command.source.partition), vec![record])
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
    let given = given || withdrawn.is_some_and(|withdrawn| withdrawn.command == id);
    let ended = waited && !waits(job.as_ref());
    let (why, detail) = refused.map_or((None, String::new()), |r| (Some(r.why), r.detail.clone()));
    let became = match (refused.is_some(), given, ended) {
        (true, ..) => Became::Refused,
        (false, true, _) => Became::Given,
        (false, false, true) => Became::Ended,
        (false, false, false) => Became::Pending,
    };
    Passed { command: id, became, why, detail, job }
}
