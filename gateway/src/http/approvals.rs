//! Held jobs.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Q, State};
use axum::http::StatusCode;
use tidegate_protocol::job::SourcePosition;

use super::answer::Refused;
use super::jobs::query;
use super::params::Query;
use super::state::Api;
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

pub(super) fn position(at: &str) -> Result<SourcePosition, Refused> {
    let bad = |e: tidegate_protocol::job::BadSourcePosition| {
        Refused::bad_request("bad_position", e.to_string(), "give it as `GET /v1/approvals` lists it")
    };
    at.parse().map_err(bad)
}
