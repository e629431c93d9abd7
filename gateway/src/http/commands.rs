//! What people say about jobs: one signed command a request, passed on to the kernel that holds the job.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use tidegate_protocol::command::{Action, Command};

use super::answer::Refused;
use super::approvals::position;
use super::params::job_key;
use super::state::Api;
use crate::commands::{NotPassedOn, Passed, read};
use crate::view::JobKey;

type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Json<Passed>, Refused>;

pub(super) async fn approve(State(api): State<Arc<Api>>, Path(at): Path<String>, body: Body) -> Answer {
    let at = position(&at)?;
    say(&api, Action::Approve, body, |command| command.source == at).await
}

pub(super) async fn reject(State(api): State<Arc<Api>>, Path(at): Path<String>, body: Body) -> Answer {
    let at = position(&at)?;
    say(&api, Action::Reject, body, |command| command.source == at).await
}

pub(super) async fn cancel(State(api): State<Arc<Api>>, Path(name): Path<String>, body: Body) -> Answer {
    let key = job_key(&name, None)?;
    let is_this = |command: &Command| match &key {
        JobKey::Position(at) => command.source == *at,
        JobKey::Id { id, .. } => command.job_id == *id,
    };
    say(&api, Action::Cancel, body, is_this).await
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, Path(name): Path<String>, body: Body) -> Answer {
    let key = job_key(&name, None)?;
    let is_this = |command: &Command| match &key {
        JobKey::Position(at) => command.source == *at,
        JobKey::Id { id, .. } => command.job_id == *id,
    };
    say(&api, Action::Revoke, body, is_this).await
}

pub(super) async fn redrive(State(api): State<Arc<Api>>, Path(at): Path<String>, body: Body) -> Answer {
    let is_this = about(&api, at);
    say(&api, Action::Redrive, body, is_this).await
}

pub(super) async fn drop_dead(State(api): State<Arc<Api>>, Path(at): Path<String>, body: Body) -> Answer {
    let is_this = about(&api, at);
    say(&api, Action::Drop, body, is_this).await
}

/// Whether a command is about the dead record of that path: its source position, or its place in `dead`.
fn about(api: &Api, at: String) -> impl Fn(&Command) -> bool {
    let known = api.view.dead_record(&at).and_then(|dead| dead.source);
    move |command| command.source.to_string() == at || known.as_ref() == Some(&command.source)
}

async fn say(api: &Api, action: Action, body: Body, is_this: impl Fn(&Command) -> bool) -> Answer {
    let body = body.map_err(|e| Refused::bad_request("bad_body", e.body_text(), "send it whole"))?;
    let command = read(&body).map_err(|e| Refused::from(&e))?;
    if command.action != action || !is_this(&command) {
        let detail = format!("the signed command is to {} {}", command.action.word(), command.source);
        return Err(Refused::bad_request("other_command", detail, "send it where it belongs"));
    }
    api.commands.pass_on(&api.view, body).await.map(Json).map_err(|e| Refused::from(&e))
}

impl From<&NotPassedOn> for Refused {
    fn from(error: &NotPassedOn) -> Self {
        let detail = error.to_string();
        match error {
            NotPassedOn::NoCommand { .. } => Self::bad_request(
                "no_command",
                detail,
                "send one signed command, as `tidegate approvals` and `tidegate jobs cancel` make it; docs/approvals.md has its form",
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
