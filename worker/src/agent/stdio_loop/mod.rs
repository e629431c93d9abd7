//! A process kept alive per slot, told of jobs in lines of JSON and answering in lines (`docs/workers.md`).
//!
//! | the process | its job | the process then |
//! |---|---|---|
//! | answers `result` or `failure` | ends so | waits for the next |
//! | ends, whatever its exit code | a failure that may be tried again | is started again, after a pause that grows while it answers nothing |
//! | writes what is no answer, or too long a line | a final failure that shows it | is killed |
//! | was told to stop and answers within the grace | ends so (a failure: cancelled) | waits for the next |
//! | was told to stop and does not answer | cancelled | gets SIGTERM, after another grace SIGKILL |
//!
//! A job under a `sandbox` constraint has a process for itself alone, in an empty folder of its own and without the worker's
//! environment.

mod protocol;

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use self::protocol::{Answer, Told};
use super::child::{LineChild, Starts};
use super::program::{EmptyCommand, Gateway, Program, job_folder, ticket_file};
use crate::{Context, Ending, Handler};

/// What an answer may have beside its output.
const ENVELOPE: usize = 64 << 10;

/// Keeps processes and hands jobs to them. Cheap to clone: clones share the processes.
#[derive(Debug, Clone)]
pub struct LoopHandler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: Program,
    output_limit: usize,
    grace: Duration,
    idle: Mutex<Vec<Kept>>,
    starts: Starts,
    seq: AtomicU64,
}

/// A process that has answered.
#[derive(Debug)]
struct Kept {
    child: LineChild,
    answered: bool,
}

/// How a conversation about a job went.
enum Went {
    /// The process answered.
    Answered {
        ending: Ending,
        /// Everything that was to be said to it was written.
        told: bool,
    },
    /// Its stdout is closed.
    Ended,
    /// It is not to be trusted any more.
    Nonsense(String),
}

/// What the loop around a job waits for next.
enum Stage {
    Running,
    /// Told to stop; SIGTERM comes at this time.
    Told(Instant),
    /// SIGKILL comes at this time.
    Terminated(Instant),
    Killed,
}

impl LoopHandler {
    /// A program and its arguments, run without a shell.
    ///
    /// # Errors
    /// [`EmptyCommand`] when there is no program, or its name is empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, EmptyCommand> {
        Ok(Self(Arc::new(Inner {
            program: Program::new(command)?,
            output_limit: 256 << 10,
            grace: Duration::from_secs(5),
            idle: Mutex::new(Vec::new()),
            starts: Starts::new(),
            seq: AtomicU64::new(0),
        })))
    }

    /// Largest output in bytes. Default 256 KiB. Like the others below: to be said before it is cloned.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.output_limit = bytes;
        }
        self
    }

    /// Time between the line that says stop and SIGTERM, and again to SIGKILL. Default 5 s; twice this is to be less than the
    /// worker's `cancel_grace`.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.grace = grace;
        }
        self
    }

    /// Tells the processes where they may submit jobs. Default: nowhere.
    #[must_use]
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.program.gateway = Some(gateway);
        }
        self
    }
}

impl Handler for LoopHandler {
    async fn run(&self, context: Context) -> Ending {
        self.0.run(&context).await
    }
}

impl Inner {
    async fn run(&self, context: &Context) -> Ending {
        if let Some(refusal) = self.program.forbidden(context) {
            return refusal;
        }
        let folder = match job_folder(context) {
            Ok(folder) => folder,
            Err(refusal) => return refusal,
        };
        let ticket = ticket_file(context);
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let line = match Told::job(context, seq, ticket.as_ref().map(NamedTempFile::path)).line() {
            Ok(line) => line,
            Err(error) => return Ending::failed(format!("the job cannot be written as a line: {error}")),
        };
        let mut kept = match self.process(context, folder.as_ref().map(TempDir::path)).await {
            Ok(kept) => kept,
            Err(ending) => return ending,
        };
        match self.converse(&mut kept.child, context, seq, line).await {
            Went::Answered { ending, told } => {
                // What ran in a folder of one job's own ends with the job; and one that was not told all of it would take what
                // is left for the beginning of the next.
                if folder.is_none() && told {
                    kept.answered = true;
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
                }
                ending
            }
            Went::Nonsense(why) => {
                self.starts.ended(kept.answered).await;
                Ending::failed(format!("its process was killed: {why}"))
            }
            Went::Ended => {
                self.starts.ended(kept.answered).await;
                let how = kept.child.ended().await;
                warn!(job = %context.key(), %how, "a process that was kept alive ended during a job");
                match context.is_cancelled() {
                    Some(why) => Ending::cancelled(format!("stopped because {} ({how})", why.sentence())),
                    None => Ending::retryable(format!("its process ended without an answer: {how}")),
                }
            }
        }
    }

