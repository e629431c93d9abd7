//! `tidegate pools`, `tidegate workers`, `tidegate top`, `tidegate doctor`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_node::Role;

use super::{GatewayArgs, Reach, SigningArgs, SpineArgs, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum PoolsCommand {
    /// Every pool: workers, what runs and waits, rates, times of the last minute
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// One of them
    Show {
        /// The pool
        pool: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// Every worker: how it stands, what it runs, when it was heard
    List {
        /// Only of this pool
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One of them, with the jobs it has
    Show {
        /// Its name, as `list` has it
        worker: String,
        /// Only of this pool
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a worker no further job, as an operator; what it runs it may end. It holds over restarts, also of a worker that
    /// is not there
    Cordon(TellArgs),
    /// Let a cordoned worker have jobs again
    Uncordon(TellArgs),
    /// Cordon a worker and have it leave: it ends what it runs, and its process ends
    Drain(TellArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TellArgs {
    /// Its name, as `list` has it. Workers over HTTP stand there as crews (`http:…`): one word is for all of a crew
    pub(crate) worker: String,
    /// Its pool
    #[arg(long, value_name = "POOL", default_value = "default")]
    pub(crate) pool: String,
    /// Why, in a line
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    /// Time from one picture to the next
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// Only of this pool
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// One picture, and end; with `--output json` one document
    #[arg(long)]
    pub(crate) once: bool,
    /// Most workers shown, those with most jobs first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Whose rights and topics are looked at: those this machine's processes have (a process that looks at itself looks at
    /// its own)
    #[arg(long, value_name = "ROLES", value_delimiter = ',', default_value = "kernel,limits,scheduler,gateway")]
    pub(crate) roles: Vec<Role>,
    /// Write one empty record (to `held`, for a key that nobody has), to compare clocks exactly and to see that writing works
    #[arg(long)]
    pub(crate) write: bool,
    /// Longest time for reading the logs
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) within: Duration,
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    #[command(flatten)]
    pub(crate) spine: SpineArgs,
}
