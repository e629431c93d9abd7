//! Bearer keys: this process's, and workers'.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::state::Api;
use crate::leasing::WorkerKey;

const HINT: &str = "send `Authorization: Bearer KEY`; the key is in the file `key` of the process's data folder";

pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let refused = |detail| Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", detail, HINT).into_response();
    match offered(request.headers()) {
        None => refused("there is no bearer key in the request"),
        Some(key) if !api.key.admits(key) => refused("the bearer key is not the one of this process"),
        Some(_) => next.run(request).await,
    }
}

const WORKER_HINT: &str =
    "send `Authorization: Bearer KEY` with a worker's key, as `tidegate keys create --role worker` makes it";

/// Who pulls, for the routes of workers.
#[derive(Clone)]
pub(super) struct Puller(pub(super) Arc<WorkerKey>);

pub(super) async fn check_worker(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let key = offered(request.headers()).and_then(|key| api.leasing.keys().of(key, now)).cloned();
    match key {
        None => {
            let detail = "there is no worker's key in the request, or none that counts here";
            Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", detail, WORKER_HINT).into_response()
        }
        Some(key) => {
            request.extensions_mut().insert(Puller(Arc::new(key)));
            next.run(request).await
        }
    }
}

fn offered(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
