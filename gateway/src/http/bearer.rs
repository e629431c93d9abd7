//! The bearer key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::state::Api;

const HINT: &str = "send `Authorization: Bearer KEY`; the key is in the file `key` of the process's data folder";

pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let refused = |detail| Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", detail, HINT).into_response();
    match offered(request.headers()) {
        None => refused("there is no bearer key in the request"),
        Some(key) if !api.key.admits(key) => refused("the bearer key is not the one of this process"),
        Some(_) => next.run(request).await,
    }
}

fn offered(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
