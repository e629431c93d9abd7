//! One job as it goes, as server-sent events.
//!
//! | event | data | when |
//! |---|---|---|
//! | `story` | the job's story | at first, and when something of it changed |
//! | `progress` | `{number, attempt, fraction, note}` | a sign of progress |
//! | `partial` | `{number, attempt, at, text}` | a piece of output |
//! | `end` | the job's story | it has ended; nothing follows |
//!
//! Every event's id names the last sign, so that a client that comes again with `Last-Event-ID` gets the signs after it, as
//! far as they are kept; its first `story` stands for all changes it missed. It is `<generation>-<number>`: numbers are those of a
//! generation, and who comes with one of another (of another process, or of before nobody watched for a while) gets all that is kept.
//! `since=` is for whoever brings no id. A stream ends without `end` when this process ends or
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
use tokio::time::Instant;

use super::answer::Refused;
use super::jobs::{no_such_job, one_job, query};
use super::params::Query;
use super::state::Api;
use crate::progress::{LAST, Seen, Sign, Signs};
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
    let from = Last::of(&headers, asked.since()?);
    let place = api.progress.place().map_err(|error| Refused::from(&error))?;
    let seen = (from.generation, Seen { sign: from.sign, change: Some(0) });
    let first = api.progress.further(&api.view, &key, seen, asked.wait(api.longest_wait)?).await;
    let first = first.map_err(|error| Refused::from(&error))?.ok_or_else(|| no_such_job(&name))?;
    let closing = api.leasing.closing();
    Ok(Sse::new(follow(api, first, from, closing, place)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The last sign that a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    /// Whose number it is, where that is said.
    generation: Option<u64>,
    sign: u64,
}

impl Last {
    /// A client that comes again brings the address it began with, and so its `since`: the id is later.
    fn of(headers: &HeaderMap, since: Option<u64>) -> Self {
        let id = headers.get("last-event-id").and_then(|id| Self::read(id.to_str().ok()?));
        id.unwrap_or(Self { generation: None, sign: since.unwrap_or(0) })
    }

    fn read(id: &str) -> Option<Self> {
        let (generation, sign) = id.split_once('-')?;
        Some(Self { generation: Some(u64::from_str_radix(generation, 16).ok()?), sign: sign.parse().ok()? })
    }

    fn id(self) -> String {
        format!("{:016x}-{}", self.generation.unwrap_or(0), self.sign)
    }
}

struct Following {
    api: Arc<Api>,
    /// Its record: of several jobs of an id it stays with the one it began with.
    key: JobKey,
    last: Last,
    /// The last change that was told; 0 before the first.
    change: u64,
    /// When it was first seen to have ended: its verdict may be read after that.
    ended_at: Option<Instant>,
    /// To be sent.
    events: VecDeque<Event>,
    ended: bool,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

fn follow(
    api: Arc<Api>,
    first: Signs,
    last: Last,
    closing: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let key = JobKey::Position(first.job.source.clone());
    let events = VecDeque::new();
    let mut following =
        Following { api, key, last, change: 0, ended_at: None, events, ended: false, closing, _place: place };
    following.take(&first);
    stream::unfold(following, |mut following| async move {
        loop {
            if let Some(event) = following.events.pop_front() {
                return Some((Ok(event), following));
            }
            if following.ended {
                return None;
            }
            let Following { api, key, last, change, closing, .. } = &mut following;
            let seen = (last.generation, Seen { sign: last.sign, change: Some(*change) });
            let more = tokio::select! {
                more = api.progress.further(&api.view, key, seen, LOOK) => more,
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
        let Signs { job, signs, generation, .. } = more;
        if self.last.generation.replace(*generation).is_some_and(|before| before != *generation) {
            self.last.sign = 0;
        }
        self.ended =
            job.is_told() || job.state.is_ended() && self.ended_at.get_or_insert_with(Instant::now).elapsed() >= LAST;
        // What it told belongs before its end, and after the lease that says whose it is.
        if self.change == 0 || job.change > self.change && !self.ended {
            self.say("story", job);
        }
        for Sign { number, attempt, fraction, note, partial } in signs {
            let (number, attempt) = (*number, *attempt);
            self.last.sign = number;
            if fraction.is_some() || !note.is_empty() {
                self.say("progress", &Progress { number, attempt, fraction: *fraction, note });
            }
            if let Some(piece) = partial {
                self.say("partial", &Piece { number, attempt, at: piece.at, text: &piece.text });
            }
        }
        self.change = job.change;
        if self.ended {
            self.say("end", job);
        }
    }

    fn say(&mut self, kind: &str, data: &impl Serialize) {
        match Event::default().event(kind).id(self.last.id()).json_data(data) {
            Ok(event) => self.events.push_back(event),
            // Plain texts and numbers, and JSON as it came, can always be written.
            Err(error) => tracing::error!(%error, kind, "an event cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_before_the_address_a_client_began_with_and_says_whose_number_it_is() {
        let last = Last { generation: Some(0xab), sign: 7 };
        let mut headers = HeaderMap::new();
        assert_eq!(Last::of(&headers, Some(3)), Last { generation: None, sign: 3 });
        headers.insert("last-event-id", last.id().parse().unwrap());
        assert_eq!(Last::of(&headers, Some(3)), last);
        // None of ours, such as that of a gateway of before.
        headers.insert("last-event-id", "7".parse().unwrap());
        assert_eq!((Last::of(&headers, None).sign, Last::of(&headers, Some(3)).sign), (0, 3));
    }
}
