//! Held jobs, and what people say about them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query as Q, State};
use axum::http::StatusCode;
use bytes::Bytes;
use tidegate_protocol::command::Action;
use tidegate_protocol::job::SourcePosition;

use super::answer::Refused;
use super::jobs::query;
use super::params::Query;
use super::state::Api;
use crate::commands::{NotPassedOn, Passed, read};
use crate::view::{Changes, Filter, JobKey, State as JobState, Story};

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<Changes>, Refused> {
    let asked = query(asked)?;
    let filter = Filter { state: Some(JobState::Held), ..asked.filter()? };
    Ok(Json(api.view.list(&filter, asked.limit()?)))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(at): Path<String>) -> Result<Json<Story>, Refused> {
    let source = position(&at)?;
    let story = api.view.get(&JobKey::Position(source)).filter(|story| story.hold.is_some());
    story.map(Json).ok_or_else(|| {
        Refused::new(
            StatusCode::NOT_FOUND,
            "never_held",
            format!("no job of record `{at}` is, or was, held"),
            "`GET /v1/approvals` lists what is held",
        )
    })
}

pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    Path(at): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Passed>, Refused> {
    say(&api, &at, Action::Approve, body).await
}

pub(super) async fn reject(
    State(api): State<Arc<Api>>,
    Path(at): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Passed>, Refused> {
    say(&api, &at, Action::Reject, body).await
}

async fn say(
    api: &Api,
    at: &str,
    action: Action,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Passed>, Refused> {
    let body = body.map_err(|e| Refused::bad_request("bad_body", e.body_text(), "send it whole"))?;
    let command = read(&body).map_err(|e| Refused::from(&e))?;
    if command.action != action || command.source != position(at)? {
        let detail = format!("the signed command is to {} {}", command.action.word(), command.source);
        return Err(Refused::bad_request("other_command", detail, "send it where it belongs"));
    }
    api.commands.pass_on(&api.view, body).await.map(Json).map_err(|e| Refused::from(&e))
}

fn position(at: &str) -> Result<SourcePosition, Refused> {
    let bad = |e: tidegate_protocol::job::BadSourcePosition| {
        Refused::bad_request("bad_position", e.to_string(), "give it as `GET /v1/approvals` lists it")
    };
    at.parse().map_err(bad)
}

impl From<&NotPassedOn> for Refused {
    fn from(error: &NotPassedOn) -> Self {
        let detail = error.to_string();
        match error {
            NotPassedOn::NoCommand { .. } => Self::bad_request(
                "no_command",
                detail,
                "send one signed command, as `tidegate approvals` makes it; docs/policy.md has its form",
            ),
            NotPassedOn::NoSuchSource { .. } => {
                Self::new(StatusCode::NOT_FOUND, "no_such_source", detail, "correct the position")
            }
            NotPassedOn::Away(cause) => {
                tracing::warn!(error = %cause, "a command cannot be passed on: no producer");
                let hint = "nothing landed: send it again when `/readyz` says so";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "spine_unavailable", detail, hint)
            }
            NotPassedOn::Refused(cause) => {
                tracing::warn!(error = %cause, "a command was refused by the spine");
                let hint = "nothing landed; the operator's log says why";
                Self::new(StatusCode::BAD_GATEWAY, "spine_refused", detail, hint)
            }
            NotPassedOn::Unknown => {
                let hint = "send the same command again: it counts once";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", detail, hint)
            }
        }
    }
}
