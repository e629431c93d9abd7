//! What a user of the library writes: one handler per capability.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::Context;
use crate::session::Retry;

/// Longest reason that is sent, bytes.
pub(crate) const REASON: usize = 8 << 10;

/// How a handler's run ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Done, with what it gives back.
    Succeeded(Option<Box<RawValue>>),
    /// Not done, and why.
    Failed {
        /// For people; cut at 8 KiB.
        reason: String,
        /// What it gives back all the same.
        output: Option<Box<RawValue>>,
        /// Whether another attempt may go better.
        retry: Retry,
    },
    /// It stopped because it was told to, or because whatever it does was cancelled.
    Cancelled {
        /// For people; cut at 8 KiB.
        reason: String,
    },
    /// It was not run and goes back for another worker; no attempt is counted.
    GivenBack,
    /// Whatever ran it is gone, and nothing is known of it: its lease ends as that of a worker that died.
    Abandoned,
}

impl Ending {
    /// Success with `output` as JSON; a failure when it cannot be written as JSON.
    #[must_use]
    pub fn succeeded(output: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(output) {
            Ok(json) => Self::Succeeded(Some(json)),
            Err(error) => Self::failed(format!("output could not be written as JSON: {error}")),
        }
    }

    /// A final failure without output: another attempt would fail as well.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::failure(reason.into(), Retry::Never)
    }

    /// A failure that may have passed by the next attempt (a peer that is away, a rate limit). The scheduler tries the job
    /// again after a pause, until its attempts are used up.
    #[must_use]
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self::failure(reason.into(), Retry::Backoff)
    }

    /// The same, when it is known how long it will last (an HTTP `Retry-After`).
    #[must_use]
    pub fn retryable_after(reason: impl Into<String>, wait: Duration) -> Self {
        Self::failure(reason.into(), Retry::After(wait))
    }

    /// A failure with what it gives back all the same; any other ending stays as it is.
    #[must_use]
    pub fn with_output(self, output: Option<Box<RawValue>>) -> Self {
        if let Self::Failed { reason, retry, .. } = self { Self::Failed { reason, output, retry } } else { self }
    }

    fn failure(mut reason: String, retry: Retry) -> Self {
        cut(&mut reason, REASON);
        Self::Failed { reason, output: None, retry }
    }

    /// Stopped.
    #[must_use]
    pub fn cancelled(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        cut(&mut reason, REASON);
        Self::Cancelled { reason }
    }
}

/// Shortens `text` to at most `bytes`, at a character's border.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}

/// Runs jobs of one capability, many at once. Also implemented by closures `Fn(Context) -> impl Future<Output = Ending>`.
///
/// It may be run more than once for a job (see the crate's documentation). It must not block its thread: blocking work
/// belongs in `tokio::task::spawn_blocking`. When [`Context::cancelled`] resolves it should return soon; after the
/// worker's cancel grace its future is dropped. A panic is contained and counts as a failure.
pub trait Handler: Send + Sync + 'static {
    /// Does the job.
    fn run(&self, context: Context) -> impl Future<Output = Ending> + Send;

    /// A job was given to this worker that [`run`](Self::run) is not called for: its payload is kept elsewhere and cannot be had.
    fn passed_over(&self) {}
}

impl<F, Fut> Handler for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Ending> + Send,
{
    fn run(&self, context: Context) -> impl Future<Output = Ending> + Send {
        self(context)
    }
}

/// Why a typed handler's run failed. Made from any error by `?`, with the whole chain of causes; final unless
/// [`Failure::retryable`] says otherwise.
#[derive(Debug)]
pub struct Failure {
    reason: String,
    retry: Retry,
}

impl Failure {
    /// A final failure in one's own words.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: Retry::Never }
    }

    /// The same failure as one that may have passed by the next attempt: `.map_err(|e| Failure::from(e).retryable())?`.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self { retry: Retry::Backoff, ..self }
    }

    /// The same, when it is known how long it will last.
    #[must_use]
    pub fn retryable_after(self, wait: Duration) -> Self {
        Self { retry: Retry::After(wait), ..self }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::new(text)
    }
}

/// A handler with a payload and an output that serde knows. Registered with [`crate::Builder::typed`]; a payload that is
/// not an `Input` is a failure that says why.
pub trait TypedHandler: Send + Sync + 'static {
    /// What the payload is read as.
    type Input: DeserializeOwned + Send;
    /// What is given back.
    type Output: Serialize + Send;

    /// Does the job. After a cancel any `Err` counts as stopped, not as failed.
    fn run(&self, input: Self::Input, context: Context) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// A [`TypedHandler`] as a [`Handler`].
#[derive(Debug)]
pub(crate) struct Typed<T>(pub(crate) T);

impl<T: TypedHandler> Handler for Typed<T> {
    async fn run(&self, context: Context) -> Ending {
        let input = match serde_json::from_str(context.payload().get()) {
            Ok(input) => input,
            Err(error) => return Ending::failed(format!("payload is not what this capability takes: {error}")),
        };
        match self.0.run(input, context.clone()).await {
            Ok(output) => Ending::succeeded(&output),
            Err(Failure { reason, .. }) if context.is_cancelled().is_some() => Ending::cancelled(reason),
            Err(Failure { reason, retry }) => Ending::failure(reason, retry),
        }
    }
}

/// Handlers of several types side by side.
pub(crate) trait AnyHandler: Send + Sync {
    fn start(self: Arc<Self>, context: Context) -> BoxFuture<'static, Ending>;

    /// See [`Handler::passed_over`].
    fn not_started(&self);
}

impl<H: Handler> AnyHandler for H {
    fn start(self: Arc<Self>, context: Context) -> BoxFuture<'static, Ending> {
        Box::pin(async move { self.run(context).await })
    }

    fn not_started(&self) {
        self.passed_over();
    }
}
