//! A server that is a process: messages are lines on its stdin and stdout. One process serves all jobs at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdout;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::NoResult;
use super::oversize::Ids;
use super::rpc::{self, Incoming, RpcError};
use crate::Context;
use crate::agent::child::LineChild;
use crate::agent::lines::{Lines, NoLine};

/// Messages that wait to be written.
const QUEUE: usize = 64;

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct StdioLink {
    to: mpsc::Sender<Vec<u8>>,
    calls: Arc<Mutex<Calls>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<u64, Waiting>,
    /// How the server ended.
    gone: Option<String>,
    /// It had to be stopped: it did what no server may.
    stopped: bool,
}

/// What became of a call.
#[derive(Debug)]
enum Answer {
    Said(Result<Box<RawValue>, RpcError>),
    /// More than may be taken in.
    TooLarge {
        limit: usize,
    },
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Whose progress it is.
    progress: Option<Context>,
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a>(&'a Mutex<Calls>, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.1);
    }
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StdioLink {
    pub(super) fn new(child: LineChild) -> Self {
        let (to, from) = mpsc::channel(QUEUE);
        let calls = Arc::new(Mutex::new(Calls::default()));
        let task = tokio::spawn(serve(child, from, Arc::clone(&calls)));
        Self { to, calls, task }
    }

    /// Whether its process has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).gone.is_some()
    }

    /// Whether its process had to be stopped, and so was of no use.
    pub(super) fn was_stopped(&self) -> bool {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    pub(super) async fn call(
        &self,
        id: u64,
        message: Vec<u8>,
        progress: Option<Context>,
    ) -> Result<Box<RawValue>, NoResult> {
        let (answer, answered) = oneshot::channel();
        {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(how) = &calls.gone {
                return Err(NoResult::Gone(how.clone()));
            }
            calls.waiting.insert(id, Waiting { answer, progress });
        }
        let _forget = Forget(&self.calls, id);
        if self.to.send(rpc::line(message)).await.is_err() {
            return Err(self.gone());
        }
        match answered.await {
            Ok(Answer::Said(Ok(result))) => Ok(result),
            Ok(Answer::Said(Err(error))) => Err(NoResult::Error(error)),
            Ok(Answer::TooLarge { limit }) => Err(NoResult::Refused(format!(
                "its answer has more than {limit} bytes and was passed over; have the tool give back less, or a reference"
            ))),
            Err(_) => Err(self.gone()),
        }
    }

    pub(super) async fn notify(&self, message: Vec<u8>) {
        // A server that is gone needs no telling.
        let _gone = self.to.send(rpc::line(message)).await;
    }

    fn gone(&self) -> NoResult {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        NoResult::Gone(calls.gone.clone().unwrap_or_else(|| "its process ended".into()))
    }
}

/// Bytes of answers that a server has not read, beyond which nothing more is taken from it.
const UNREAD: usize = 1 << 20;
/// Bytes of one line that are passed over before the server is stopped.
const PASSED_OVER: usize = 256 << 20;

/// Writes what is to be said and reads what comes, until the server ends.
async fn serve(mut child: LineChild, mut from: mpsc::Receiver<Vec<u8>>, calls: Arc<Mutex<Calls>>) {
    let (mut unsent, mut at) = (Vec::new(), 0);
    let (mut stray, mut passing) = (false, None);
    let broken = loop {
        let rest: &[u8] = unsent.get(at..).unwrap_or_default();
        tokio::select! {
            // One that does not read its answers is not listened to until it does.
            line = next(&mut child.lines, &mut passing), if rest.len() < UNREAD => match line {
                Ok(Some(Line::Whole(line))) => {
                    let Ok(messages) = rpc::read(&line) else {
                        if !line.trim_ascii().is_empty() && !std::mem::replace(&mut stray, true) {
                            warn!("an MCP server writes to stdout what is no message; it is passed over");
                        }
                        continue;
                    };
                    for message in messages {
                        if let Some(reply) = heard(message, &calls) {
                            unsent.drain(..std::mem::take(&mut at));
                            unsent.extend(rpc::line(reply));
                        }
                    }
                }
                Ok(Some(Line::TooLarge { of, limit })) => too_large(&of, limit, &calls),
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            },
            written = child.stdin.write(rest), if !rest.is_empty() => match written {
                Ok(n) => at += n,
                Err(_) => at = unsent.len(),
            },
            message = from.recv(), if rest.is_empty() => match message {
                Some(message) => (unsent, at) = (message, 0),
                None => break None,
            },
        }
    };
    let how = child.ended().await;
    let stopped = broken.is_some();
    let how = broken.map_or_else(|| how.clone(), |why| format!("it was stopped: {why}"));
    warn!(%how, "an MCP server ended");
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.stopped = stopped;
    calls.gone = Some(how);
    // Whoever waits is told by its sender's end.
    calls.waiting.clear();
}

/// What a server wrote.
enum Line {
    Whole(Vec<u8>),
    /// A line longer than any may be, with the answers to these requests.
    TooLarge {
        of: Vec<u64>,
        limit: usize,
    },
}

/// The next line. Nothing is lost when this is dropped while it waits: `passing` remembers that a line is being passed over.
async fn next(lines: &mut Lines<ChildStdout>, passing: &mut Option<(Ids, usize)>) -> Result<Option<Line>, NoLine> {
    loop {
        if let Some((ids, limit)) = passing {
            if !lines.pass_over(PASSED_OVER, |part| ids.feed(part)).await? {
                return Err(NoLine::TooLong { limit: PASSED_OVER });
            }
            let limit = *limit;
            let of = passing.take().map(|(ids, _)| ids.found()).unwrap_or_default();
            return Ok(Some(Line::TooLarge { of, limit }));
        }
        match lines.next().await {
            Err(NoLine::TooLong { limit }) => *passing = Some((Ids::default(), limit)),
            line => return line.map(|line| line.map(Line::Whole)),
        }
    }
}

/// Calls whose answer cannot be taken in fail; the others go on.
fn too_large(of: &[u64], limit: usize, calls: &Mutex<Calls>) {
    warn!(limit, calls = of.len(), "an MCP server's message is too large and was passed over");
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    for waiting in of.iter().filter_map(|id| calls.waiting.remove(id)) {
        let _left = waiting.answer.send(Answer::TooLarge { limit });
    }
}

/// Passes a message on; what is to be answered.
fn heard(message: Incoming, calls: &Mutex<Calls>) -> Option<Vec<u8>> {
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    match message {
        Incoming::Response { id, result } => match calls.waiting.remove(&id) {
            Some(waiting) => {
                let _left = waiting.answer.send(Answer::Said(result));
            }
            None => debug!(id, "an answer nobody waits for was ignored"),
        },
        Incoming::Progress { id, fraction, note } => {
            if let Some(context) = calls.waiting.get(&id).and_then(|waiting| waiting.progress.as_ref()) {
                context.progress(fraction, note);
            }
        }
        Incoming::Request { id, method } => return rpc::reply(&id, &method).ok(),
        Incoming::Other => {}
    }
    None
}

/// How long a server may take to say who it is.
pub(super) const HELLO: Duration = Duration::from_secs(30);
