//! Workers in other languages: lease, heartbeat, progress, complete, fail, release.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::ids::{BadName, Capability, PoolName, WorkerId};
use tidegate_protocol::job::Job;
use tidegate_protocol::selector::{MAX_LABEL_BYTES, MOST_LABELS, is_label};
use tidegate_worker::handler::Ending;

use super::answer::Refused;
use super::bearer::Puller;
use super::state::Api;
use crate::leasing::lease::Beat;
use crate::leasing::{Ask, Given, NotDone, NotLeased, Reported, Sign, Taken};

/// Most jobs, capabilities and bytes of a worker's name in one request.
const MOST: (usize, usize, usize) = (100, 64, 128);
/// How long a report of an end waits for the scheduler's word.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    worker: String,
    capabilities: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default = "one")]
    max: usize,
    #[serde(default)]
    wait_ms: u64,
    /// Whether the approved record itself is wanted.
    #[serde(default = "yes")]
    ticket: bool,
}

const fn one() -> usize {
    1
}

const fn yes() -> bool {
    true
}

/// One leased job.
#[derive(Debug, Clone, Serialize)]
pub struct Leased {
    /// The lease's id; never to be shown to others.
    pub lease: String,
    /// The fencing token, sent with every word about it.
    pub token: String,
    /// The job, without its payload.
    pub job: Job,
    /// The payload's exact JSON text; `null` when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// A binary payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<Box<RawValue>>,
    /// What it must keep to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Constraints>,
    /// When nobody wants the result any more; milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The approved record's exact text, with the ticket that proves that the job may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The trace it belongs to, W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The lease lasts so long from now, and from every heartbeat.
    pub term_ms: u64,
    /// How often to send one.
    pub heartbeat_ms: u64,
}

/// The answer to a request for jobs.
#[derive(Debug, Clone, Serialize)]
pub struct LeasedJobs {
    /// None when the wait was over.
    pub leases: Vec<Leased>,
    /// The worker is to leave: to end what it has, and to ask for nothing more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
}

/// The answer to what is said of a lease.
#[derive(Debug, Clone, Serialize)]
pub struct Progressed {
    /// `held`: go on; `cancel`: stop and say how it ended; `lost`: stop, nothing counts any more; `ended`: its end was
    /// reported; `accepted`: the report counts; `pending`: the scheduler has not said so yet; `released`.
    pub state: &'static str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The lease lasts so long from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term_ms: Option<u64>,
    /// The worker is to leave: to end what it has, and to ask for nothing more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// The gateway could not tell the scheduler of its jobs for a full lease: another may have been given this one. Whoever cannot bear that
    /// two run at a time stops it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
}

