//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_node::Role as NodeRole;
use tidegate_node::workers::{McpSpec, WorkerSpec};

mod fleet;
mod signing;
mod unshown;
mod values;

pub(crate) use fleet::{DoctorArgs, PoolsCommand, TellArgs, TopArgs, WorkersCommand};
pub(crate) use signing::SigningArgs;
pub(crate) use unshown::unshown;
pub(crate) use values::{address, duration};

use crate::commands::{AuditCommand, KeysCommand, PolicyCommand, WorkerArgs};
use crate::demo::DemoArgs;
use crate::exit::CODES;

/// A governed worker-fleet runtime on the broker you already run
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, after_help = CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document on the last line of stdout
    Json,
}

/// Above these options in every `--help`: they are not of the command alone.
const EVERYWHERE: &str = "Options of every command";

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Configuration file; `tidegate.yaml` in the working directory when it is there
    #[arg(long, short, global = true, help_heading = EVERYWHERE, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How results are printed; logs go to stderr
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// What is logged: a level, or directives as in `warn,tidegate_kernel=debug`
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TIDEGATE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Time slice to ask Linux for, microseconds; 0 takes the system's (docs/performance.md)
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TIDEGATE_TIME_SLICE_US", value_name = "US", default_value_t = 300, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub(crate) time_slice_us: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process on the embedded spine, in one folder; SIGHUP has it read its configuration's pools again,
    /// or, without a configuration, stops it in order as SIGTERM does
    Dev(DevArgs),
    /// Run roles on the spine of the configuration; SIGHUP has it read the configuration's pools again, SIGTERM stops it in order
    Serve(ServeArgs),
    /// Submit jobs: JSON lines from a file or stdin
    Submit(SubmitArgs),
    /// Look at jobs; call them off
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Run a worker: a command per job or kept alive, an HTTP endpoint, the tools of an MCP server, or a builtin
    Worker(Box<WorkerArgs>),
    /// Compare, make and export topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check and test policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at pools: workers, what runs and waits, rates and times
    #[command(subcommand)]
    Pools(PoolsCommand),
    /// Look at workers
    #[command(subcommand)]
    Workers(WorkersCommand),
    /// Watch pools and workers live
    Top(TopArgs),
    /// Say what is wrong with this installation, and what to do about it
    Doctor(DoctorArgs),
    /// Look at limits as they are lent out
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Look at jobs that wait for people; approve and reject them
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Look at what could not be handled
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Verify the log of decisions; dump and export it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Make keys that sign, and look at those that are trusted
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Go on after records of a source are gone
    #[command(subcommand)]
    Sources(SourcesCommand),
    /// Run agents' tool calls under a policy, and show what it stopped
    Demo(DemoArgs),
    /// Measure latency and throughput beside the bare client
    Bench(tidegate_bench::BenchArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    /// Folder of everything: logs, policy, key
    #[arg(long, env = "TIDEGATE_DATA", value_name = "DIR", default_value = ".tidegate")]
    pub(crate) data: PathBuf,
    /// Address of the HTTP API; port 0 takes a free one. 127.0.0.1:7070 unless told here or in the configuration
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder of policy bundles; an example is written into the data folder when none is given
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// A worker in this process: `CAPABILITY=COMMAND ARGS` (a process per job), `CAPABILITY=loop:COMMAND ARGS` (kept alive),
    /// `CAPABILITY=http://HOST/PATH` (a request per job) or `CAPABILITY=builtin:echo`; may be given several times
    #[arg(long = "worker", value_name = "CAP=COMMAND", value_parser = unshown::<WorkerSpec>())]
    pub(crate) workers: Vec<WorkerSpec>,
    /// The tools of an MCP server, each a capability `mcp.NAME.TOOL`: `NAME=COMMAND ARGS`, or `NAME=http://HOST/PATH`; may be
    /// given several times
    #[arg(long = "mcp", value_name = "NAME=COMMAND", value_parser = unshown::<McpSpec>())]
    pub(crate) mcp: Vec<McpSpec>,
    /// Jobs these workers run at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) concurrency: u32,
    /// What workers outside this process can do, which pull over HTTP (`sdk/python`); may be given several times
    #[arg(long = "capability", value_name = "CAPABILITY")]
    pub(crate) capabilities: Vec<String>,
    /// When a record counts as durable: written to the system (survives the process) or synced to the disk
    #[arg(long, value_name = "os|fsync", default_value = "os", value_parser = ["os", "fsync"])]
    pub(crate) durability: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Roles of this process: kernel, limits, scheduler, gateway
    #[arg(long, value_name = "ROLES", value_delimiter = ',', default_value = "kernel,limits,scheduler,gateway")]
    pub(crate) roles: Vec<NodeRole>,
    /// Address of the HTTP API, metrics and health instead of the configuration's
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Spine URL instead of the configuration's
    #[arg(long, env = "TIDEGATE_SPINE", value_name = "URL")]
    pub(crate) spine: Option<String>,
    /// Folder of policy bundles instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// Name of this process that stays over restarts, and is its own among the processes of its roles (static membership):
    /// within `membership.session_timeout_ms` of its end nobody else gets its shards. Instead of the configuration's
    #[arg(long, env = "TIDEGATE_INSTANCE_ID", value_name = "NAME")]
    pub(crate) instance_id: Option<String>,
}

