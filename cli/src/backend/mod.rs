//! The same questions about jobs to a gateway over HTTP, or to a spine.

mod http;
mod spine;

use std::time::Duration;

use tidegate_node::gateway::commands::Passed;
use tidegate_node::gateway::fleet::Told;
use tidegate_node::gateway::http::{DeadList, LimitList, Lines, PoolList, WorkerList};
use tidegate_node::gateway::progress::Signs;
use tidegate_node::gateway::view::{Changes, DeadRecord, Story};
use tidegate_protocol::command::Command;
use tidegate_protocol::pool_command::PoolCommand;
use tidegate_protocol::trace;

use crate::args::{Global, Reach};
use crate::exit::Failure;

pub(crate) use http::OverHttp;

/// What is asked of jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) state: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) limit: usize,
}

/// Whoever answers.
pub(crate) trait Backend {
    /// Submits lines, one job each; the answer counts lines from 1.
    fn submit(&self, source: Option<&str>, lines: &[Vec<u8>]) -> Result<Lines, Failure>;
    /// The story of a job as it stands when it has ended, or after `wait`; `None` when it is not known.
    fn get(&self, job: &str, tenant: Option<&str>, wait: Duration) -> Result<Option<Story>, Failure>;
    /// The newest jobs.
    fn list(&self, wanted: &Wanted) -> Result<Changes, Failure>;
    /// Jobs changed after `since`; waits for the first.
    fn changes(&self, since: u64, wanted: &Wanted, wait: Duration) -> Result<Changes, Failure>;
    /// What a job says of itself after sign `since`; waits for the first, or for its end. `None` when it is not known.
    fn progress(&self, job: &str, tenant: Option<&str>, since: u64, wait: Duration) -> Result<Option<Signs>, Failure>;
    /// Limits whose id begins with `of`, as they are lent out.
    fn limits(&self, of: &str, limit: usize) -> Result<LimitList, Failure>;
    /// Pools as they stand, or that one.
    fn pools(&self, only: Option<&str>) -> Result<PoolList, Failure>;
    /// Workers as they stand, of all pools or of that one.
    fn workers(&self, pool: Option<&str>) -> Result<WorkerList, Failure>;
    /// One worker with its jobs, in every pool that has one of the name; `None` when none is known.
    fn worker(&self, worker: &str, pool: Option<&str>) -> Result<Option<WorkerList>, Failure>;
    /// Passes a signed command to a pool on, and says what became of it.
    fn tell(&self, command: &PoolCommand, signed: Vec<u8>) -> Result<Told, Failure>;
    /// Passes a signed command on, and says what became of it.
    fn say(&self, command: &Command, signed: Vec<u8>) -> Result<Passed, Failure>;
    /// The newest records of `dead`.
    fn dead(&self, limit: usize) -> Result<DeadList, Failure>;
    /// One of them, whole.
    fn dead_record(&self, at: &str) -> Result<Option<DeadRecord>, Failure>;
}

/// The trace that this process belongs to, and so what it submits: a command of a job has its job's.
fn traceparent() -> Option<String> {
    std::env::var("TRACEPARENT").ok().filter(|parent| trace::is_parent(parent))
}

/// Reaches whom the command line says.
pub(crate) fn reach(global: &Global, reach: &Reach) -> Result<Box<dyn Backend>, Failure> {
    match &reach.spine {
        Some(url) => Ok(Box::new(spine::OnSpine::open(global, url)?)),
        None => Ok(Box::new(OverHttp::find(&reach.gateway)?)),
    }
}
