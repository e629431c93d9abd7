//! A request to an HTTP endpoint per job.
//!
//! `POST` with the payload as body (`null` when there is none) and what there is to know in headers ([`HEADERS`]). What comes back is how the job
//! ended:
//!
//! | answer | the job |
//! |---|---|
//! | 2xx | succeeded; the body is the result, by the same rule as a command's stdout |
//! | 408, 425, 429, 502, 503, 504, or any 5xx with `Retry-After` in seconds | failed, tried again after a pause and no sooner than that |
//! | no connection, a broken one, no answer within the limit | failed, tried again |
//! | anything else, redirects included | failed; the body's first 4 KiB are the reason |
//!
//! A job that is to stop has its connection closed. The endpoint may be asked more than once for a job: `Idempotency-Key` is
//! the same every time.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};

use super::output;
use super::web::{self, Endpoint, Next, NoBody};
use crate::{Context, Ending, Handler};

/// Bytes of a body that are the reason of a failure.
const REASON: usize = 4 << 10;
/// Largest header with the job's constraints; with more it is refused.
const CONSTRAINTS: usize = 8 << 10;

/// Every header with what it holds; those marked optional are absent when the job does not say. Text is UTF-8.
pub const HEADERS: &[(&str, &str)] = &[
    ("idempotency-key", "where the job's record stands, `source/partition@offset`: the same in every attempt"),
    ("tidegate-job", "the job's id, unique within its tenant"),
    ("tidegate-tenant", "the tenant"),
    ("tidegate-topic", "the job's dotted name"),
    ("tidegate-capability", "the capability it needs"),
    ("tidegate-attempt", "how often it was handed out, from 1"),
    ("tidegate-token", "the fencing token of this attempt, `epoch.attempt`; rises with every attempt"),
    ("tidegate-deadline-ms", "optional: milliseconds since the Unix epoch after which nobody wants the result"),
    ("tidegate-constraints", "optional: what the job must keep to, as a JSON object"),
    ("traceparent", "optional: the trace it belongs to, W3C trace context"),
    ("tidegate-payload-encoding", "`json`, or `base64` when the body is a JSON string of base64"),
];

/// Calls an endpoint for each job; the module documents the contract.
#[derive(Debug, Clone)]
pub struct HttpHandler {
    endpoint: Endpoint,
    output_limit: usize,
    answer_limit: Duration,
}

impl HttpHandler {
    /// Calls `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, output_limit: 256 << 10, answer_limit: Duration::from_secs(600) }
    }

    /// Largest body of an answer in bytes. Default 256 KiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Longest time to a whole answer, whatever the job allows. Default 10 minutes.
    #[must_use]
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }
}

impl Handler for HttpHandler {
    async fn run(&self, context: Context) -> Ending {
        let headers = match headers_of(&context) {
            Ok(headers) => headers,
            Err(why) => return Ending::failed(why),
        };
        let limit = context.max_output().map_or(self.output_limit, |most| most.min(self.output_limit));
        let request = self.endpoint.request(Method::POST).timeout(self.answer_limit).headers(headers);
        let request = request.body(context.payload().get().to_owned());
        let asked = async {
            match request.send().await {
                Ok(response) => answered(response, limit).await,
                Err(error) => Ending::retryable(format!("the endpoint did not answer: {}", web::chain(&error))),
            }
        };
        tokio::select! {
            biased;
            ending = asked => ending,
            why = context.cancelled() => {
                Ending::cancelled(format!("its request was dropped because {}", why.sentence()))
            }
        }
    }
}

async fn answered(response: Response, limit: usize) -> Ending {
    let status = response.status();
    if status.is_success() {
        return match web::body(response, limit).await {
            Ok(body) => match output::as_json(&body) {
                Ok(output) => Ending::Succeeded(output),
                Err(error) => Ending::failed(format!("the answer could not be written as JSON: {error}")),
            },
            Err(NoBody::TooLong) => Ending::failed(format!(
                "the answer has more than {limit} bytes (raise the output limit, or answer with a reference)"
            )),
            Err(NoBody::Broken(error)) => Ending::retryable(format!("the answer broke off: {}", web::chain(&error))),
        };
    }
    let next = web::next_attempt(status, response.headers());
    let said = web::why(response, REASON).await;
    let note = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let reason =
        if said.is_empty() { format!("status {status}{note}") } else { format!("status {status}{note}: {said}") };
    match next {
        Next::Never => Ending::failed(reason),
        Next::Later => Ending::retryable(reason),
        Next::After(wait) => Ending::retryable_after(reason, wait),
    }
}

fn headers_of(context: &Context) -> Result<HeaderMap, String> {
    let (job, token) = (context.job(), context.key().token);
    let constraints = context.constraints().map(ascii_json).transpose().map_err(|error| error.to_string())?;
    if let Some(text) = constraints.as_ref().filter(|text| text.len() > CONSTRAINTS) {
        return Err(format!(
            "its constraints have {} bytes and do not fit into a header (at most {CONSTRAINTS})",
            text.len()
        ));
    }
    let values = [
        Some(job.source.to_string()),
        Some(job.id.to_string()),
        Some(job.tenant.to_string()),
        Some(job.topic.clone()),
        Some(job.capability.to_string()),
        Some(token.attempt.to_string()),
        Some(format!("{}.{}", token.epoch, token.attempt)),
        job.deadline.map(|ms| ms.to_string()),
        constraints,
        context.traceparent().map(str::to_owned),
        Some(if context.payload_is_base64() { "base64" } else { "json" }.to_owned()),
    ];
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for ((name, _), value) in HEADERS.iter().zip(values) {
        let Some(value) = value else { continue };
        let value = HeaderValue::from_bytes(value.as_bytes());
        headers.insert(HeaderName::from_static(name), value.map_err(|_| format!("its `{name}` can be no header"))?);
    }
    Ok(headers)
}

/// JSON with everything beyond ASCII escaped.
fn ascii_json(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_header_is_ascii_and_means_the_same() {
        let value = serde_json::json!({"path": "/données/\u{1f600}"});
        let text = ascii_json(&value).unwrap();
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
