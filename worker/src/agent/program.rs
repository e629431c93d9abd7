//! A program as the agent starts it: arguments, environment, folder, process group. What every kind that runs one shares.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::{NamedTempFile, TempDir};
use tidegate_protocol::constraints::Sandbox;
use tokio::process::{Child, Command};
use tracing::{debug, warn};

use super::environment;
use crate::{Context, Ending, time_slice};

/// Bytes of stderr kept for the reason of a failure.
pub(super) const STDERR_TAIL: usize = 4 << 10;

/// A program, its arguments, and what it is told of a gateway. Run without a shell.
#[derive(Debug, Clone)]
pub(super) struct Program {
    program: OsString,
    args: Vec<OsString>,
    pub(super) gateway: Option<Gateway>,
}

/// A gateway that commands may submit jobs to.
#[derive(Clone)]
pub struct Gateway {
    /// Its address.
    pub url: String,
    /// Its key, where commands are to have it: with it they may do whatever the key's holder may.
    pub key: Option<String>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.as_ref().map(|_| "…");
        f.debug_struct("Gateway").field("url", &self.url).field("key", &key).finish()
    }
}

/// A command without a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the command is empty; give a program and its arguments")]
pub struct EmptyCommand;

impl Program {
    pub(super) fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, EmptyCommand> {
        let mut words = command.into_iter().map(Into::into);
        let program = words.next().filter(|program| !program.is_empty()).ok_or(EmptyCommand)?;
        Ok(Self { program, args: words.collect(), gateway: None })
    }

    /// To be started in a process group of its own, with pipes for stdin and stdout, killed when dropped. With a `folder` it
    /// runs there, and of the worker's environment has [`environment::HANDED_ON`] alone.
    pub(super) fn command(&self, folder: Option<&Path>) -> io::Result<Command> {
        let mut command = match folder {
            // A relative path means the worker's folder, not the job's.
            Some(_) if Path::new(&self.program).components().count() > 1 => {
                Command::new(std::path::absolute(&self.program)?)
            }
            Some(_) | None => Command::new(&self.program),
        };
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped());
        match folder {
            None => {
                for name in environment::withheld(std::env::vars_os().map(|(name, _)| name)) {
                    command.env_remove(name);
                }
            }
            Some(folder) => {
                command.env_clear().current_dir(folder).env("HOME", folder).env("TMPDIR", folder);
                for name in environment::HANDED_ON {
                    command.envs(std::env::var_os(name).map(|value| (name, value)));
                }
            }
        }
        if let Some(Gateway { url, key }) = &self.gateway {
            command.env("TIDEGATE_URL", url).envs(key.as_ref().map(|key| ("TIDEGATE_KEY", key)));
        }
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// Starts it, with the system's time slice: that of this process's threads is not meant for what they start.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
        time_slice::systems(|| command.spawn())
    }

    /// Why the job's constraints forbid this program.
    pub(super) fn forbidden(&self, context: &Context) -> Option<Ending> {
        let allowed = context.constraints()?.toolchain.allowed_commands.as_ref()?;
        let name = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy();
        let listed = || allowed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        (!allowed.contains(&*name)).then(|| {
            Ending::failed(format!("its constraints allow the commands [{}]; `{name}` is none of them", listed()))
        })
    }

    /// Most likely this worker is to blame and not the job, so another attempt may go better; with its attempts used up the job
    /// is dead, from where it can be redriven.
    pub(super) fn failed_to_start(&self, error: &io::Error) -> Ending {
        Ending::retryable(format!("command `{}` could not be started: {error}", self.program.display()))
    }
}

/// Under any `sandbox` constraint: an empty folder of the job's own, removed with all that is in it when dropped.
pub(super) fn job_folder(context: &Context) -> Result<Option<TempDir>, Ending> {
    let sandboxed = context.constraints().is_some_and(|asked| asked.sandbox != Sandbox::default());
    let folder = sandboxed.then(|| tempfile::Builder::new().prefix("tidegate-job-").tempdir()).transpose();
    folder.map_err(|error| Ending::retryable(format!("no folder could be made for the job: {error}")))
}

/// `exit code 3`, `killed by signal 9`.
pub(super) fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    }
}

/// The job's ticket in a file that its owner alone may read, removed when the job is over. `None`, and said, when there is none to
/// be had: most commands do not delegate.
pub(super) fn ticket_file(context: &Context) -> Option<NamedTempFile> {
    if let Err(why) = context.ticket() {
        debug!(job = %context.key(), %why, "the job cannot delegate");
        return None;
    }
    let written = tempfile::Builder::new().prefix("tidegate-ticket-").tempfile().and_then(|mut file| {
        file.write_all(context.record().get().as_bytes())?;
        Ok(file)
    });
    written.inspect_err(|error| warn!(job = %context.key(), %error, "no file could be made for the job's ticket")).ok()
}

/// The process group of a running command. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    pub(super) fn signal(&self, signal: Signal) {
        // An empty group (`ESRCH`) is what the signal is for.
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, signal)
            && error != rustix::io::Errno::SRCH
        {
            warn!(%error, "a job's process group could not be signalled");
        }
    }
}

impl Drop for Group {
    /// Right after the leader was reaped its number is free in theory; the kernel hands numbers out in a circle and
    /// never one that a living group still has, so what is hit here is the group or nothing.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
