//! What workers ran, as they ran it.

use std::sync::Mutex;

use tidegate_protocol::facts::Token;
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::time::Timestamp;

use crate::executor::locked;

/// A worker began to run a job.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Which worker.
    pub worker: String,
    /// The job's record.
    pub source: SourcePosition,
    /// The token it was given.
    pub token: Token,
    /// The hash in the work it was given.
    pub input_hash: InputHash,
    /// Landings over all logs before it began.
    pub landings: u64,
    /// When, by its clock.
    pub wall: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Executions(Mutex<Vec<Execution>>);

impl Executions {
    /// Notes one.
    pub fn note(&self, execution: Execution) {
        locked(&self.0).push(execution);
    }

    /// All so far.
    #[must_use]
    pub fn all(&self) -> Vec<Execution> {
        locked(&self.0).clone()
    }
}
