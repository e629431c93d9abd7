//! A server that is reached over HTTP (the protocol's *streamable HTTP*): a POST per message, answered by one JSON document
//! or by a stream of events that ends with the answer.
//!
//! Not used: the stream that a server may open for messages of its own (GET), and taking up a stream that broke
//! (`Last-Event-ID`): a broken stream is a failure that may pass.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde_json::value::RawValue;
use tracing::debug;

use super::NoResult;
use super::events::Events;
use super::rpc::{self, Incoming};
use crate::Context;
use crate::agent::web::{self, Endpoint, Next};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Longest time to an answer that nothing depends on.
const ASIDE: Duration = Duration::from_secs(10);
/// Bytes of a body that are the reason of a failure.
const REASON: usize = 4 << 10;

/// One session with a server.
#[derive(Debug)]
pub(super) struct HttpLink {
    endpoint: Endpoint,
    limit: usize,
    session: Option<HeaderValue>,
    /// As agreed; none before.
    version: Option<HeaderValue>,
}

impl HttpLink {
    /// Whose answers may have `limit` bytes.
    pub(super) const fn new(endpoint: Endpoint, limit: usize) -> Self {
        Self { endpoint, limit, session: None, version: None }
    }

    /// The first call: what it answers begins the session.
    pub(super) async fn begin(&mut self, id: u64, message: Vec<u8>) -> Result<Box<RawValue>, NoResult> {
        let response = self.post(message).await?;
        self.session = response.headers().get(SESSION).cloned();
        self.answer(id, response, None).await
    }

    pub(super) fn agreed(&mut self, version: &str) {
        self.version = HeaderValue::from_str(version).ok();
    }

    pub(super) async fn call(
        &self,
        id: u64,
        message: Vec<u8>,
        progress: Option<Context>,
    ) -> Result<Box<RawValue>, NoResult> {
        let response = self.post(message).await?;
        self.answer(id, response, progress.as_ref()).await
    }

    pub(super) async fn notify(&self, message: Vec<u8>) {
        if !matches!(tokio::time::timeout(ASIDE, self.post(message)).await, Ok(Ok(_))) {
            debug!("an MCP server did not take a notification");
        }
    }

    async fn post(&self, message: Vec<u8>) -> Result<Response, NoResult> {
        let mut request = self
            .endpoint
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(message);
        for (name, value) in [(SESSION, &self.session), (VERSION, &self.version)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.map_err(|error| NoResult::Gone(web::chain(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::NOT_FOUND && self.session.is_some() {
            return Err(NoResult::SessionOver);
        }
        let next = web::next_attempt(status, response.headers());
        let said = web::why(response, REASON).await;
        let reason = format!("status {status}: {said}");
        if status == StatusCode::BAD_REQUEST && self.session.is_some() {
            return Err(NoResult::SessionDoubted(reason));
        }
        Err(match next {
            Next::Never => NoResult::Refused(reason),
            Next::Later => NoResult::Gone(reason),
            Next::After(wait) => NoResult::Busy(reason, wait),
        })
    }

    async fn answer(
        &self,
        id: u64,
        mut response: Response,
        progress: Option<&Context>,
    ) -> Result<Box<RawValue>, NoResult> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let streamed = kind.trim_start().starts_with("text/event-stream");
        let too_long = || NoResult::Refused(format!("the answer has more than {} bytes", self.limit));
        if !streamed {
            let body = web::body(response, self.limit).await.map_err(|error| match error {
                web::NoBody::TooLong => too_long(),
                web::NoBody::Broken(error) => NoResult::Gone(web::chain(&error)),
            })?;
            return match self.heard(id, &body, progress).await? {
                Some(result) => Ok(result),
                None => Err(NoResult::Refused("the answer holds no response to the request".into())),
            };
        }
        let mut events = Events::new(self.limit);
        while let Some(chunk) = response.chunk().await.map_err(|error| NoResult::Gone(web::chain(&error)))? {
            // A server that never stops talking must not keep the thread.
            tokio::task::consume_budget().await;
            for event in events.feed(&chunk).map_err(|_| too_long())? {
                // Servers begin streams with an empty event, whose id is all it says.
                if event.trim_ascii().is_empty() {
                    continue;
                }
                if let Some(result) = self.heard(id, &event, progress).await? {
                    return Ok(result);
                }
            }
        }
        Err(NoResult::Gone("the stream ended before the answer".into()))
    }

    /// Acts on a document; the result when it is the answer.
    async fn heard(
        &self,
        ours: u64,
        text: &[u8],
        progress: Option<&Context>,
    ) -> Result<Option<Box<RawValue>>, NoResult> {
        let messages =
            rpc::read(text).map_err(|error| NoResult::Refused(format!("what came is no message: {error}")))?;
        for message in messages {
            match message {
                Incoming::Response { id, result } if id == ours => return result.map(Some).map_err(NoResult::Error),
                Incoming::Progress { id, fraction, note } if id == ours => {
                    if let Some(context) = progress {
                        context.progress(fraction, note);
                    }
                }
                Incoming::Request { id, method } => {
                    if let Ok(reply) = rpc::reply(&id, &method) {
                        Box::pin(self.notify(reply)).await;
                    }
                }
                Incoming::Response { .. } | Incoming::Progress { .. } | Incoming::Other => {}
            }
        }
        Ok(None)
    }
}
