//! A process that lives longer than a job and is spoken to in lines.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::lines::Lines;
use super::output;
use super::program::{Group, Program, STDERR_TAIL, how_it_ended};
use crate::run::backoff::Backoff;

/// How long a process that has closed its stdout may take to end before it is killed, and then its stderr to be read to the end.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// A running process. Dropped, it and its process group are killed.
#[derive(Debug)]
pub(super) struct LineChild {
    child: Child,
    group: Group,
    pub(super) stdin: ChildStdin,
    pub(super) lines: Lines<ChildStdout>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    /// Reads stderr; done once nobody holds its other end.
    reader: JoinHandle<()>,
}

impl LineChild {
    /// Starts `program`, whose lines may have `limit` bytes.
    pub(super) fn start(program: &Program, folder: Option<&Path>, limit: usize) -> io::Result<Self> {
        let mut child = Program::spawn(program.command(folder)?.stderr(Stdio::piped()))?;
        let group = Group::of(&child);
        let missing = || io::Error::other("its pipes are missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let mut from = child.stderr.take().ok_or_else(missing)?;
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let tail = Arc::clone(&stderr);
        // Ends with the last holder of the pipe.
        let reader = tokio::spawn(async move {
            let mut chunk = vec![0; 4 << 10];
            while let Ok(n @ 1..) = from.read(&mut chunk).await {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend(chunk.iter().take(n));
                let surplus = tail.len().saturating_sub(STDERR_TAIL);
                tail.drain(..surplus);
            }
        });
        Ok(Self { child, group, stdin, lines: Lines::new(stdout, limit), stderr, reader })
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// How it ended, with the last it wrote to stderr; killed unless it ends soon.
    pub(super) async fn ended(mut self) -> String {
        let status = match timeout(LAST_BREATH, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.group.signal(Signal::KILL);
                self.child.wait().await
            }
        };
        let how = status.map_or_else(|error| error.to_string(), how_it_ended);
        // Its last words may still be on their way; a grandchild that keeps the pipe is waited for no longer than this.
        let _ = timeout(LAST_BREATH, &mut self.reader).await;
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let said = output::as_reason(&tail, tail.len() >= STDERR_TAIL);
        if said.is_empty() { how } else { format!("{how}: {said}") }
    }
}

/// When a process may be started again: pauses grow while one after the other ends without having been of use.
#[derive(Debug)]
pub(super) struct Starts(AsyncMutex<(Backoff, Option<Instant>)>);

impl Starts {
    pub(super) const fn new() -> Self {
        Self(AsyncMutex::const_new((Backoff::new(), None)))
    }

    /// Waits until one may be started.
    pub(super) async fn wait(&self) {
        let not_before = self.0.lock().await.1;
        if let Some(at) = not_before {
            sleep_until(at).await;
        }
    }

    /// One ended; `useful` when it had answered something.
    pub(super) async fn ended(&self, useful: bool) {
        let (backoff, not_before) = &mut *self.0.lock().await;
        if useful {
            backoff.reset();
        }
        *not_before = Some(Instant::now() + backoff.next_pause());
    }
}
