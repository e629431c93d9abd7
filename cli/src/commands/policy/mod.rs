//! `tidegate policy`: one file per command.

mod args;
mod at;
mod bench;
mod check;
mod diff;
mod explain;
mod import;
mod job;
mod judge;
mod junit;
mod sign;
mod simulate;
mod test;

use std::path::{Path, PathBuf};

use tidegate_node::policy_folder::{PolicyError, load_folder};
use tidegate_policy::Snapshot;

pub(crate) use args::PolicyCommand;

use super::config_of;
use crate::args::Global;
use crate::exit::{Exit, Failure};

pub(crate) fn run(global: &Global, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check(args) => check::run(global, args),
        PolicyCommand::Test(args) => test::run(global, args),
        PolicyCommand::Explain(args) => explain::run(global, &args),
        PolicyCommand::Simulate(args) => simulate::run(global, &args),
        PolicyCommand::Diff(args) => diff::run(global, &args),
        PolicyCommand::Import(args) => import::run(global, &args),
        PolicyCommand::Sign(args) => sign::run(global, args),
        PolicyCommand::Bench(args) => bench::run(global, &args),
    }
}

fn folder_of(global: &Global, folder: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match folder {
        Some(folder) => Ok(folder),
        None => Ok(config_of(global)?.policy),
    }
}

fn load(folder: &Path) -> Result<Snapshot, Failure> {
    load_folder(folder, None).map_err(|error: PolicyError| Failure::new(Exit::Config, error))
}
