//! Limits as they are lent out.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Q, State};
use serde::{Deserialize, Serialize};

use super::answer::Refused;
use super::jobs::query;
use super::params::Query;
use super::state::Api;
use crate::view::LimitStanding;

/// The answer to a question about limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitList {
    /// By limit and key.
    pub limits: Vec<LimitStanding>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<LimitList>, Refused> {
    let most = query(asked)?.limit()?;
    Ok(Json(LimitList { limits: api.view.limits("", most) }))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(of): Path<String>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<LimitList>, Refused> {
    let most = query(asked)?.limit()?;
    Ok(Json(LimitList { limits: api.view.limits(&of, most) }))
}
