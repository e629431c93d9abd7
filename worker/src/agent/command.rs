//! One process per job.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

use super::program::{EmptyCommand, Gateway, Group, Program, STDERR_TAIL, how_it_ended, job_folder, ticket_file};
use super::{environment, output};
use crate::{Context, Ending, Handler};

/// `EX_TEMPFAIL` of sysexits.h: "temporary failure, the user is invited to retry".
const TEMPORARY: i32 = 75;
/// After the command has ended, how long somebody outside its process group may still hold its pipes.
const PIPES: Duration = Duration::from_secs(1);

/// Starts a command for each job; the module's parent documents the contract.
#[derive(Debug, Clone)]
pub struct CommandHandler {
    program: Program,
    output_limit: usize,
    grace: Duration,
}

impl CommandHandler {
    /// A program and its arguments, run without a shell.
    ///
    /// # Errors
    /// [`EmptyCommand`] when there is no program, or its name is empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, EmptyCommand> {
        let (output_limit, grace) = (256 << 10, Duration::from_secs(5));
        Ok(Self { program: Program::new(command)?, output_limit, grace })
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
        self.program.gateway = Some(gateway);
        self
    }
}

impl Handler for CommandHandler {
    async fn run(&self, context: Context) -> Ending {
        if let Some(refusal) = self.program.forbidden(&context) {
            return refusal;
        }
        let folder = match job_folder(&context) {
            Ok(folder) => folder,
            Err(refusal) => return refusal,
        };
        let ticket = ticket_file(&context);
        let output_limit = context.max_output().map_or(self.output_limit, |most| most.min(self.output_limit));
        let spawned = self.program.command(folder.as_ref().map(TempDir::path)).and_then(|mut command| {
            command.envs(environment::of(&context)).stderr(Stdio::piped());
            command.envs(ticket.as_ref().map(|file| ("TIDEGATE_TICKET_FILE", file.path())));
            Program::spawn(&mut command)
        });
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return self.program.failed_to_start(&error),
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
    let how = how_it_ended(status);
    let said = output::as_reason(err, err.len() >= STDERR_TAIL);
    let reason = if said.is_empty() { how } else { format!("{how}: {said}") };
    match context.is_cancelled() {
        Some(why) => Ending::cancelled(format!("stopped because {} ({reason})", why.sentence())),
        None if status.code() == Some(TEMPORARY) => Ending::retryable(reason),
        None => Ending::failed(reason),
    }
}
