//! Pools and workers as they stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query as Q, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{BadName, PoolName, WorkerId};
use tidegate_spine::SpineError;

use super::answer::Refused;
use super::state::Api;
use crate::fleet::telling::{NotTold, read};
use crate::fleet::{PoolStanding, Told, WorkerStanding};

/// The answer to a question about pools.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolList {
    /// In the order of the configuration.
    pub pools: Vec<PoolStanding>,
}

/// The answer to a question about workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerList {
    /// By pool and name.
    pub workers: Vec<WorkerStanding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfPool {
    pool: Option<String>,
}

fn name(e: BadName) -> Refused {
    Refused::bad_request("bad_name", e.to_string(), "correct it")
}

/// The pool of that name, which must be here.
fn pool_of(api: &Api, text: String) -> Result<PoolName, Refused> {
    let pool = PoolName::new(text).map_err(name)?;
    if api.fleet.has(&pool) {
        return Ok(pool);
    }
    let detail = format!("there is no pool `{pool}` here");
    Err(Refused::new(
        StatusCode::NOT_FOUND,
        "no_such_pool",
        detail,
        "`tidegate pools list` (`GET /v1/pools`) lists them",
    ))
}

fn away(error: &SpineError) -> Refused {
    tracing::warn!(%error, "what waits in pools cannot be asked for");
    let hint = "ask again when `/readyz` says so";
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "spine_unavailable", "the spine does not answer", hint)
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<PoolList>, Refused> {
    let pools = api.fleet.pools(None).await.map_err(|e| away(&e))?;
    Ok(Json(PoolList { pools }))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(pool): Path<String>) -> Result<Json<PoolList>, Refused> {
    let pool = pool_of(&api, pool)?;
    let pools = api.fleet.pools(Some(&pool)).await.map_err(|e| away(&e))?;
    Ok(Json(PoolList { pools }))
}

fn only(api: &Api, asked: Result<Q<OfPool>, QueryRejection>) -> Result<Option<PoolName>, Refused> {
    let Q(OfPool { pool }) =
        asked.map_err(|e| Refused::bad_request("bad_query", e.body_text(), "`pool` is the only parameter"))?;
    pool.map(|pool| pool_of(api, pool)).transpose()
}

pub(super) async fn workers(
    State(api): State<Arc<Api>>,
    asked: Result<Q<OfPool>, QueryRejection>,
) -> Result<Json<WorkerList>, Refused> {
    let only = only(&api, asked)?;
    Ok(Json(WorkerList { workers: api.fleet.workers(only.as_ref()).await }))
}

pub(super) async fn worker(
    State(api): State<Arc<Api>>,
    Path(worker): Path<String>,
    asked: Result<Q<OfPool>, QueryRejection>,
) -> Result<Json<WorkerList>, Refused> {
    let (only, worker) = (only(&api, asked)?, WorkerId::new(worker).map_err(name)?);
    let workers = api.fleet.worker(only.as_ref(), &worker).await;
    if workers.is_empty() {
        let detail = format!("no worker `{worker}` is known");
        return Err(Refused::new(
            StatusCode::NOT_FOUND,
            "no_such_worker",
            detail,
            "`tidegate workers list` (`GET /v1/workers`) lists them",
        ));
    }
    Ok(Json(WorkerList { workers }))
}

/// One signed command, passed on to every shard of the pool.
pub(super) async fn tell(
    State(api): State<Arc<Api>>,
    Path((pool, worker, action)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Told>, Refused> {
    let body = body.map_err(|e| Refused::bad_request("bad_body", e.body_text(), "send it whole"))?;
    let command = read(&body).map_err(|e| Refused::from(&e))?;
    if command.pool.as_str() != pool || command.worker.as_str() != worker || command.action.word() != action {
        let detail = format!(
            "the signed command is to {} `{}` of pool `{}`",
            command.action.word(),
            command.worker,
            command.pool
        );
        return Err(Refused::bad_request("other_command", detail, "send it where it belongs"));
    }
    api.fleet.tell(body).await.map(Json).map_err(|e| Refused::from(&e))
}

impl From<&NotTold> for Refused {
    fn from(error: &NotTold) -> Self {
        let detail = error.to_string();
        match error {
            NotTold::NoCommand { .. } => {
                let hint = "send one signed command, as `tidegate workers cordon` makes it";
                Self::bad_request("no_command", detail, hint)
            }
            NotTold::NoSuchPool { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_pool",
                detail,
                "`tidegate pools list` (`GET /v1/pools`) lists them",
            ),
            NotTold::Away(cause) => {
                tracing::warn!(error = %cause, "a command to a pool cannot be passed on: no producer");
                let hint = "nothing landed: send it again when `/readyz` says so";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "spine_unavailable", detail, hint)
            }
            NotTold::Refused(cause) => {
                tracing::warn!(error = %cause, "a command to a pool was refused by the spine");
                let hint = "send the same command again: it counts once; the operator's log says why";
                Self::new(StatusCode::BAD_GATEWAY, "spine_refused", detail, hint)
            }
            NotTold::Unknown => {
                let hint = "send the same command again: it counts once";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", detail, hint)
            }
        }
    }
}
