//! `tidegate worker`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate_node::workers::{Gateway, McpAt, McpSpec, Monitor, Runs, Surroundings, WorkerSpec, build, offered};
use tidegate_node::{Config, StartError};
use tidegate_protocol::ids::PoolName;
use tidegate_worker::agent::{Builtin, Endpoint, HttpHandler};
use tidegate_worker::constraints::Enforces;
use tidegate_worker::{RunError, WhenUnproven};

use super::{config_of, on_spine, runtime, told_to_stop};
use crate::args::{Global, Output, address, duration, unshown};
use crate::exit::{Exit, Failure};
use crate::output;

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// The pool it works for
    #[arg(long, default_value = "default")]
    pool: String,
    /// What it can do; may be given several times. With an MCP server: jobs of this capability name the tool in their label
    /// `mcp.tool`; without it each tool is a capability of its own
    #[arg(long = "capability", value_name = "CAPABILITY", required_unless_present_any = ["mcp_stdio", "mcp_http"])]
    capabilities: Vec<String>,
    /// Its name, stable over restarts and its own among the pool's workers; host name and capability unless told
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Jobs it runs at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: u32,
    /// What becomes of running jobs when none of the worker's reports reached the broker for a whole lease, so that it cannot know
    /// whether they are still its own (docs/workers.md)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Unproven::Keep)]
    when_unproven: Unproven,
    /// What this worker's surroundings enforce (a container, a network policy), so that jobs constrained so may run here:
    /// `sandbox.isolated`, `sandbox.network_allowlist`, `sandbox.fs_read_only`, `sandbox.fs_read_write`
    #[arg(long, value_name = "CONSTRAINT", value_delimiter = ',')]
    enforces: Vec<Enforces>,
    /// A label that jobs may ask for (`select`, `prefer`); may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A gateway that commands may submit jobs to: they find it as `TIDEGATE_URL`
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// File with the key of that gateway, which commands then find as `TIDEGATE_KEY`: whatever it lets its holder do, they may
    #[arg(long, value_name = "FILE", requires = "gateway")]
    gateway_key_file: Option<PathBuf>,
    /// Instead of a command: `noop`, `echo` or `sleep:MS`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["command", "http", "mcp_http"])]
    builtin: Option<Builtin>,
    /// Keep the command alive, one process for each job at a time, told of jobs in lines of JSON (docs/workers.md)
    #[arg(long, requires = "command", conflicts_with = "mcp_stdio")]
    stdio_loop: bool,
    /// Instead of a command: an address that each job is posted to (docs/workers.md)
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "mcp_http"], value_parser = unshown::<Endpoint>())]
    http: Option<Endpoint>,
    /// The command is an MCP server: each of its tools is a capability `mcp.SERVER.TOOL` (docs/workers.md)
    #[arg(long, requires = "command")]
    mcp_stdio: bool,
    /// Instead of a command: the address of an MCP server (streamable HTTP)
    #[arg(long, value_name = "URL", conflicts_with = "command", value_parser = unshown::<Endpoint>())]
    mcp_http: Option<Endpoint>,
    /// The MCP server's name in capabilities and in the label `mcp.server`; what it calls itself unless told
    #[arg(long, value_name = "NAME")]
    mcp_name: Option<String>,
    /// Offer this tool of the MCP server; may be given several times. All of them unless told
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
    /// File with a key that is sent to the address as bearer token
    #[arg(long, value_name = "FILE")]
    endpoint_key_file: Option<PathBuf>,
    /// Longest time to an answer of an address or an MCP server, e.g. `30s`; then the job is tried again
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    answer_limit: Duration,
    /// Serve metrics and health here (`/metrics`, `/healthz`, `/readyz`), e.g. `0.0.0.0:9464`; port 0 takes a free one. Nowhere
    /// unless told
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Spine URL instead of the configuration's
    #[arg(long, env = "TIDEGATE_SPINE", value_name = "URL")]
    spine: Option<String>,
    /// Run once per job: payload on stdin, result from stdout, exit code 0 is success
    #[arg(last = true, value_name = "COMMAND", required_unless_present_any = ["builtin", "http", "mcp_http"])]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unproven {
    /// They run on until the scheduler says that they are others'
    Keep,
    /// They are stopped, and run again elsewhere: for jobs that must never overlap
    Stop,
}

