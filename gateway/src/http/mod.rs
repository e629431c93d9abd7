//! Routes.
//!
//! | route | |
//! |---|---|
//! | `POST /v1/jobs?source=` | one JSON object, or JSON lines; `Idempotency-Key` is the id of a single job |
//! | `GET /v1/jobs/{id}?tenant=&wait=30s` | the story of a job, by id or by source position |
//! | `GET /v1/jobs/{id}/progress?tenant=&since=N&wait=30s` | what a job says of itself while it runs, after sign N; its story beside it |
//! | `GET /v1/jobs?limit=&state=&tenant=` | the newest jobs |
//! | `GET /v1/jobs?since=N&wait=30s` | jobs changed since change number N |
//! | `GET /v1/approvals?limit=&tenant=`, `GET /v1/approvals/{source position}` | jobs that wait for people |
//! | `POST /v1/approvals/{source position}/approve`, `/reject` | one signed command, passed on to the kernel |
//! | `POST /v1/jobs/{id}/cancel` | the same, by id or by source position: calls a job off |
//! | `POST /v1/jobs/{id}/revoke` | one signed command: the job delegates no longer, and what acts for it does not begin |
//! | `GET /v1/dead?limit=` | what could not be handled and no operator has dealt with |
//! | `GET /v1/dead/{at}` | one of them with the record itself, by its place in `dead` or its source position |
//! | `POST /v1/dead/{at}/redrive`, `/drop` | one signed command of an operator, passed on to the kernel |
//! | `GET /v1/limits?limit=`, `GET /v1/limits/{of}` | limits as they are lent out; those whose id begins with `of` |
//! | `GET /v1/pools`, `GET /v1/pools/{pool}` | pools as they stand: workers, what waits, rates, times |
//! | `GET /v1/workers?pool=`, `GET /v1/workers/{worker}?pool=` | workers as they stand; one of them with its jobs |
//! | `POST /v1/pools/{pool}/workers/{worker}/cordon`, `/uncordon`, `/drain` | one signed command of an operator, passed on to the pool |
//! | `POST /v1/pools/{pool}/lease` | a worker asks for jobs, and waits for the first |
//! | `POST /v1/leases/{id}/heartbeat`, `/progress`, `/complete`, `/fail`, `/release` | what it says of one it has |
//! | `GET /v1/doctor?wait=30s` | what is wrong with this installation, as this process sees it |
//! | `POST /v1/doctor?wait=30s` | the same, with a record written to try it |
//! | `GET /metrics`, `/healthz`, `/readyz` | for machines, without key |
//!
//! `/v1` wants `Authorization: Bearer KEY`: this process's key, or to pull jobs a worker's key. Errors are `{error, detail, hint}`; what only an operator may know goes to
//! the log instead.

mod answer;
mod approvals;
mod bearer;
mod commands;
mod counted;
mod dead;
mod doctor;
mod events;
mod idempotency;
mod jobs;
mod leases;
mod limits;
mod params;
mod pools;
mod state;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub use answer::{OUTCOME_UNKNOWN, Refusal, Refused};
pub use dead::DeadList;
pub use jobs::{Line, Lines};
pub use leases::{Leased, LeasedJobs, Progressed};
pub use limits::LimitList;
pub use params::job_key;
pub use pools::{PoolList, WorkerList};
pub use state::{Api, Examine, Health, Readiness};

/// All routes. `/v1` is there only where `api` is.
pub fn router(health: Health, api: Option<Api>) -> Router {
    let health = Router::new()
        .route("/healthz", get(state::healthz))
        .route("/readyz", get(state::readyz))
        .route("/metrics", get(state::metrics))
        .with_state(Arc::new(health));
    let all = match api {
        Some(api) => health.merge(v1(Arc::new(api))),
        None => health,
    };
    all.fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(middleware::from_fn(counted::count))
}

fn v1(api: Arc<Api>) -> Router {
    let body = DefaultBodyLimit::max(api.body_bytes);
    let workers = Router::new()
        .route("/v1/pools/{pool}/lease", post(leases::lease))
        .route("/v1/leases/{id}/heartbeat", post(leases::heartbeat))
        .route("/v1/leases/{id}/progress", post(leases::progress))
        .route("/v1/leases/{id}/complete", post(leases::complete))
        .route("/v1/leases/{id}/fail", post(leases::fail))
        .route("/v1/leases/{id}/release", post(leases::release))
        .layer(body)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), bearer::check_worker))
        .with_state(Arc::clone(&api));
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/{id}", get(jobs::get))
        .route("/v1/jobs/{id}/progress", get(jobs::progress))
        .route("/v1/jobs/{id}/events", get(events::events))
        .route("/v1/jobs/{id}/cancel", post(commands::cancel))
        .route("/v1/jobs/{id}/revoke", post(commands::revoke))
        .route("/v1/doctor", get(doctor::look).post(doctor::look_and_write))
        .route("/v1/limits", get(limits::list))
        .route("/v1/limits/{of}", get(limits::show))
        .route("/v1/pools", get(pools::list))
        .route("/v1/pools/{pool}", get(pools::show))
        .route("/v1/pools/{pool}/workers/{worker}/{action}", post(pools::tell))
        .route("/v1/workers", get(pools::workers))
        .route("/v1/workers/{worker}", get(pools::worker))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{at}", get(approvals::show))
        .route("/v1/approvals/{at}/approve", post(commands::approve))
        .route("/v1/approvals/{at}/reject", post(commands::reject))
        .route("/v1/dead", get(dead::list))
        .route("/v1/dead/{at}", get(dead::show))
        .route("/v1/dead/{at}/redrive", post(commands::redrive))
        .route("/v1/dead/{at}/drop", post(commands::drop_dead))
        .layer(body)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), bearer::check))
        .with_state(api)
        .merge(workers)
}

/// Serves until `stop` completes, then lets open requests end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
