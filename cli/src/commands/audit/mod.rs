//! `tidegate audit`: is the log of decisions what was written, and what was decided.

mod dump;
mod export;
mod log;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tidegate_node::config::{KeysWritten, TrustedWritten};
use tidegate_node::{Config, StartError, Written};
use tidegate_protocol::signature::Trust;

use super::config_of;
use crate::args::{Global, SpineArgs};
use crate::exit::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Say whether every record is what was written: from a spine or a dump, with public keys alone
    Verify(VerifyArgs),
    /// Write the logs of decisions and their checkpoints as lines of JSON, to be verified anywhere
    Dump(DumpArgs),
    /// Print decisions as lines of JSON, one each; only what is verified
    Export(ExportArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Chosen {
    /// Only decisions of this source; may be given several times
    #[arg(long = "source", value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Ring {
    /// File with the keys to trust, as under `keys.trusted` (`tidegate keys list` prints it), instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// A dump (`tidegate audit dump`) instead of a spine
    #[arg(long, value_name = "FILE", conflicts_with = "spine")]
    pub(crate) dump: Option<PathBuf>,
    /// Also the checkpoints of this file (`audit.checkpoint_file` of the kernels)
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    #[command(flatten)]
    pub(crate) ring: Ring,
    #[command(flatten)]
    pub(crate) spine: SpineArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DumpArgs {
    /// A new file; stdout unless told
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    #[command(flatten)]
    pub(crate) spine: SpineArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ExportArgs {
    /// Go on with what is decided from now on, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    #[command(flatten)]
    pub(crate) ring: Ring,
    #[command(flatten)]
    pub(crate) spine: SpineArgs,
}

pub(crate) fn run(global: &Global, command: &AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Verify(args) => verify::run(global, args),
        AuditCommand::Dump(args) => dump::run(global, args),
        AuditCommand::Export(args) => export::run(global, args),
    }
}

/// Whose signatures count: those of the file, else of the configuration.
fn trust(global: &Global, ring: &Ring) -> Result<Arc<dyn Trust>, Failure> {
    let keys = match &ring.trusted {
        Some(file) => trusted_in(file)?.keys.read(),
        None => config_of(global)?.keys.read(),
    };
    let keys = keys.map_err(|error| Failure::from(StartError::Keys(error)))?;
    if keys.knows_stages() {
        Ok(keys.trust())
    } else {
        Err(Failure::say(
            Exit::Config,
            "no key is trusted for stages, so no record could be believed: name the installation's public keys with `--trusted FILE` (`tidegate keys list` prints them) or in the configuration",
        ))
    }
}

fn trusted_in(file: &Path) -> Result<Config, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::say(Exit::Config, format!("`{name}` cannot be read: {error}")))?;
    let trusted: Vec<TrustedWritten> = serde_saphyr::from_str(&text)
        .map_err(|error| Failure::say(Exit::Config, format!("`{name}` is no list of trusted keys: {error}")))?;
    Ok(Config::of(&Written { keys: KeysWritten { trusted, ..KeysWritten::default() }, ..Written::default() })?)
}
