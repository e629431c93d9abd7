//! Workers inside a process.

mod mcp;
mod monitor;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::str::FromStr;
use std::sync::Arc;

use tidegate_blobs::Store;
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_protocol::signature::Trust;
use tidegate_spine::Spine;
pub use tidegate_worker::agent::Gateway;
use tidegate_worker::agent::{Builtin, CommandHandler, Endpoint, HttpHandler, LoopHandler, McpHandler, startable};
use tidegate_worker::constraints::Enforces;
use tidegate_worker::{RunError, WhenUnproven, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::mcp::{McpAt, McpSpec, offered};
pub use self::monitor::Monitor;
use crate::metrics;
use crate::process::StartError;

/// What runs the jobs of a capability.
#[derive(Debug, Clone)]
pub enum Runs {
    /// `noop`, `echo` or `sleep:MS`.
    Builtin(Builtin),
    /// A command, a process per job.
    Command(Vec<String>),
    /// A command, a process kept alive per slot. Capabilities with the same words share the processes.
    Loop(Vec<String>),
    /// A request per job.
    Http(HttpHandler),
    /// A call of a tool per job.
    Tool(McpHandler),
}

/// A capability and what runs it: `CAP=COMMAND…`, `CAP=loop:COMMAND…`, `CAP=http://…` or `CAP=builtin:NAME`.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// The capability.
    pub capability: String,
    /// What runs it.
    pub runs: Runs,
}

/// Text that says no worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` says no worker: {reason}; write {forms}")]
pub struct BadWorkerSpec {
    /// Its beginning as written, without what may be secret: arguments, and user, password and query of an address.
    pub text: String,
    /// What is wrong.
    pub reason: String,
    /// What may be written.
    pub forms: &'static str,
}

const FORMS: &str = "`CAPABILITY=COMMAND ARGS`, `CAPABILITY=loop:COMMAND ARGS`, `CAPABILITY=http://HOST/PATH` or `CAPABILITY=builtin:echo`";

impl FromStr for WorkerSpec {
    type Err = BadWorkerSpec;

    /// The command is split at white space; quotes mean nothing (write a script for more).
    fn from_str(text: &str) -> Result<Self, BadWorkerSpec> {
        let bad = |reason: String| BadWorkerSpec { text: shown(text), reason, forms: FORMS };
        let (capability, runs) = text.split_once('=').ok_or_else(|| bad("there is no `=`".into()))?;
        if capability.trim().is_empty() {
            return Err(bad("there is no capability before `=`".into()));
        }
        let capability = capability.trim().to_owned();
        let runs = runs.trim();
        let words = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            if words.is_empty() { Err(bad("there is no command after `=`".into())) } else { Ok(words) }
        };
        let runs = if let Some(name) = runs.strip_prefix("builtin:") {
            Runs::Builtin(name.parse().map_err(|e: tidegate_worker::agent::UnknownBuiltin| bad(e.to_string()))?)
        } else if let Some(command) = runs.strip_prefix("loop:") {
            Runs::Loop(words(command)?)
        } else if is_address(runs) {
            Runs::Http(HttpHandler::new(Endpoint::new(runs).map_err(|error| bad(error.to_string()))?))
        } else {
            Runs::Command(words(runs)?)
        };
        Ok(Self { capability, runs })
    }
}

/// What of a spec may be shown: its first word, of an address no more than scheme, host and path.
fn shown(text: &str) -> String {
    let text = text.trim();
    let word = text.split_whitespace().next().unwrap_or_default();
    let word = match word.split_once("://") {
        None => word.to_owned(),
        Some((before, after)) => {
            let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            format!("{before}://{host}{path}")
        }
    };
    let mut shown: String = word.chars().take(100).collect();
    if shown.len() < text.len() {
        shown.push_str(" …");
    }
    shown
}

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// What there is around a worker.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// What they enforce.
    pub enforces: Vec<Enforces>,
    /// A gateway that its commands may submit jobs to.
    pub gateway: Option<Gateway>,
    /// Where payloads are that are kept beside the log.
    pub payloads: Option<Arc<dyn Store>>,
    /// Labels that jobs may ask for.
    pub labels: BTreeMap<String, String>,
    /// What becomes of running jobs while the worker cannot prove that it lives.
    pub when_unproven: WhenUnproven,
}