impl Progressed {
    const fn of(state: &'static str) -> Self {
        Self { state, reason: None, term_ms: None, drain: false, in_doubt: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressBody {
    token: String,
    #[serde(default)]
    fraction: Option<f64>,
    #[serde(default)]
    note: Option<String>,
    /// A piece of the output.
    #[serde(default)]
    partial: Option<String>,
    /// Whether it waits, from now on, for a job that it spawned.
    #[serde(default)]
    waits: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    token: String,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    result_base64: Option<String>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailBody {
    token: String,
    error: String,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    /// Another attempt may go better.
    #[serde(default)]
    retryable: bool,
    /// It will, so long from now; as if `retryable` were said as well.
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Json<Progressed>, Refused>;

fn read<T: DeserializeOwned>(body: Body) -> Result<(T, Bytes), Refused> {
    let body = body.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            e.body_text(),
            "store it elsewhere and send a reference, or raise `limits.body_bytes`",
        ),
        _ => Refused::bad_request("bad_body", e.body_text(), "send it whole"),
    })?;
    let hint = "send a JSON object with the fields of this route alone";
    let read = serde_json::from_slice(&body).map_err(|e| Refused::bad_request("bad_body", e.to_string(), hint))?;
    Ok((read, body))
}

pub(super) async fn lease(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(pool): Path<String>,
    body: Body,
) -> Result<Json<LeasedJobs>, Refused> {
    let (LeaseBody { worker, capabilities, labels, max, wait_ms, ticket }, _) = read(body)?;
    let bad = |e: BadName| Refused::bad_request("bad_name", e.to_string(), "correct it");
    let (jobs, most_capabilities, name) = MOST;
    if !(1..=jobs).contains(&max) {
        return Err(Refused::bad_request("bad_max", format!("`max` is not 1 to {jobs}"), "correct it"));
    }
    if capabilities.is_empty() || capabilities.len() > most_capabilities || worker.len() > name {
        let detail =
            format!("there are not 1 to {most_capabilities} capabilities, or `worker` is longer than {name} bytes");
        return Err(Refused::bad_request("bad_worker", detail, "correct it"));
    }
    let is_bad = |(name, value): &(&String, &String)| !is_label(name) || !is_label(value);
    if labels.len() > MOST_LABELS || labels.iter().any(|label| is_bad(&label)) {
        let detail = format!(
            "there are more than {MOST_LABELS} `labels`, or a name or value is not 1 to {MAX_LABEL_BYTES} bytes without control characters"
        );
        return Err(Refused::bad_request("bad_labels", detail, "correct it"));
    }
    let ask = Ask {
        worker: WorkerId::new(worker).map_err(bad)?,
        pool: PoolName::new(pool).map_err(bad)?,
        capabilities: capabilities.iter().map(Capability::new).collect::<Result<_, _>>().map_err(bad)?,
        labels,
        most: max,
        wait: Duration::from_millis(wait_ms).min(api.longest_wait),
    };
    let Given { jobs, drain } = api.leasing.lease(&key, ask).await.map_err(|e| Refused::from(&e))?;
    Ok(Json(LeasedJobs { leases: jobs.into_iter().map(|taken| leased(taken, ticket)).collect(), drain }))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn leased(taken: Taken, ticket: bool) -> Leased {
    let Taken { id, token, context, terms } = taken;
    let payload = context.payload().to_owned();
    let (payload, payload_base64) =
        if context.payload_is_base64() { (None, Some(payload)) } else { (Some(payload), None) };
    Leased {
        lease: id.as_str().to_owned(),
        token,
        job: context.job().clone(),
        payload,
        payload_base64,
        constraints: context.constraints().cloned(),
        deadline_ms: context.deadline().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(millis),
        ticket: ticket.then(|| context.record().get().to_owned()),
        traceparent: context.traceparent().map(str::to_owned),
        term_ms: millis(terms.lease),
        heartbeat_ms: millis(terms.heartbeat),
    }
}

pub(super) async fn heartbeat(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (TokenBody { token }, _) = read(body)?;
    let standing = api.leasing.beat(&key, &id, &token).map_err(|e| Refused::from(&e))?;
    let (state, reason, held) = match standing.beat {
        Beat::Held => ("held", None, true),
        Beat::Cancel(why) => ("cancel", Some(why), true),
        Beat::Lost(why) => ("lost", Some(why), false),
        Beat::Ended => ("ended", None, false),
    };
    let term_ms = held.then(|| millis(standing.term));
    let in_doubt = held && standing.in_doubt;
    Ok(Json(Progressed { state, reason, term_ms, drain: standing.drain, in_doubt }))
}

pub(super) async fn progress(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (ProgressBody { token, fraction, note, partial, waits }, _) = read(body)?;
    let sign = Sign { fraction, note, partial, waits };
    api.leasing.desk().progress(&key.id, &id, &token, sign).map_err(|e| Refused::from(&e))?;
    Ok(Json(Progressed::of("held")))
}

pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (CompleteBody { token, result, result_base64, usage }, body) = read(body)?;
    let output = output(result, result_base64)?;
    let output = match usage {
        Some(usage) => Some(with_usage(output, &usage)?),
        None => output,
    };
    report(&api, (&key.id, &id, &token), Ending::Succeeded(output), "complete", &body).await
}

pub(super) async fn fail(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (FailBody { token, error, result, retryable, retry_after_ms }, body) = read(body)?;
    let failed = match (retry_after_ms, retryable) {
        (Some(wait), _) => Ending::retryable_after(error, Duration::from_millis(wait)),
        (None, true) => Ending::retryable(error),
        (None, false) => Ending::failed(error),
    };
    report(&api, (&key.id, &id, &token), failed.with_output(result), "fail", &body).await
}

pub(super) async fn release(
    State(api): State<Arc<Api>>,
    Extension(Puller(key)): Extension<Puller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (TokenBody { token }, _) = read(body)?;
    api.leasing.desk().release(&key.id, &id, &token).map_err(|e| Refused::from(&e))?;
    Ok(Json(Progressed::of("released")))
}

async fn report(
    api: &Api,
    lease: (&tidegate_protocol::ids::KeyId, &str, &str),
    ending: Ending,
    kind: &str,
    body: &Bytes,
) -> Answer {
    let said: [u8; 32] = Sha256::new().chain_update(kind).chain_update([0]).chain_update(body).finalize().into();
    let reported = api.leasing.desk().end(lease, ending, said, PATIENCE).await.map_err(|e| Refused::from(&e))?;
    let state = match reported {
        Reported::Accepted => "accepted",
        Reported::Pending => "pending",
        Reported::Refused(reason) => return Err(refused_result(&reason)),
    };
    Ok(Json(Progressed::of(state)))
}

fn output(result: Option<Box<RawValue>>, base64: Option<String>) -> Result<Option<Box<RawValue>>, Refused> {
    let bad = |detail: String| Refused::bad_request("bad_result", detail, "send `result` (JSON) or `result_base64`");
    match (result, base64) {
        (Some(_), Some(_)) => Err(bad("there are both `result` and `result_base64`".into())),
        (result, None) => Ok(result),
        (None, Some(text)) => {
            BASE64_STANDARD.decode(&text).map_err(|e| bad(format!("`result_base64`: {e}")))?;
            to_raw_value(&text).map(Some).map_err(|e| bad(e.to_string()))
        }
    }
}

/// A job's use of tokens and money is a member of its result.
fn with_usage(output: Option<Box<RawValue>>, usage: &RawValue) -> Result<Box<RawValue>, Refused> {
    let bad = |detail: &str| Refused::bad_request("bad_usage", detail, "put `usage` into a `result` that is an object");
    let result = output.as_ref().map_or("{}", |output| output.get());
    let mut object: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(result).map_err(|_| bad("`usage` is given beside a `result` that is no object"))?;
    if object.insert("usage".into(), usage.to_owned()).is_some() {
        return Err(bad("`usage` is given in the `result` and beside it"));
    }
    to_raw_value(&object).map_err(|_| bad("`usage` cannot be written"))
}

fn refused_result(reason: &str) -> Refused {
    let (word, detail) = match reason {
        "stale_fence" | "not_holder" | "unknown_job" => {
            ("stale_fence", "the job's lease had ended: it is another worker's")
        }
        "finished" => ("finished", "the job had ended"),
        _ => ("result_refused", "the scheduler refused the result"),
    };
    Refused::new(StatusCode::CONFLICT, word, format!("{detail} ({reason})"), "drop the result; nothing is left to do")
}

impl From<&NotDone> for Refused {
    fn from(error: &NotDone) -> Self {
        let detail = error.to_string();
        match error {
            NotDone::NoSuchLease => {
                Self::new(StatusCode::NOT_FOUND, "lease_lost", detail, "stop the job: nothing it does counts any more")
            }
            NotDone::Stale { .. } => {
                Self::new(StatusCode::CONFLICT, "stale_fence", detail, "drop the result; nothing is left to do")
            }
            NotDone::AlreadyEnded => {
                Self::new(StatusCode::CONFLICT, "already_ended", detail, "what was said first stands")
            }
        }
    }
}

impl From<&NotLeased> for Refused {
    fn from(error: &NotLeased) -> Self {
        let detail = error.to_string();
        match error {
            NotLeased::NotCovered { .. } => {
                let hint = "use a key made for it: `keys.workers` of the gateway's configuration";
                Self::new(StatusCode::FORBIDDEN, "not_covered", detail, hint)
            }
            NotLeased::TooManyLeases { .. } => {
                let hint = "finish or release some first";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_leases", detail, hint)
            }
            NotLeased::TooMany { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_waiting", detail, "ask again in a moment")
            }
            NotLeased::Broken { .. } => {
                tracing::warn!(%error, "a worker asked in vain");
                let hint = "ask again in a moment; the operator's log says more";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "pool_unavailable", detail, hint)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_stands_in_the_result_wherever_it_was_given() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let with = |result: Option<&str>, usage: &str| {
            with_usage(result.map(raw), &raw(usage)).map(|value| value.get().to_owned()).map_err(|e| e.body.error)
        };
        assert_eq!(with(None, r#"{"tokens":3}"#).unwrap(), r#"{"usage":{"tokens":3}}"#);
        assert_eq!(with(Some(r#"{"a":1}"#), "{}").unwrap(), r#"{"a":1,"usage":{}}"#);
        assert_eq!(with(Some("[1]"), "{}").unwrap_err(), "bad_usage");
        assert_eq!(with(Some(r#"{"usage":1}"#), "{}").unwrap_err(), "bad_usage");
        assert!(output(Some(raw("1")), Some("MQ==".into())).is_err() && output(None, Some("*".into())).is_err());
        assert_eq!(output(None, Some("MQ==".into())).unwrap().unwrap().get(), r#""MQ==""#);
    }
}
