//! What is wrong with this installation, as the process sees it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Q, State};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Refused;
use super::params::Query;
use super::state::Api;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patience {
    wait: Option<String>,
}

type Answer = Result<Json<Value>, Refused>;

pub(super) async fn look(State(api): State<Arc<Api>>, asked: Result<Q<Patience>, QueryRejection>) -> Answer {
    examine(&api, false, asked).await
}

pub(super) async fn look_and_write(State(api): State<Arc<Api>>, asked: Result<Q<Patience>, QueryRejection>) -> Answer {
    examine(&api, true, asked).await
}

async fn examine(api: &Api, write: bool, asked: Result<Q<Patience>, QueryRejection>) -> Answer {
    let hint = "`wait`, for how long the logs may be read, is the only parameter";
    let Q(Patience { wait }) = asked.map_err(|e| Refused::bad_request("bad_query", e.body_text(), hint))?;
    let patience = Query { wait, ..Query::default() }.wait(api.longest_wait)?;
    Ok(Json((api.examine)(write, patience).await))
}
