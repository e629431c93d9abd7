//! What the routes share, and the routes for machines.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicName;
use tidegate_spine::Spine;

use crate::commands::Commands;
use crate::fleet::Fleet;
use crate::key::Key;
use crate::leasing::Leasing;
use crate::progress::Progress;
use crate::submit::Submitter;
use crate::view::View;

/// What `/readyz` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether this process does its work.
    pub ready: bool,
    /// What it waits for, a sentence each.
    pub waits_for: Vec<String>,
}

/// What the routes for machines need.
pub struct Health {
    /// Asked at every `/readyz`.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Asked at every `/metrics`: Prometheus text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// A process that looks at itself: what is wrong with this installation, as a JSON document. Told whether it may write one
/// record, and how long it may take.
pub type Examine = Box<dyn Fn(bool, Duration) -> Pin<Box<dyn Future<Output = serde_json::Value> + Send>> + Send + Sync>;

/// What `/v1` needs.
pub struct Api {
    /// Who may ask.
    pub key: Key,
    /// Sources that can be submitted to; the first unless told.
    pub submitters: Vec<Submitter>,
    /// Passes commands on.
    pub commands: Commands,
    /// The jobs.
    pub view: Arc<View>,
    /// To read records of `dead` whole.
    pub spine: Arc<dyn Spine>,
    /// `dead`.
    pub dead: TopicName,
    /// Pools and workers.
    pub fleet: Arc<Fleet>,
    /// What running jobs say.
    pub progress: Arc<Progress>,
    /// Workers that pull.
    pub leasing: Arc<Leasing>,
    /// Asked at `/v1/doctor`.
    pub examine: Examine,
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// Longest `wait`.
    pub longest_wait: Duration,
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let readiness = (health.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

pub(super) async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let text = (health.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
