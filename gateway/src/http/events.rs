//! One job as it goes, as server-sent events.
//!
//! | event | data | when |
//! |---|---|---|
//! | `story` | the job's story | at first, and when something of it changed |
//! | `progress` | `{number, attempt, fraction, note}` | a sign of progress |
//! | `partial` | `{number, attempt, at, text}` | a piece of output |
//! | `end` | the job's story | it has ended; nothing follows |
//!
//! Every event's id is the number of the last sign, so that a client that comes again with `Last-Event-ID` gets the signs after it, as
//! far as they are kept; its first `story` stands for all changes it missed. A stream ends without `end` when this process ends or
//! cannot read on: come again.
//!
//! Bounds: [`Progress`](crate::progress::Progress) bounds streams, jobs and signs; a stream gathers no more than one answer, and a
//! slow client reads its next one later.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Q, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::answer::Refused;
use super::jobs::{no_such_job, one_job, query};
use super::params::Query;
use super::state::Api;
use crate::progress::{Seen, Sign, Signs};
use crate::view::JobKey;

/// Longest time without an event: then the same is asked anew.
const LOOK: Duration = Duration::from_secs(30);
/// A comment is sent so often, so that a connection that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    asked: Result<Q<Query>, QueryRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refused> {
    let asked = query(asked)?;
    let key = one_job(&api, &name, &asked)?;
    let again = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let since = asked.since()?.or(again).unwrap_or(0);
    let place = api.progress.place().map_err(|error| Refused::from(&error))?;
    let seen = Seen { sign: since, change: Some(0) };
    let first = api.progress.of(&api.view, &key, seen, asked.wait(api.longest_wait)?).await;
    let first = first.map_err(|error| Refused::from(&error))?.ok_or_else(|| no_such_job(&name))?;
    let closing = api.leasing.closing();
    Ok(Sse::new(follow(api, first, since, closing, place)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Following {
    api: Arc<Api>,
    /// Its record: of several jobs of an id it stays with the one it began with.
    key: JobKey,
    seen: Seen,
    /// To be sent.
    events: VecDeque<Event>,
    ended: bool,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

fn follow(
    api: Arc<Api>,
    first: Signs,
    since: u64,
    closing: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let key = JobKey::Position(first.job.source.clone());
    let seen = Seen { sign: since, change: Some(0) };
    let mut following = Following { api, key, seen, events: VecDeque::new(), ended: false, closing, _place: place };
    following.take(&first);
    stream::unfold(following, |mut following| async move {
        loop {
            if let Some(event) = following.events.pop_front() {
                return Some((Ok(event), following));
            }
            if following.ended {
                return None;
            }
            let Following { api, key, seen, closing, .. } = &mut following;
            let more = tokio::select! {
                more = api.progress.of(&api.view, key, *seen, LOOK) => more,
                // An error means that whoever could say so is gone.
                _ = closing.wait_for(|closing| *closing) => return None,
            };
            match more {
                Ok(Some(more)) => following.take(&more),
                // It was put out of the view.
                Ok(None) => return None,
                Err(error) => {
                    tracing::warn!(%error, "a job is not followed any more; whoever does comes again");
                    return None;
                }
            }
        }
    })
}

#[derive(Serialize)]
struct Progress<'a> {
    number: u64,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

#[derive(Serialize)]
struct Piece<'a> {
    number: u64,
    attempt: u32,
    at: u64,
    text: &'a str,
}

impl Following {
    /// Makes events of what was answered.
    fn take(&mut self, more: &Signs) {
        let Signs { job, signs, .. } = more;
        self.ended = job.state.is_ended();
        let changed = self.seen.change.is_none_or(|seen| job.change > seen);
        // What it told belongs before its end, and after the lease that says whose it is.
        if changed && !self.ended {
            self.say("story", job);
        }
        for Sign { number, attempt, fraction, note, partial } in signs {
            let (number, attempt) = (*number, *attempt);
            self.seen.sign = number;
            if fraction.is_some() || !note.is_empty() {
                self.say("progress", &Progress { number, attempt, fraction: *fraction, note });
            }
            if let Some(piece) = partial {
                self.say("partial", &Piece { number, attempt, at: piece.at, text: &piece.text });
            }
        }
        self.seen.change = Some(job.change);
        if self.ended {
            self.say("end", job);
        }
    }

    fn say(&mut self, kind: &str, data: &impl Serialize) {
        match Event::default().event(kind).id(self.seen.sign.to_string()).json_data(data) {
            Ok(event) => self.events.push_back(event),
            // Plain texts and numbers, and JSON as it came, can always be written.
            Err(error) => tracing::error!(%error, kind, "an event cannot be written"),
        }
    }
}