/// A worker of `pool` with these capabilities and surroundings, which believes whom `trust` trusts.
///
/// # Errors
/// [`StartError::Worker`] names what is wrong.
pub fn build(
    pool: PoolName,
    id: &str,
    specs: &[WorkerSpec],
    concurrency: u32,
    around: &Surroundings,
    trust: Arc<dyn Trust>,
) -> Result<Worker, StartError> {
    let error = |reason: String| StartError::Worker { reason };
    let id = WorkerId::new(id).map_err(|e| error(e.to_string()))?;
    let enforced = around.enforces.iter().copied();
    let mut builder = Worker::builder(pool, id, trust).concurrency(concurrency).enforces(enforced);
    builder = builder.payloads(around.payloads.clone()).when_unproven(around.when_unproven);
    for (name, value) in &around.labels {
        builder = builder.label(name, value);
    }
    let mut loops: BTreeMap<&[String], LoopHandler> = BTreeMap::new();
    for spec in specs {
        if let Runs::Command(words) | Runs::Loop(words) = &spec.runs
            && let Some(program) = words.first().filter(|program| !program.is_empty())
        {
            let refused = |why| error(format!("capability `{}`: {why}", spec.capability));
            startable(program.as_ref()).map_err(refused)?;
        }
        builder = match &spec.runs {
            Runs::Builtin(builtin) => builder.capability(&spec.capability, *builtin),
            Runs::Command(words) => {
                let command = CommandHandler::new(words).map_err(|e| error(e.to_string()))?;
                let command = match &around.gateway {
                    Some(gateway) => command.gateway(gateway.clone()),
                    None => command,
                };
                builder.capability(&spec.capability, command)
            }
            Runs::Loop(words) => {
                let kept = match loops.entry(words) {
                    Entry::Occupied(kept) => kept.into_mut(),
                    Entry::Vacant(place) => {
                        let kept = LoopHandler::new(words).map_err(|e| error(e.to_string()))?;
                        place.insert(match &around.gateway {
                            Some(gateway) => kept.gateway(gateway.clone()),
                            None => kept,
                        })
                    }
                };
                builder.capability(&spec.capability, kept.clone())
            }
            Runs::Http(handler) => builder.capability(&spec.capability, handler.clone()),
            Runs::Tool(handler) => builder.capability(&spec.capability, handler.clone()),
        };
    }
    builder.build().map_err(|e| error(e.to_string()))
}

/// Workers that run; stopped in order by [`Workers::stop`].
#[derive(Default)]
pub struct Workers(Vec<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Workers {
    /// Begins a worker.
    pub fn start(&mut self, worker: Worker, spine: &Arc<dyn Spine>, prefix: &str) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (spine, prefix) = (Arc::clone(spine), prefix.to_owned());
        let task = tokio::spawn(async move {
            metrics::workers(1.0);
            let until = async {
                let _ = stopped.await;
            };
            match worker.run(spine, &prefix, until).await {
                Ok(drained) if drained.unsettled > 0 => {
                    tracing::warn!(unsettled = drained.unsettled, "a worker ended with results not settled");
                }
                Ok(_) => {}
                Err(error) => report(&error),
            }
            metrics::workers(-1.0);
        });
        self.0.push((stop, task));
    }

    /// Drains them all at once.
    pub async fn stop(self) {
        let (stops, tasks): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        for stop in stops {
            let _ = stop.send(());
        }
        futures::future::join_all(tasks).await;
    }
}

fn report(error: &RunError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = %error, cause, "a worker inside this process ended");
}

/// Specs grouped by capability: a repeated one replaces the one before.
#[must_use]
pub fn last_of_each(specs: impl IntoIterator<Item = WorkerSpec>) -> Vec<WorkerSpec> {
    let by_name: BTreeMap<String, WorkerSpec> = specs.into_iter().map(|spec| (spec.capability.clone(), spec)).collect();
    by_name.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_spec_is_told_without_what_may_be_secret_in_it() {
        assert!(WorkerSpec::from_str("pay").unwrap_err().to_string().contains("write `CAPABILITY=COMMAND ARGS`"));
        assert!(
            McpSpec::from_str("files")
                .unwrap_err()
                .to_string()
                .ends_with("write `NAME=COMMAND ARGS` or `NAME=http://HOST/PATH`")
        );
        for text in [
            "hook=http://user:secret@h/run",
            "hook=http://secret@h:99999/run?key=secret",
            "http://u:secret@h/run",
            "curl -H Authorization:secret",
            "=./run --token secret",
        ] {
            let worker = WorkerSpec::from_str(text).unwrap_err().to_string();
            let server = McpSpec::from_str(text).unwrap_err().to_string();
            assert!(!worker.contains("secret") && !server.contains("secret"), "{worker} {server}");
        }
        assert_eq!(shown("hook=http://u:p@h:1/run?x=y"), "hook=http://h:1/run …");
        assert_eq!((shown("pay"), shown("./pay.sh --fast")), ("pay".to_owned(), "./pay.sh …".to_owned()));
    }
}
