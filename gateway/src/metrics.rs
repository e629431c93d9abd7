//! Every metric of this crate, with a sentence each.

/// HTTP requests answered, by route and status class (`2xx`, `4xx`, …).
pub const REQUESTS: &str = "tidegate_gateway_http_requests_total";
/// Time from a request's headers to its response, by route; waits that the client asked for included.
pub const REQUEST_SECONDS: &str = "tidegate_gateway_http_request_seconds";
/// Jobs offered over HTTP, by result (`accepted`, `refused`, `failed`).
pub const SUBMITTED: &str = "tidegate_gateway_jobs_submitted_total";
/// Jobs in the view.
pub const VIEW_JOBS: &str = "tidegate_gateway_view_jobs";
/// Jobs put out of the view to stay in its bounds.
pub const VIEW_EVICTED: &str = "tidegate_gateway_view_evicted_total";
/// Records read for the view that are not believed, by why.
pub const VIEW_DROPPED: &str = "tidegate_gateway_view_dropped_total";
/// Records between what the view has read and the ends of the logs, at the last look.
pub const VIEW_LAG: &str = "tidegate_gateway_view_lag_records";
/// Requests that wait for a job to end or change.
pub const WAITERS: &str = "tidegate_gateway_waiters";
/// Records in `dead`, by reason, since the view's start of reading.
pub const DEAD: &str = "tidegate_gateway_dead_records_total";

/// Jobs that were leased over HTTP, or offered for it, by pool and how that ended.
pub const LEASES: &str = "tidegate_gateway_leases_total";

/// Tells the exporter the sentences above.
pub fn describe() {
    metrics::describe_counter!(REQUESTS, "HTTP requests answered, by route and status class.");
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        metrics::Unit::Seconds,
        "Time from a request's headers to its response, by route; waits the client asked for included."
    );
    metrics::describe_counter!(SUBMITTED, "Jobs offered over HTTP, by result.");
    metrics::describe_gauge!(VIEW_JOBS, "Jobs in the view.");
    metrics::describe_counter!(VIEW_EVICTED, "Jobs put out of the view to stay in its bounds.");
    metrics::describe_counter!(VIEW_DROPPED, "Records read for the view that are not believed, by why.");
    metrics::describe_gauge!(VIEW_LAG, "Records between what the view has read and the ends of the logs.");
    metrics::describe_gauge!(WAITERS, "Requests that wait for a job to end or change.");
    metrics::describe_counter!(
        LEASES,
        "Jobs that came for HTTP workers, by pool and `end`: reported, silent (its worker was), not_taken, lost, drained."
    );
    metrics::describe_counter!(DEAD, "Records read from `dead`, by reason.");
}
