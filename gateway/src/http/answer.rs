//! Errors as clients see them.

use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::progress::NotWatched;
use crate::submit::NotSubmitted;
use crate::view::TooManyWait;

/// The word of a submission that was not acknowledged in time: the job may have landed, or land later.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A word for programs; never changes its meaning.
    pub error: String,
    /// What went wrong.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// A refusal with its status.
#[derive(Debug, Clone)]
pub struct Refused {
    pub(super) status: StatusCode,
    pub(super) body: Refusal,
}

impl Refused {
    /// Without its status.
    #[must_use]
    pub fn into_body(self) -> Refusal {
        self.body
    }

    pub(super) fn new(status: StatusCode, error: &str, detail: impl Into<String>, hint: &str) -> Self {
        Self { status, body: Refusal { error: error.to_owned(), detail: detail.into(), hint: hint.to_owned() } }
    }

    pub(super) fn bad_request(error: &str, detail: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, detail, hint)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The client learns what to do, the log what the spine said.
impl From<&NotSubmitted> for Refused {
    fn from(error: &NotSubmitted) -> Self {
        let detail = error.to_string();
        match error {
            NotSubmitted::NotAnObject { .. } => {
                Self::bad_request("not_a_job", detail, "send one JSON object, or one object a line")
            }
            NotSubmitted::BadName { .. } => Self::bad_request("bad_name", detail, "choose another name"),
            NotSubmitted::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                detail,
                "send less, have `payloads:` configured, or raise the source's `limits.max_bytes` (or `payloads.max_bytes`)",
            ),
            NotSubmitted::NotKept(cause) => {
                tracing::warn!(error = %cause, "a large payload cannot be put beside the log");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "payloads_unavailable",
                    detail,
                    "nothing landed: send it again later; jobs with smaller payloads are taken",
                )
            }
            NotSubmitted::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, "nothing landed: send it again in a moment")
            }
            NotSubmitted::Refused(cause) => {
                tracing::warn!(error = %cause, "a submitted job was refused by the spine");
                Self::new(
                    StatusCode::BAD_GATEWAY,
                    "spine_refused",
                    detail,
                    "nothing landed; the operator's log says why",
                )
            }
            NotSubmitted::Away(cause) => {
                tracing::warn!(error = %cause, "a job cannot be submitted: no producer");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "spine_unavailable",
                    detail,
                    "nothing landed: send it again when `/readyz` says so",
                )
            }
            NotSubmitted::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                OUTCOME_UNKNOWN,
                detail,
                "send it again with the same `id`: the same job runs once",
            ),
        }
    }
}

impl From<&NotWatched> for Refused {
    fn from(error: &NotWatched) -> Self {
        let (word, hint) = match error {
            NotWatched::TooMany | NotWatched::TooManyFollow => ("too_many_watched", "ask again later"),
            NotWatched::Waits(waits) => return Self::from(*waits),
            NotWatched::Away(_) => ("spine_unavailable", "ask again when `/readyz` says so"),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, error.to_string(), hint)
    }
}

impl From<TooManyWait> for Refused {
    fn from(error: TooManyWait) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_waiting",
            error.to_string(),
            "ask without `wait`, or later",
        )
    }
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refused {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        format!("`{method}` is not for `{}`", uri.path()),
        "the header `allow` names what is",
    )
}

pub(super) async fn no_such_route(uri: Uri) -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("there is nothing at `{}`", uri.path()),
        "see `tidegate dev --help`; `/v1` is served by the role gateway alone",
    )
}
