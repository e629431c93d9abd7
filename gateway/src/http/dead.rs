//! What could not be handled.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Q, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{Record, Spine, Start};

use super::answer::Refused;
use super::jobs::query;
use super::params::Query;
use super::state::Api;
use crate::view::{DeadRecord, before_death, read_dead};

/// Longest wait for a record that is said to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadList {
    /// Newest first.
    pub dead: Vec<DeadRecord>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asked: Result<Q<Query>, QueryRejection>,
) -> Result<Json<DeadList>, Refused> {
    let limit = query(asked)?.limit()?;
    Ok(Json(DeadList { dead: api.view.dead_records(limit) }))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(at): Path<String>) -> Result<Json<DeadRecord>, Refused> {
    let unknown = || {
        Refused::new(
            StatusCode::NOT_FOUND,
            "no_such_record",
            format!("no record `{at}` is known in `dead`"),
            "give `partition@offset` as `GET /v1/dead` lists it, or a source position",
        )
    };
    let known = api.view.dead_record(&at).ok_or_else(unknown)?;
    let (partition, offset) = place(&known.at).ok_or_else(unknown)?;
    let record = read_one(&*api.spine, &api.dead.partition(partition), offset).await.ok_or_else(unknown)?;
    Ok(Json(DeadRecord { record: before_death(&record), ..read_dead(partition, &record, usize::MAX) }))
}

fn place(at: &str) -> Option<(u32, Offset)> {
    let (partition, offset) = at.split_once('@')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// The record at that offset, if it is still there.
pub(super) async fn read_one(spine: &dyn Spine, partition: &TopicPartition, offset: Offset) -> Option<Record> {
    let mut reader = spine.reader("dead").await.ok()?;
    let handle = reader.open(partition, Start::At(offset));
    let mut batch = Vec::new();
    while batch.is_empty() {
        let read = poll_fn(|cx| reader.poll_read(handle, 1, cx, &mut batch));
        tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    }
    batch.into_iter().find(|record| record.offset == offset)
}
