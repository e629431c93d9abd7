//! One process per job.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::{NamedTempFile, TempDir};
use tidegate_protocol::constraints::Sandbox;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{environment, output};
use crate::{Context, Ending, Handler};

/// Bytes of stderr kept for the reason of a failure.
const STDERR_TAIL: usize = 4 << 10;
/// `EX_TEMPFAIL` of sysexits.h: "temporary failure, the user is invited to retry".
const TEMPORARY: i32 = 75;
/// After the command has ended, how long somebody outside its process group may still hold its pipes.
const PIPES: Duration = Duration::from_secs(1);

/// Starts a command for each job; the module's parent documents the contract.
#[derive(Debug, Clone)]
pub struct CommandHandler {
    program: OsString,
    args: Vec<OsString>,
    output_limit: usize,
    grace: Duration,
    gateway: Option<Gateway>,
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

impl CommandHandler {
    /// A program and its arguments, run without a shell.
    ///
    /// # Errors
    /// [`EmptyCommand`] when there is no program, or its name is empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, EmptyCommand> {
        let mut words = command.into_iter().map(Into::into);
        let program = words.next().filter(|program| !program.is_empty()).ok_or(EmptyCommand)?;
        let (output_limit, grace) = (256 << 10, Duration::from_secs(5));
        Ok(Self { program, args: words.collect(), output_limit, grace, gateway: None })
    }

    /// Largest stdout in bytes. Default 256 KiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Time between SIGTERM and SIGKILL. Default 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Tells commands where they may submit jobs. Default: nowhere.
    #[must_use]
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    fn spawn(&self, context: &Context, folder: Option<&Path>, ticket: Option<&Path>) -> io::Result<Child> {
        let mut command = match folder {
            // A relative path means the worker's folder, not the job's.
            Some(_) if Path::new(&self.program).components().count() > 1 => {
                Command::new(std::path::absolute(&self.program)?)
            }
            Some(_) | None => Command::new(&self.program),
        };
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
        command.envs(ticket.map(|file| ("TIDEGATE_TICKET_FILE", file)));
        if let Some(Gateway { url, key }) = &self.gateway {
            command.env("TIDEGATE_URL", url).envs(key.as_ref().map(|key| ("TIDEGATE_KEY", key)));
        }
        command.envs(environment::of(context)).process_group(0).kill_on_drop(true).spawn()
    }

    /// Why its constraints forbid this command.
    fn forbidden(&self, context: &Context) -> Option<Ending> {
        let allowed = context.constraints()?.toolchain.allowed_commands.as_ref()?;
        let name = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy();
        let listed = || allowed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        (!allowed.contains(&*name)).then(|| {
            Ending::failed(format!("its constraints allow the commands [{}]; `{name}` is none of them", listed()))
        })
    }

    fn failed_to_start(&self, error: &io::Error) -> Ending {
        Ending::failed(format!("command `{}` could not be started: {error}", self.program.display()))
    }
}

/// The process group of a running command. Dropped, it is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
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

impl Handler for CommandHandler {
    async fn run(&self, context: Context) -> Ending {
        if let Some(refusal) = self.forbidden(&context) {
            return refusal;
        }
        let sandboxed = context.constraints().is_some_and(|asked| asked.sandbox != Sandbox::default());
        // Removed with all that is in it when the job is over.
        let folder = match sandboxed.then(|| tempfile::Builder::new().prefix("tidegate-job-").tempdir()).transpose() {
            Ok(folder) => folder,
            Err(error) => return Ending::failed(format!("no folder could be made for the job: {error}")),
        };
        let ticket = ticket_file(&context);
        let output_limit = context.max_output().map_or(self.output_limit, |most| most.min(self.output_limit));
        let spawned =
            self.spawn(&context, folder.as_ref().map(TempDir::path), ticket.as_ref().map(NamedTempFile::path));
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return self.failed_to_start(&error),
        };
        let group = Group::of(&child);
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Ending::failed("the command's pipes are missing");
        };
        let (mut out, mut err) = (Vec::new(), VecDeque::new());
        let mut over = false;
        let pipes = async {
            let read = output::read_up_to(stdout, output_limit, &mut out, || {
                over = true;
                group.signal(Signal::KILL);
            });
            tokio::join!(feed(stdin, context.payload().get()), read, output::read_tail(stderr, STDERR_TAIL, &mut err))
        };
        let status = {
            let mut pipes = std::pin::pin!(pipes);
            let mut end = std::pin::pin!(self.end_of(&mut child, &group, &context));
            tokio::select! {
                _ = &mut pipes => end.await,
                status = &mut end => {
                    // What is left of the group goes, and with it the last holders of the pipes.
                    group.signal(Signal::KILL);
                    let _held_by_others = timeout(PIPES, &mut pipes).await;
                    status
                }
            }
        };
        drop(group);
        match status {
            Ok(_) if over => Ending::failed(format!(
                "the command wrote more than {} bytes to stdout; it was killed (raise the output limit, or write the result elsewhere and print a reference)",
                output_limit
            )),
            Ok(status) => conclude(status, &out, &err, &context),
            Err(error) => Ending::failed(format!("the command could not be waited for: {error}")),
        }
    }
}

impl CommandHandler {
    /// Waits for the command, and stops it when the job is cancelled.
    async fn end_of(&self, child: &mut Child, group: &Group, context: &Context) -> io::Result<ExitStatus> {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            _ = context.cancelled() => group.signal(Signal::TERM),
        }
        match timeout(self.grace, child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                group.signal(Signal::KILL);
                child.wait().await
            }
        }
    }
}

/// The job's ticket in a file that its owner alone may read, removed when the job is over. `None`, and said, when there is none to
/// be had: most commands do not delegate.
fn ticket_file(context: &Context) -> Option<NamedTempFile> {
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

/// Writes the payload and closes the pipe. A command that does not read it, or not all of it, is none of our business.
async fn feed(mut stdin: ChildStdin, payload: &str) {
    let _not_read = stdin.write_all(payload.as_bytes()).await;
}

fn conclude(status: ExitStatus, out: &[u8], err: &VecDeque<u8>, context: &Context) -> Ending {
    if status.success() {
        return match output::as_json(out) {
            Ok(output) => Ending::Succeeded(output),
            Err(error) => Ending::failed(format!("stdout could not be written as JSON: {error}")),
        };
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    };
    let said = output::as_reason(err, err.len() >= STDERR_TAIL);
    let reason = if said.is_empty() { how } else { format!("{how}: {said}") };
    match context.is_cancelled() {
        Some(why) => Ending::cancelled(format!("stopped because {} ({reason})", why.sentence())),
        None if status.code() == Some(TEMPORARY) => Ending::retryable(reason),
        None => Ending::failed(reason),
    }
}
