//! One file per command.

mod approvals;
mod audit;
mod bench;
mod config;
mod dead;
mod dev;
mod doctor;
mod fleet;
mod jobs;
mod keys;
mod limits;
mod policy;
mod reloading;
mod saying;
mod serve;
mod sources;
mod submit;
mod top;
mod topics;
mod worker;

use std::path::PathBuf;

use tidegate_node::config::DEFAULT_FILES;
use tidegate_node::{Config, Written};
use tokio::runtime::Runtime;

pub(crate) use audit::AuditCommand;
pub(crate) use keys::KeysCommand;
pub(crate) use policy::PolicyCommand;
pub(crate) use worker::WorkerArgs;

use crate::args::{Cli, Command, Global};
use crate::exit::{Exit, Failure};

/// Runs what was typed.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    logs(&global, &command)?;
    match command {
        Command::Dev(args) => dev::run(&global, args),
        Command::Serve(args) => serve::run(&global, &args),
        Command::Submit(args) => submit::run(&global, &args),
        Command::Jobs(command) => jobs::run(&global, command),
        Command::Worker(args) => worker::run(&global, *args),
        Command::Topics(command) => topics::run(&global, command),
        Command::Config(command) => config::run(&global, &command),
        Command::Policy(command) => policy::run(&global, command),
        Command::Approvals(command) => approvals::run(&global, command),
        Command::Audit(command) => audit::run(&global, &command),
        Command::Dead(command) => dead::run(&global, command),
        Command::Keys(command) => keys::run(&global, command),
        Command::Limits(command) => limits::run(&global, command),
        Command::Pools(command) => fleet::pools(&global, command),
        Command::Workers(command) => fleet::workers(&global, command),
        Command::Top(args) => top::run(&global, &args),
        Command::Doctor(args) => doctor::run(&global, &args),
        Command::Sources(command) => sources::run(&global, command),
        Command::Demo(args) => runtime()?.block_on(crate::demo::demo(&args, global.output)),
        Command::Bench(args) => bench::run(&global, &args),
    }
}

/// Long-running commands tell what they do; short ones only what is wrong.
fn logs(global: &Global, command: &Command) -> Result<(), Failure> {
    let usual = match command {
        Command::Dev(_) | Command::Serve(_) | Command::Worker(_) => "info",
        Command::Submit(_)
        | Command::Jobs(_)
        | Command::Topics(_)
        | Command::Config(_)
        | Command::Policy(_)
        | Command::Approvals(_)
        | Command::Audit(_)
        | Command::Dead(_)
        | Command::Keys(_)
        | Command::Limits(_)
        | Command::Pools(_)
        | Command::Workers(_)
        | Command::Top(_)
        | Command::Doctor(_)
        | Command::Sources(_)
        | Command::Demo(_)
        | Command::Bench(_) => "warn",
    };
    let filter = global.log.as_deref().unwrap_or(usual);
    tidegate_node::telemetry::logs::install(tidegate_node::telemetry::logs::Format::of_stderr(), filter)
        .map_err(|error| Failure::new(Exit::Usage, error))
}

/// The file that was named, else the usual one when it is there.
pub(crate) fn config_file(global: &Global) -> Option<PathBuf> {
    let usual = || DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.is_file());
    global.config.clone().or_else(usual)
}

/// The configuration, or the default one.
pub(crate) fn config_of(global: &Global) -> Result<Config, Failure> {
    match config_file(global) {
        Some(file) => Ok(Config::read(&file)?),
        None => Ok(Config::of(&Written::default())?),
    }
}

/// The configuration as written, checked; `None` when there is no file.
pub(crate) fn written_of(global: &Global) -> Result<Option<Written>, Failure> {
    match config_file(global) {
        Some(file) => {
            Config::read(&file)?;
            Ok(Some(Written::read(&file)?))
        }
        None => Ok(None),
    }
}

/// With the spine that was named instead.
pub(crate) fn on_spine(mut config: Config, spine: Option<&String>) -> Result<Config, Failure> {
    if let Some(url) = spine {
        url.clone_into(&mut config.spine.url);
        // Settings are for the client of the spine in the file.
        if url.starts_with("embedded:") {
            config.spine.settings = tidegate_node::config::Settings::default();
        }
    }
    Ok(config)
}

/// The one runtime of a command.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let made = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("tidegate").build();
    made.map_err(|error| Failure::new(Exit::Software, error))
}

/// Completes at SIGTERM or Ctrl-C.
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::error!("SIGTERM cannot be listened for; Ctrl-C still stops this process");
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