impl From<Unproven> for WhenUnproven {
    fn from(what: Unproven) -> Self {
        match what {
            Unproven::Keep => Self::Keep,
            Unproven::Stop => Self::Stop,
        }
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(global: &Global, args: WorkerArgs) -> Result<Exit, Failure> {
    args.check()?;
    let config = on_spine(config_of(global)?, args.spine.as_ref())?;
    let pool = PoolName::new(&args.pool).map_err(|error| Failure::new(Exit::Usage, error))?;
    let trust = config.keys.read().and_then(|keys| keys.trust_in_stages()).map_err(StartError::Keys)?;
    args.look_at_pool(&config, &pool);
    let gateway = args.gateway()?;
    let payloads = tidegate_node::payloads::store(&config)?;
    let labels = args.labels.iter().cloned().collect();
    let (enforces, when_unproven) = (args.enforces.clone(), args.when_unproven.into());
    let around = Surroundings { enforces, gateway: gateway.clone(), payloads, labels, when_unproven };
    let (id, drained) = runtime()?
        .block_on(async {
            // Before anything starts, so that a signal during the start is not lost.
            let mut stop = std::pin::pin!(told_to_stop());
            let specs = tokio::select! {
                biased;
                () = &mut stop => return Ok(None),
                specs = args.specs(gateway) => specs?,
            };
            let id = args.id.clone().unwrap_or_else(|| usual_id(&specs));
            let monitor = match args.listen {
                Some(listen) => Some(Monitor::begin(listen).await?),
                None => None,
            };
            if let Some(monitor) = &monitor {
                tracing::info!(address = %monitor.address(), "metrics and health are served");
            }
            let worker = build(pool.clone(), &id, &specs, args.concurrency, &around, trust)?;
            let spine = tokio::select! {
                biased;
                () = &mut stop => return Ok(None),
                spine = tidegate_node::spine::open(&config.spine) => spine?,
            };
            if let Some(monitor) = &monitor {
                monitor.works();
            }
            let drained = worker.run(spine, &config.prefix, stop).await.map_err(failed)?;
            if let Some(monitor) = monitor {
                monitor.end();
            }
            Ok::<_, Failure>(Some((id, drained)))
        })?
        .unzip();
    if global.output == Output::Json {
        output::json(&serde_json::json!({ "worker": id, "unsettled": drained.map_or(0, |drained| drained.unsettled) }));
    }
    Ok(Exit::Done)
}

impl WorkerArgs {
    /// What the parser cannot tell.
    fn check(&self) -> Result<(), Failure> {
        let mcp = self.mcp_stdio || self.mcp_http.is_some();
        if !mcp && (self.mcp_name.is_some() || !self.tools.is_empty()) {
            return Err(Failure::say(
                Exit::Usage,
                "`--mcp-name` and `--tool` are about an MCP server; say which with `--mcp-stdio` or `--mcp-http`",
            ));
        }
        if self.endpoint_key_file.is_some() && self.http.is_none() && self.mcp_http.is_none() {
            return Err(Failure::say(
                Exit::Usage,
                "`--endpoint-key-file` is sent to `--http` or `--mcp-http`, and neither was given",
            ));
        }
        Ok(())
    }

    /// Kernels send a pool what it takes, and nothing else ever: without a word such a worker would wait for ever. No more than a
    /// warning, as kernels have files of their own. Tools of an MCP server are not known yet.
    fn look_at_pool(&self, config: &Config, pool: &PoolName) {
        let Some(known) = config.pools.iter().find(|known| known.name() == pool) else { return };
        let takes = &known.route.capabilities;
        let all = takes.iter().any(|capability| capability.as_str() == "*");
        for capability in self.capabilities.iter().filter(|_| !all) {
            if !takes.iter().any(|taken| taken.as_str() == capability) {
                tracing::warn!(
                    capability,
                    %pool,
                    "by this configuration the pool does not take this capability, so no job of it will come; correct `--capability`, or `capabilities` of the pool"
                );
            }
        }
    }

    /// What each capability is run by.
    async fn specs(&self, gateway: Option<Gateway>) -> Result<Vec<WorkerSpec>, Failure> {
        let runs = if let Some(builtin) = self.builtin {
            Runs::Builtin(builtin)
        } else if let Some(endpoint) = self.http.clone() {
            Runs::Http(HttpHandler::new(self.with_key(endpoint)?).answer_limit(self.answer_limit))
        } else if self.stdio_loop {
            Runs::Loop(self.command.clone())
        } else if self.mcp_stdio || self.mcp_http.is_some() {
            let at = match self.mcp_http.clone() {
                Some(endpoint) => McpAt::Http(self.with_key(endpoint)?),
                None => McpAt::Command(self.command.clone()),
            };
            let (name, tools, capabilities) = (self.mcp_name.clone(), self.tools.clone(), self.capabilities.clone());
            return Ok(offered(McpSpec { at, name, tools, capabilities }, gateway, self.answer_limit).await?);
        } else {
            Runs::Command(self.command.clone())
        };
        let spec = |capability: &String| WorkerSpec { capability: capability.clone(), runs: runs.clone() };
        Ok(self.capabilities.iter().map(spec).collect())
    }

    /// The gateway that commands may submit to.
    fn gateway(&self) -> Result<Option<Gateway>, Failure> {
        let Some(url) = self.gateway.clone() else { return Ok(None) };
        let key = self.gateway_key_file.as_deref().map(read_key).transpose()?;
        Ok(Some(Gateway { url, key }))
    }

    fn with_key(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        match self.endpoint_key_file.as_deref() {
            Some(file) => endpoint.bearer(&read_key(file)?).map_err(|error| Failure::new(Exit::Config, error)),
            None => Ok(endpoint),
        }
    }
}

fn read_key(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map(|text| text.trim().to_owned());
    text.map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be read: {error}", file.display())))
}

fn usual_id(specs: &[WorkerSpec]) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let capabilities: Vec<&str> = specs.iter().map(|spec| spec.capability.as_str()).collect();
    format!("{}-{}", host.trim(), capabilities.join("-")).chars().take(200).collect()
}

fn failed(error: RunError) -> Failure {
    match error {
        RunError::Spine { source, .. } => source.into(),
        RunError::NoTopic { .. } | RunError::Topics { .. } | RunError::Superseded { .. } => {
            Failure::new(Exit::Config, error)
        }
    }
}