    /// One that waits for a job, or a new one.
    async fn process(&self, context: &Context, folder: Option<&Path>) -> Result<Kept, Ending> {
        if folder.is_none() {
            loop {
                let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(mut kept) = kept else { break };
                if kept.child.is_alive() {
                    return Ok(kept);
                }
                let how = kept.child.ended().await;
                debug!(%how, "a process that was kept alive ended while it waited");
            }
        }
        tokio::select! {
            biased;
            () = self.starts.wait() => {}
            why = context.cancelled() => {
                return Err(Ending::cancelled(format!("stopped because {}, before its process was started", why.sentence())));
            }
        }
        let limit = self.output_limit + ENVELOPE;
        let child = LineChild::start(&self.program, folder, limit);
        child.map(|child| Kept { child, answered: false }).map_err(|error| self.program.failed_to_start(&error))
    }

    /// Tells the process of the job and listens until it has answered or cannot any more.
    async fn converse(&self, child: &mut LineChild, context: &Context, seq: u64, line: Vec<u8>) -> Went {
        let most = context.max_output().map_or(self.output_limit, |most| most.min(self.output_limit));
        let (mut unsent, mut at) = (line, 0);
        let mut stage = Stage::Running;
        loop {
            let rest = unsent.get(at..).unwrap_or_default();
            let due = match stage {
                Stage::Told(at) | Stage::Terminated(at) => Some(at),
                Stage::Running | Stage::Killed => None,
            };
            tokio::select! {
                biased;
                // Before its lines: of one that never stops talking nothing behind them would be looked at.
                why = context.cancelled(), if matches!(stage, Stage::Running) => {
                    if let Ok(line) = Told::cancel(seq, why.sentence(), self.grace).line() {
                        unsent.extend(line);
                    }
                    stage = Stage::Told(Instant::now() + self.grace);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    stage = match stage {
                        Stage::Told(_) => {
                            child.signal(Signal::TERM);
                            Stage::Terminated(Instant::now() + self.grace)
                        }
                        Stage::Running | Stage::Terminated(_) | Stage::Killed => {
                            child.signal(Signal::KILL);
                            Stage::Killed
                        }
                    };
                }
                line = child.lines.next() => {
                    let line = match line {
                        Ok(Some(line)) => line,
                        Ok(None) => return Went::Ended,
                        Err(error) => return Went::Nonsense(error.to_string()),
                    };
                    match protocol::read(&line) {
                        // Of a job before, which was told to stop.
                        Ok((of, _)) if of < seq => debug!(of, seq, "a late answer was ignored"),
                        Ok((of, _)) if of > seq => {
                            return Went::Nonsense(format!("it answered job {of} while it had job {seq}"));
                        }
                        Ok((_, Answer::Progress { fraction, note })) => context.progress(fraction, note),
                        Ok((_, Answer::Partial(text))) => context.partial(text),
                        Ok((_, answer)) => {
                            return Went::Answered { ending: end_of(answer, most), told: rest.is_empty() };
                        }
                        Err(error) => return Went::Nonsense(error.to_string()),
                    }
                }
                written = child.stdin.write(rest), if !rest.is_empty() => match written {
                    Ok(n) => at += n,
                    // It reads no more; what it still says, and how it ends, is told on the other side.
                    Err(_) => at = unsent.len(),
                },
            }
        }
    }
}

fn end_of(answer: Answer, most: usize) -> Ending {
    let (ending, output) = match answer {
        Answer::Result(output) => (Ending::Succeeded(None), output),
        Answer::Failure { reason, retryable: false, output, .. } => (Ending::failed(reason), output),
        Answer::Failure { reason, retry_after: Some(wait), output, .. } => {
            (Ending::retryable_after(reason, wait), output)
        }
        Answer::Failure { reason, output, .. } => (Ending::retryable(reason), output),
        Answer::Progress { .. } | Answer::Partial(_) => return Ending::failed("progress is no end"),
    };
    match output {
        Some(output) if output.get().len() > most => Ending::failed(format!(
            "output of {} bytes is larger than the limit of {most} bytes (write the result elsewhere and answer with a reference)",
            output.get().len()
        )),
        output if matches!(ending, Ending::Succeeded(_)) => Ending::Succeeded(output),
        output => ending.with_output(output),
    }
}
