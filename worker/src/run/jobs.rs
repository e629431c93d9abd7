//! Running jobs, each a task that ends for certain: by itself, or dropped when its grace is over.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::FutureExt;
use tidegate_protocol::outcome::Outcome;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::context::{Cancel, CancelSignal};
use crate::handler::{AnyHandler, Ending};
use crate::session::{Ended, JobKey, Retry};
use crate::{Context, handler};

/// Which job: shard of the pool and assignment.
pub(super) type Slot = (usize, JobKey);

/// A job's task is over.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) slot: Slot,
    pub(super) took: Duration,
    pub(super) end: End,
}

/// What is said of a job whose task is over.
#[derive(Debug)]
pub(super) enum End {
    /// A result.
    Result(Ended),
    /// It goes back unrun, or to run again elsewhere.
    GivenBack,
    /// Nothing is known of it.
    Abandoned,
}

/// All running jobs. Dropping it drops them.
#[derive(Default)]
pub(super) struct Jobs {
    tasks: JoinSet<(Ending, Option<Cancel>)>,
    /// With when it began, and its largest output.
    slots: HashMap<Id, (Slot, Instant, Option<usize>)>,
    signals: HashMap<Slot, CancelSignal>,
}

impl Jobs {
    pub(super) fn start(
        &mut self,
        slot: Slot,
        handler: Arc<dyn AnyHandler>,
        context: Context,
        signal: CancelSignal,
        (deadline, grace): (Option<Instant>, Duration),
    ) {
        let most = context.max_output();
        let task = self.tasks.spawn(supervise(handler, context, signal.clone(), (deadline, grace)));
        self.slots.insert(task.id(), (slot.clone(), Instant::now(), most));
        self.signals.insert(slot, signal);
    }

    pub(super) fn cancel(&self, slot: &Slot, why: Cancel) {
        if let Some(signal) = self.signals.get(slot) {
            signal.set(why);
        }
    }

    pub(super) fn cancel_all(&self, why: Cancel) {
        self.signals.values().for_each(|signal| signal.set(why));
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn poll_done(&mut self, cx: &mut TaskContext<'_>, max_output: usize) -> Poll<Done> {
        loop {
            let joined = match self.tasks.poll_join_next_with_id(cx) {
                Poll::Pending | Poll::Ready(None) => return Poll::Pending,
                Poll::Ready(Some(joined)) => joined,
            };
            let id = joined.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
            let Some((slot, since, most)) = self.slots.remove(&id) else { continue };
            let max_output = most.map_or(max_output, |most| most.min(max_output));
            let end = match joined {
                Ok((_, (ending, cancel))) => conclude(ending, cancel, max_output),
                // Only what a handler's future does while it is dropped can still panic here.
                Err(_) => End::Result(Ended::failed("the handler panicked while it was stopped")),
            };
            self.signals.remove(&slot);
            return Poll::Ready(Done { slot, took: since.elapsed(), end });
        }
    }
}

async fn supervise(
    handler: Arc<dyn AnyHandler>,
    context: Context,
    signal: CancelSignal,
    (deadline, grace): (Option<Instant>, Duration),
) -> (Ending, Option<Cancel>) {
    let max_runtime = context.max_runtime();
    let watch = context.clone();
    let contained = AssertUnwindSafe(async move { handler.start(context).await }).catch_unwind();
    let run = contained.map(|ended| ended.unwrap_or_else(|panic| Ending::failed(words_of(&*panic))));
    let mut run = std::pin::pin!(run);
    let too_late = async {
        match deadline {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let too_long = async {
        match max_runtime {
            Some(most) => sleep(most).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // Before the work: what always has something to do uses up what a turn may take, and nothing behind it is looked at.
        // A result that is ready now is still taken below.
        _ = watch.cancelled() => {}
        () = too_late => signal.set(Cancel::Deadline),
        () = too_long => signal.set(Cancel::MaxRuntime),
        ending = &mut run => return (ending, watch.is_cancelled()),
    }
    let ending = timeout(grace, run).await;
    let stopped = || Ending::cancelled(format!("did not stop within {grace:?} after it was told to, and was dropped"));
    (ending.unwrap_or_else(|_| stopped()), watch.is_cancelled())
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", said.unwrap_or("no message"))
}

/// What a handler's ending means for the job, given what it was told meanwhile.
fn conclude(ending: Ending, cancel: Option<Cancel>, max_output: usize) -> End {
    let never = Retry::Never;
    let (outcome, mut reason, output, retry) = match (ending, cancel) {
        (Ending::Succeeded(output), _) => (Outcome::Succeeded, String::new(), output, never),
        // Stopped for the worker's sake, not the job's: it runs again elsewhere.
        (_, Some(Cancel::Draining)) | (Ending::GivenBack, _) => return End::GivenBack,
        (Ending::Abandoned, _) => return End::Abandoned,
        // What it gives back all the same goes along: it says what the attempt used.
        (Ending::Failed { reason, output, .. }, Some(why @ (Cancel::Deadline | Cancel::MaxRuntime))) => {
            (Outcome::TimedOut, format!("{}: {reason}", why.sentence()), output, never)
        }
        (Ending::Cancelled { reason }, Some(why @ (Cancel::Deadline | Cancel::MaxRuntime))) => {
            (Outcome::TimedOut, format!("{}: {reason}", why.sentence()), None, never)
        }
        (Ending::Failed { reason, output, .. }, Some(why @ Cancel::Withdrawn)) => {
            (Outcome::Cancelled, format!("{}: {reason}", why.sentence()), output, never)
        }
        (Ending::Failed { reason, output, retry }, _) => (Outcome::Failed, reason, output, retry),
        (Ending::Cancelled { reason }, _) => (Outcome::Cancelled, reason, None, never),
    };
    handler::cut(&mut reason, handler::REASON);
    match output {
        Some(output)
            if output.get().len() > max_output && matches!(outcome, Outcome::Cancelled | Outcome::TimedOut) =>
        {
            End::Result(Ended { outcome, reason, output: None, retry })
        }
        Some(output) if output.get().len() > max_output => {
            let bytes = output.get().len();
            let reason = format!("output of {bytes} bytes is larger than the limit of {max_output} bytes");
            End::Result(Ended::failed(reason))
        }
        output => End::Result(Ended { outcome, reason, output, retry }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(output: &str) -> Ending {
        let output = serde_json::value::RawValue::from_string(output.to_owned()).ok();
        Ending::failed("stopped half way").with_output(output)
    }

    #[test]
    fn what_an_attempt_that_was_stopped_gives_back_goes_along_so_that_what_it_used_is_told() {
        let said = r#"{"usage":{"tokens":7}}"#;
        for (why, outcome) in [
            (Cancel::Withdrawn, Outcome::Cancelled),
            (Cancel::Deadline, Outcome::TimedOut),
            (Cancel::MaxRuntime, Outcome::TimedOut),
        ] {
            let End::Result(ended) = conclude(failed(said), Some(why), 100) else { panic!("{why:?} gives no result") };
            let output = ended.output.as_ref().map(|output| output.get());
            assert_eq!((ended.outcome, output, ended.retry), (outcome, Some(said), Retry::Never));
            let End::Result(ended) = conclude(failed(said), Some(why), 10) else { panic!("{why:?} gives no result") };
            assert_eq!((ended.outcome, ended.output.is_some()), (outcome, false), "too large, and ended all the same");
        }
    }
}
