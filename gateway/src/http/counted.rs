//! Counts and times requests.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

pub(super) async fn count(request: Request, next: Next) -> Response {
    // The pattern, never the path: a label must not grow with what is asked.
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "other".to_owned(), |p| p.as_str().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::counter!(crate::metrics::REQUESTS, "route" => route.clone(), "status" => class).increment(1);
    metrics::histogram!(crate::metrics::REQUEST_SECONDS, "route" => route).record(begun.elapsed().as_secs_f64());
    response
}
