//! Passing an operator's signed command about a worker on to every shard of its pool.
//!
//! It is signed where its person is; whoever forges one is refused by the schedulers. A shard that has it already changes
//! nothing, so a retry is free.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::pool_command::{MAX_POOL_COMMAND_BYTES, PoolCommand, PoolRefusal};
use tidegate_spine::{AppendError, NewRecord, ProducerOptions, SpineError};
use tokio::time::Instant;

use super::known::Pool;
use super::listen::{Fleet, now_ms};
use crate::commands::Became;

/// How long a command may take to land, and how long an answer waits for what it leads to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Schedulers say nothing of a command that is older.
const UNANSWERED_MS: u64 = 3_600_000;

/// A command that was not passed on, or not to all shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// It is none.
    #[error("this is no command to a pool: {reason}")]
    NoCommand {
        /// Why.
        reason: String,
    },
    /// Its pool is not here.
    #[error("there is no pool `{pool}` here")]
    NoSuchPool {
        /// The pool.
        pool: String,
    },
    /// The spine cannot be reached.
    #[error("the spine does not answer")]
    Away(SpineError),
    /// The spine refused it.
    #[error("the spine refused the record")]
    Refused(AppendError),
    /// Not acknowledged in time: it may land later.
    #[error("the spine has not acknowledged the command within {} s; it may still land", PATIENCE.as_secs())]
    Unknown,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The command.
    pub command: CommandId,
    /// `given` when it counts in every shard, `refused` when it does not in one, or `pending` while some have not said.
    pub became: Became,
    /// Shards in which it counts; of an `uncordon` less than all when there was nothing to end in some.
    pub shards: usize,
    /// Why it was refused, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<PoolRefusal>,
    /// Why it was refused, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Reads a signed command, to know where it goes; whether it is genuine is the schedulers' to say.
///
/// # Errors
/// [`NotTold::NoCommand`].
pub fn read(value: &[u8]) -> Result<PoolCommand, NotTold> {
    if value.len() > MAX_POOL_COMMAND_BYTES {
        let reason = format!("it has {} bytes, a command has at most {MAX_POOL_COMMAND_BYTES}", value.len());
        return Err(NotTold::NoCommand { reason });
    }
    serde_json::from_slice(value).map_err(|error| NotTold::NoCommand { reason: error.to_string() })
}

impl Fleet {
    /// Passes a command on and waits for what it leads to.
    ///
    /// # Errors
    /// [`NotTold`].
    pub async fn tell(self: &Arc<Self>, value: Bytes) -> Result<Told, NotTold> {
        let command = read(&value)?;
        let pools = self.all();
        let of = pools.iter().find(|of| of.pool == command.pool);
        let of = of.ok_or_else(|| NotTold::NoSuchPool { pool: command.pool.to_string() })?;
        if command.at_ms.saturating_add(UNANSWERED_MS) < now_ms() {
            let reason =
                "it was signed more than an hour ago, and no shard answers that any more: sign it anew".to_owned();
            return Err(NotTold::NoCommand { reason });
        }
        let mut changed = self.view.fleet_changes();
        let (behind, given_ms) = (self.view.fleet(&of.pool, Pool::answers_so_far), now_ms());
        let options = ProducerOptions { name: "pool-commands".into(), ..ProducerOptions::default() };
        let mut producer = self.spine.producer(options).await.map_err(NotTold::Away)?;
        let landings: Vec<_> = (0..of.shards)
            .map(|shard| {
                let record = NewRecord {
                    key: Some(Bytes::from(command.worker.to_string())),
                    value: Some(value.clone()),
                    ..NewRecord::default()
                };
                producer.append(&of.commands.partition(shard), vec![record])
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        for landing in landings {
            match tokio::time::timeout_at(deadline, landing).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(NotTold::Refused(error)),
                Err(_) => return Err(NotTold::Unknown),
            }
        }
        loop {
            // Before looking: what is said in between is heard.
            changed.mark_unchanged();
            let answered = self.view.fleet(&of.pool, |pool| pool.answered(&command.id, behind, given_ms));
            let (shards, said) = (answered.given, answered.given + answered.idle);
            let all = u32::try_from(said).is_ok_and(|said| said >= of.shards);
            let (became, refused) = match (answered.refused, all) {
                (Some(refused), _) => (Became::Refused, Some(refused)),
                // In some it may never have counted: that it ends everywhere is what was asked for.
                (None, true) if shards > 0 => (Became::Given, None),
                (None, true) => {
                    let detail = format!("`{}` is cordoned in no shard", command.worker);
                    (Became::Refused, Some((PoolRefusal::NotCordoned, detail)))
                }
                (None, false) => (Became::Pending, None),
            };
            if became != Became::Pending || tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                let (why, detail) = refused.map_or((None, String::new()), |(why, detail)| (Some(why), detail));
                return Ok(Told { command: command.id, became, shards, why, detail });
            }
        }
    }
}
