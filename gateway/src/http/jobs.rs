//! Jobs: submit, get, list.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query as Q, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::trace;

use super::answer::{Refusal, Refused};
use super::idempotency;
use super::params::{Query, job_key};
use super::state::Api;
use crate::progress::{Seen, Signs};
use crate::submit::{NotSubmitted, Submitted};
use crate::view::{Changes, JobKey, Story};

/// One line of the answer to JSON lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Number of the line in the request, from 1.
    pub line: usize,
    /// Where it landed.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<Submitted>,
    /// Why it did not.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// The answer to JSON lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lines {
    /// Every line that was not empty.
    pub jobs: Vec<Line>,
    /// How many landed.
    pub accepted: usize,
    /// How many did not.
    pub refused: usize,
}

pub(super) fn query(query: Result<Q<Query>, QueryRejection>) -> Result<Query, Refused> {
    let bad = |e: QueryRejection| Refused::bad_request("bad_query", e.body_text(), "correct the query parameters");
    Ok(query.map_err(bad)?.0)
}

pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    asked: Result<Q<Query>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let asked = query(asked)?;
    let named = |name: &str| api.submitters.iter().find(|s| s.source().name.as_str() == name);
    let submitter = match &asked.source {
        None => api.submitters.first(),
        Some(name) => named(name),
    };
    let submitter = submitter.ok_or_else(|| {
        let names: Vec<&str> = api.submitters.iter().map(|s| s.source().name.as_str()).collect();
        let detail = format!("there is no such source to submit to; there is: {}", names.join(", "));
        Refused::new(StatusCode::NOT_FOUND, "no_such_source", detail, "correct `source`")
    })?;
    let body = body.map_err(|e| {
        if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("the body has more than {} bytes", api.body_bytes);
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, "send fewer jobs at a time")
        } else {
            Refused::bad_request("bad_body", e.body_text(), "send it whole")
        }
    })?;
    let traceparent = headers.get(trace::PARENT).and_then(|value| value.to_str().ok());
    let key = idempotency::key_of(&headers)?;
    if key.is_some() && !submitter.source().reads_ids {
        return Err(idempotency::not_read());
    }
    if is_one(&headers, &body) {
        let body = match &key {
            Some(key) => idempotency::with_id(body, key)?,
            None => body,
        };
        let mut results = submitter.submit(vec![body], traceparent).await;
        return match results.pop() {
            Some(Ok(submitted)) => Ok((StatusCode::ACCEPTED, Json(submitted)).into_response()),
            Some(Err(error)) => Err(Refused::from(&error)),
            None => Err(Refused::from(&NotSubmitted::Unknown)),
        };
    }
    let (numbers, mut lines): (Vec<usize>, Vec<Bytes>) = lines(&body).unzip();
    if lines.is_empty() {
        return Err(Refused::bad_request("empty", "the body has no job", "send one JSON object, or one a line"));
    }
    if let Some(key) = &key {
        let [line] = &mut lines[..] else { return Err(idempotency::of_several()) };
        *line = idempotency::with_id(std::mem::take(line), key)?;
    }
    Ok(answer(numbers, submitter.submit(lines, traceparent).await))
}

fn answer(numbers: Vec<usize>, results: Vec<Result<Submitted, NotSubmitted>>) -> Response {
    let mut statuses = Vec::new();
    let mut jobs = Vec::with_capacity(results.len());
    for (line, result) in numbers.into_iter().zip(results) {
        jobs.push(match result {
            Ok(submitted) => Line { line, submitted: Some(submitted), refusal: None },
            Err(error) => {
                let refused = Refused::from(&error);
                statuses.push(refused.status);
                Line { line, submitted: None, refusal: Some(refused.body) }
            }
        });
    }
    let (refused, accepted) = (statuses.len(), jobs.len() - statuses.len());
    let status = match (statuses.first(), accepted) {
        (None, _) => StatusCode::ACCEPTED,
        (Some(status), 0) => *status,
        (Some(_), _) => StatusCode::MULTI_STATUS,
    };
    (status, Json(Lines { jobs, accepted, refused })).into_response()
}

/// Whether the body is one job: what the content type says, else whether the first line is whole by itself.
fn is_one(headers: &HeaderMap, body: &Bytes) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if ["ndjson", "jsonl", "json-seq"].iter().any(|lines| kind.contains(lines)) {
        return false;
    }
    let mut lines = lines(body);
    let (Some((_, first)), second) = (lines.next(), lines.next()) else { return false };
    second.is_none() || serde_json::from_slice::<serde::de::IgnoredAny>(&first).is_err()
}

/// Lines that are not empty, with their numbers.
fn lines(body: &Bytes) -> impl Iterator<Item = (usize, Bytes)> {
    body.split(|byte| *byte == b'\n')
        .map(|line| body.slice_ref(line.trim_ascii()))
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| (number + 1, line))
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<Story>, Refused> {
    let asked = query(asked)?;
    let key = one_job(&api, &name, &asked)?;
    let story = api.view.ended(&key, asked.wait(api.longest_wait)?).await?;
    story.map(Json).ok_or_else(|| no_such_job(&name))
}

pub(super) async fn progress(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<Signs>, Refused> {
    let asked = query(asked)?;
    let key = one_job(&api, &name, &asked)?;
    let since = asked.since()?.unwrap_or(0);
    let seen = Seen { sign: since, change: None };
    let signs = api.progress.of(&api.view, &key, seen, asked.wait(api.longest_wait)?).await;
    signs.map_err(|error| Refused::from(&error))?.map(Json).ok_or_else(|| no_such_job(&name))
}

pub(super) fn no_such_job(name: &str) -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "no_such_job",
        format!("no job `{name}` is known here"),
        "it may not be judged yet (add `wait=30s`), or be so old that only the logs have it",
    )
}

/// The job that is asked for, where that is clear.
pub(super) fn one_job(api: &Api, name: &str, asked: &Query) -> Result<JobKey, Refused> {
    let key = job_key(name, asked.tenant()?)?;
    if let JobKey::Id { id, tenant: None } = &key {
        let tenants = api.view.tenants_of(id);
        if tenants.len() > 1 {
            let mut names: Vec<&str> = tenants.iter().map(AsRef::as_ref).collect();
            names.sort_unstable();
            return Err(Refused::new(
                StatusCode::CONFLICT,
                "ambiguous",
                format!("several tenants have a job `{id}`: {}", names.join(", ")),
                "add `tenant=`",
            ));
        }
    }
    Ok(key)
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<Changes>, Refused> {
    let asked = query(asked)?;
    let (filter, limit) = (asked.filter()?, asked.limit()?);
    let changes = match asked.since()? {
        None => api.view.list(&filter, limit),
        Some(since) => api.view.changes(since, &filter, limit, asked.wait(api.longest_wait)?).await,
    };
    Ok(Json(changes))
}