/// A process that answers over HTTP.
#[derive(Debug, Clone, Args)]
pub(crate) struct GatewayArgs {
    /// Address of a gateway, e.g. `http://127.0.0.1:7070`; the running `tidegate dev` unless told
    #[arg(long, env = "TIDEGATE_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Its bearer key; the file `key` in the data folder unless told
    #[arg(long, env = "TIDEGATE_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Data folder of the running `tidegate dev` on this machine: it says where it listens, and its key
    #[arg(long, env = "TIDEGATE_DATA", value_name = "DIR", default_value = ".tidegate")]
    pub(crate) data: PathBuf,
}

/// Whom to ask about jobs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// Ask this spine instead, without a gateway (topics and settings as in the configuration)
    #[arg(long, value_name = "URL")]
    pub(crate) spine: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SubmitArgs {
    /// File of JSON lines, one job each; `-` is stdin
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The source to submit to; the first of the configuration unless told
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Submit them as jobs that a running job spawns, by its ticket: in a worker's command, `"$TIDEGATE_TICKET_FILE"`
    #[arg(long, value_name = "FILE")]
    pub(crate) parent_ticket: Option<PathBuf>,
    /// Wait for every job to end; exit 1 when one did not succeed
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait, e.g. `30s` or `10m`; what has not ended then counts as not succeeded
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// The whole story of a job, by id or by source position (`source/partition@offset`)
    Get {
        /// Id or source position
        job: String,
        /// Its tenant, where several have a job of this id
        #[arg(long)]
        tenant: Option<String>,
        /// Wait up to this long for it to end, e.g. `30s`
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
        wait: Duration,
        #[command(flatten)]
        reach: Reach,
    },
    /// The newest jobs
    List {
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Most jobs, 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// Call a job off, as an operator or a submitter of its tenant. One that is held, deferred or waits ends at once; a worker
    /// that has it is told to stop and has the pool's `cancel_grace_ms`; one that has ended stays as it is
    Cancel(SayArgs),
    /// Revoke a job, as an operator: it delegates no longer, and neither it nor anything that acts for it begins any more
    Revoke(SayArgs),
    /// Print jobs as they change, until Ctrl-C; or what one job says of itself while it runs, until it ends. With
    /// `--output json` one document a line
    Watch {
        /// Watch this job alone, by id or source position: its progress and partial output
        job: Option<String>,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// End after this many changes
        #[arg(long, value_name = "N")]
        changes: Option<usize>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Show what differs between the topics there are and those the configuration needs; exit 1 when something does
    Plan(SpineArgs),
    /// Make and alter topics until nothing differs
    Apply(SpineArgs),
    /// Print the topics for others to make
    Export {
        /// The form
        #[arg(long, value_enum, default_value_t = ExportForm::Text)]
        format: ExportForm,
        #[command(flatten)]
        spine: SpineArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SpineArgs {
    /// Spine URL instead of the configuration's
    #[arg(long, env = "TIDEGATE_SPINE", value_name = "URL")]
    pub(crate) spine: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// A table
    Text,
    /// A JSON array
    Json,
    /// A script of `kafka-topics.sh` commands
    #[value(alias = "kafka")]
    KafkaTopics,
    /// Resources for Strimzi's topic operator
    Strimzi,
    /// Resources for Terraform
    Terraform,
    /// A script of `kafka-acls.sh` commands: what each role must be allowed to
    Acls,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration with every default, secrets left out
    Show,
    /// Say what is wrong with it
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// Every key of a limit that counts, with what is lent to kernels and what is free
    List {
        /// Most keys, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// The keys of one limit, by its id or the beginning of it (the rule's id), with who holds what
    Show {
        /// The limit
        of: String,
        /// Most keys, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// The newest records
    List {
        /// Most records, 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// One record whole, by its place in `dead` (`partition@offset`) or its source position
    Show {
        /// The place
        at: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Have a record judged again, from its own bytes, as an operator: it goes through the kernel like any other
    Redrive {
        /// What stands in this file in place of the record's own value
        #[arg(long, value_name = "FILE")]
        with: Option<PathBuf>,
        #[command(flatten)]
        say: SayArgs,
    },
    /// Mark a record as done with, as an operator: lists show it no longer
    Drop(SayArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Jobs that wait for people
    List {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Most jobs, 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// One of them: who asks, which rules ask for approval, what would run, what people have said
    Show {
        /// Id or source position (`source/partition@offset`)
        job: String,
        /// Its tenant, where several have a job of this id
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Approve a held job as the person of a key
    Approve(SayArgs),
    /// Reject a held job: it ends
    Reject(SayArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SayArgs {
    /// Id or source position (`source/partition@offset`); of a dead record also its place in `dead` (`partition@offset`)
    pub(crate) job: String,
    /// Its tenant, where several have a job of this id
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Why, in a line
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// Give up what is gone of a shard's input below its log's present start, so that the shard, which stands still, goes
    /// on. On an embedded spine stop the process that has it open first
    AcceptLoss(AcceptLossArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AcceptLossArgs {
    /// A source and its partition (`jobs.raw/0`); with `--shard` the input's topic and partition, as the alarm names them
    pub(crate) input: String,
    /// The shard, as its alarm names it; the kernel's of the source unless told
    #[arg(long)]
    pub(crate) shard: Option<String>,
    /// File of the operator's key (`tidegate keys create --role operator`)
    #[arg(long, env = "TIDEGATE_OPERATOR_KEY", value_name = "FILE")]
    pub(crate) signing_key: PathBuf,
    /// The key's name in records; the file's name without `.key` unless told
    #[arg(long, value_name = "NAME")]
    pub(crate) key_id: Option<String>,
    /// Who accepts it, for the record; the key's name unless told
    #[arg(long = "as", value_name = "PERSON")]
    pub(crate) person: Option<String>,
    #[command(flatten)]
    pub(crate) spine: SpineArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_everything_has_help() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            assert!(command.get_about().is_some(), "`{}` says nothing of itself", command.get_name());
            for argument in command.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
                assert!(argument.get_help().is_some(), "`{}` of `{}`", argument.get_id(), command.get_name());
            }
            open.extend(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
        }
    }

    #[test]
    fn a_command_line_of_each_kind_is_understood() {
        for line in [
            "tidegate dev --worker echo=builtin:echo --worker pay=./pay.sh",
            "tidegate serve --roles kernel,scheduler --spine kafka://h:1",
            "tidegate submit --wait jobs.jsonl --output json",
            "tidegate jobs get jobs.raw/0@7 --wait 30s",
            "tidegate jobs cancel order-5 --tenant acme --reason wrong --signing-key ops.key --as olga",
            "tidegate worker --pool p --capability c -- ./run.sh --fast",
            "tidegate worker --pool p --capability c --builtin sleep:50",
            "tidegate worker --capability c --stdio-loop -- ./serve.py",
            "tidegate worker --capability c --http http://127.0.0.1:1/run --endpoint-key-file k --answer-limit 30s",
            "tidegate worker --mcp-stdio --mcp-name files --tool read -- ./server.py",
            "tidegate worker --mcp-http https://h/mcp --capability mcp --listen 0.0.0.0:9464",
            "tidegate dev --worker a=loop:./a.py --worker b=http://127.0.0.1:1/ --mcp files=./server.py",
            "tidegate topics export --format kafka-topics",
            "tidegate audit verify --dump d.jsonl --trusted keys.yaml --checkpoints c.jsonl",
            "tidegate audit verify --spine embedded:x --source a --source b",
            "tidegate audit export --follow",
            "tidegate audit dump --file d.jsonl",
            "tidegate keys create --role approver --tenant acme --tenant globex --id boss",
            "tidegate keys create --role stage:kernel --file kernel.key",
            "tidegate policy explain --policy p job.json",
            "tidegate policy simulate jobs.jsonl --at 2026-03-01T09:30:00Z --limits exceeded",
            "tidegate policy diff old new --decisions d.jsonl",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "tidegate worker --pool p --capability c",
            "tidegate worker --pool p --capability c --builtin echo -- x",
            "tidegate worker --capability c --stdio-loop",
            "tidegate worker --capability c --stdio-loop --mcp-stdio -- x",
            "tidegate worker --capability c --http http://h/ -- x",
            "tidegate worker --capability c --http ftp://h/",
            "tidegate worker --stdio-loop -- x",
            "tidegate worker --mcp-http http://h/ --builtin echo",
            "tidegate serve --roles king",
            "tidegate audit verify --spine embedded:x --dump d.jsonl",
            "tidegate keys create",
            "tidegate keys create --role king",
            "tidegate jobs get x --wait 30",
            "tidegate policy diff old new",
            "tidegate policy explain --at noon",
            "tidegate dev --listen localhost",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
