//! How jobs end that a job spawned, as a gateway tells: the whole story is there, also of a child that ended before this attempt
//! began, or that repeats another. What the log alone says of it would have to be found first.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::agent::web::{self, BadEndpoint, Endpoint};
use crate::context::Cancel;
use crate::run::backoff::Backoff;

/// Longest wait of one question; the gateway's own bound may be shorter.
const ASK: Duration = Duration::from_secs(25);
/// What the answer to one may take beyond.
const PATIENCE: Duration = Duration::from_secs(20);
/// A job that landed and is not known for so long was judged by nobody all that time, or has been forgotten.
const UNKNOWN: Duration = Duration::from_secs(60);
/// Most records that stand for one another and are followed.
const HOPS: usize = 4;
/// Largest story.
const MOST: usize = 1 << 20;

/// A gateway that is asked how jobs end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Results(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    jobs: Url,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct ChildEnd {
    /// The outcome.
    pub outcome: Outcome,
    /// Why it ended so, for people.
    pub reason: String,
    /// What it gave back.
    pub output: Option<Box<RawValue>>,
    /// It gave back more than gateways keep: `finished` has it.
    pub output_left_out: bool,
}

/// The end of a job was not learnt; it may end all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAwaited {
    /// The worker was not told whom to ask.
    #[error("this worker knows no gateway that tells how jobs end; give it one with `Children::results`")]
    NoGateway,
    /// The job that waits is to stop.
    #[error("{}", .0.sentence())]
    Cancelled(Cancel),
    /// The gateway says so.
    #[error("the gateway does not tell how job {source_position} ended: {why}")]
    Refused {
        /// The job.
        source_position: SourcePosition,
        /// Its answer.
        why: String,
    },
}

/// The part of a story that is needed; what a later version adds is passed over.
#[derive(Deserialize)]
struct Story {
    state: String,
    #[serde(default)]
    outcome: Option<Outcome>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    output: Option<Box<RawValue>>,
    #[serde(default)]
    output_left_out: bool,
    #[serde(default)]
    decision: Option<Decision>,
    /// The record that stands for this one.
    #[serde(default)]
    duplicate_of: Option<SourcePosition>,
}

#[derive(Deserialize)]
struct Decision {
    #[serde(default)]
    reason: String,
}

impl Results {
    /// Of the gateway at `url`, to which `key` is sent.
    ///
    /// # Errors
    /// [`BadEndpoint`].
    pub fn new(url: &str, key: &str) -> Result<Self, BadEndpoint> {
        let endpoint = Endpoint::new(url)?.bearer(key)?;
        let jobs = format!("{}/v1/jobs/", url.trim_end_matches('/'));
        let jobs = Url::parse(&jobs).map_err(|error| BadEndpoint::Url { url: "…".into(), why: error.to_string() })?;
        Ok(Self(Arc::new(Inner { endpoint, jobs })))
    }

    /// Waits until the job of that record has ended, for as long as it takes: a gateway that is away is asked again. One that
    /// does not know the job for [`UNKNOWN`] will not know it later.
    pub(crate) async fn end_of(&self, source: &SourcePosition) -> Result<ChildEnd, NotAwaited> {
        let mut backoff = Backoff::new();
        let mut asking = Asking::new(source.clone());
        loop {
            match asking.hears(self.ask(&asking.at).await, Instant::now()) {
                Heard::Ended(end) => return Ok(end),
                Heard::NotYet => {
                    backoff.reset();
                    // A job that is held is told at once, however long it is asked for.
                    sleep(Duration::from_millis(50)).await;
                }
                Heard::Away(why) => {
                    debug!(source = %asking.at, why, "a gateway does not tell how a job ended; it is asked again");
                    sleep(backoff.next_pause()).await;
                }
                Heard::Refused(why) => return Err(NotAwaited::Refused { source_position: source.clone(), why }),
            }
        }
    }

    async fn ask(&self, source: &SourcePosition) -> Asked {
        let Inner { endpoint, jobs } = &*self.0;
        let mut url = jobs.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&source.to_string());
        }
        url.set_query(Some(&format!("wait={}ms", ASK.as_millis())));
        let request = endpoint.request_to(Method::GET, url).timeout(ASK + PATIENCE);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Asked::Away(web::chain(&error)),
        };
        let status = response.status();
        match status {
            StatusCode::OK => {}
            // Not judged yet, or the gateway has not read so far.
            StatusCode::NOT_FOUND => return Asked::Unknown,
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                return Asked::Refused(format!("status {status}: {}", web::why(response, 1 << 10).await));
            }
            status => return Asked::Away(format!("status {status}")),
        }
        let story = match web::body(response, MOST).await {
            Ok(body) => serde_json::from_slice::<Story>(&body),
            Err(web::NoBody::TooLong) => return Asked::Refused(format!("its story has more than {MOST} bytes")),
            Err(web::NoBody::Broken(error)) => return Asked::Away(web::chain(&error)),
        };
        match story {
            Ok(story) => story.asked(),
            Err(error) => Asked::Refused(format!("that is no story: {error}")),
        }
    }
}

/// What a gateway answers.
enum Asked {
    Ended(ChildEnd),
    NotYet,
    Unknown,
    /// That record stands for it.
    StandsAt(SourcePosition),
    Away(String),
    Refused(String),
}

/// What follows from that.
enum Heard {
    Ended(ChildEnd),
    NotYet,
    Away(String),
    Refused(String),
}

/// Whose end is asked for now.
struct Asking {
    at: SourcePosition,
    hops: usize,
    /// Since when every answer was that the job is not known.
    unknown_since: Option<Instant>,
}

impl Asking {
    const fn new(at: SourcePosition) -> Self {
        Self { at, hops: 0, unknown_since: None }
    }

    fn hears(&mut self, asked: Asked, now: Instant) -> Heard {
        if matches!(asked, Asked::Unknown) {
            let since = *self.unknown_since.get_or_insert(now);
            if now.saturating_duration_since(since) < UNKNOWN {
                return Heard::NotYet;
            }
            let why = format!(
                "it has not known job {} for {} s: it is so old that only the logs have it, or no kernel has judged it yet",
                self.at,
                UNKNOWN.as_secs()
            );
            return Heard::Refused(why);
        }
        self.unknown_since = None;
        match asked {
            Asked::Ended(end) => Heard::Ended(end),
            Asked::NotYet | Asked::Unknown => Heard::NotYet,
            Asked::StandsAt(_) if self.hops == HOPS => {
                Heard::Refused(format!("more than {HOPS} records stand for one another, up to {}", self.at))
            }
            Asked::StandsAt(at) => {
                self.hops += 1;
                self.at = at;
                Heard::NotYet
            }
            Asked::Away(why) => Heard::Away(why),
            Asked::Refused(why) => Heard::Refused(why),
        }
    }
}

impl Story {
    fn asked(self) -> Asked {
        let Self { state, outcome, reason, output, output_left_out, decision, duplicate_of } = self;
        let outcome = match (state.as_str(), outcome) {
            ("approved" | "held" | "deferred" | "running" | "unknown", _) => return Asked::NotYet,
            ("duplicate", _) => {
                return match duplicate_of {
                    Some(first) => Asked::StandsAt(first),
                    None => Asked::Refused("it repeats another job, and it is not said which".into()),
                };
            }
            ("denied", _) => Outcome::Denied,
            ("dead", _) => Outcome::Dead,
            (_, Some(outcome)) => outcome,
            (state, None) => return Asked::Refused(format!("it is `{state}`, and nothing of it runs")),
        };
        let reason =
            if reason.is_empty() { decision.map(|decision| decision.reason).unwrap_or_default() } else { reason };
        Asked::Ended(ChildEnd { outcome, reason, output, output_left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> String {
        match serde_json::from_str::<Story>(text).unwrap().asked() {
            Asked::Ended(end) => format!("{} {} {}", end.outcome.word(), end.reason, end.output.is_some()),
            Asked::NotYet => "not yet".into(),
            Asked::Unknown => "unknown".into(),
            Asked::StandsAt(at) => format!("see {at}"),
            Asked::Away(why) | Asked::Refused(why) => why,
        }
    }

    #[test]
    fn a_story_says_whether_and_how_a_job_ended() {
        for (story, said) in [
            (r#"{"state":"running","attempts":[]}"#, "not yet"),
            (r#"{"state":"held"}"#, "not yet"),
            (r#"{"state":"succeeded","outcome":"succeeded","output":{"a":1}}"#, "succeeded  true"),
            (r#"{"state":"failed","outcome":"failed","reason":"no money"}"#, "failed no money false"),
            (r#"{"state":"denied","decision":{"verdict":"deny","reason":"too much"}}"#, "denied too much false"),
            (r#"{"state":"duplicate","duplicate_of":"jobs/0@1"}"#, "see jobs/0@1"),
            (r#"{"state":"duplicate"}"#, "it repeats another job, and it is not said which"),
            (r#"{"state":"observed"}"#, "it is `observed`, and nothing of it runs"),
        ] {
            assert_eq!(asked(story), said);
        }
    }

    fn heard(heard: Heard) -> String {
        match heard {
            Heard::Ended(end) => end.outcome.word().into(),
            Heard::NotYet => "not yet".into(),
            Heard::Away(why) | Heard::Refused(why) => why,
        }
    }

    #[test]
    fn a_job_that_is_not_known_for_long_is_given_up_and_any_other_answer_begins_anew() {
        let mut asking = Asking::new("jobs/0@7".parse().unwrap());
        let begin = Instant::now();
        let mut after = |seconds, asked| heard(asking.hears(asked, begin + Duration::from_secs(seconds)));
        assert_eq!(after(0, Asked::Unknown), "not yet");
        assert_eq!(after(59, Asked::Unknown), "not yet");
        assert_eq!(after(59, Asked::Away("gone".into())), "gone");
        assert_eq!(after(90, Asked::Unknown), "not yet", "it may be one that began anew");
        assert_eq!(after(149, Asked::Unknown), "not yet");
        assert!(after(150, Asked::Unknown).starts_with("it has not known job jobs/0@7 for 60 s"));
    }

    #[test]
    fn records_that_stand_for_one_another_are_followed_four_times() {
        let mut asking = Asking::new("jobs/0@9".parse().unwrap());
        for offset in (5..9).rev() {
            let at: SourcePosition = format!("jobs/0@{offset}").parse().unwrap();
            assert_eq!(heard(asking.hears(Asked::StandsAt(at.clone()), Instant::now())), "not yet");
            assert_eq!(asking.at, at);
        }
        let more = heard(asking.hears(Asked::StandsAt("jobs/0@4".parse().unwrap()), Instant::now()));
        assert_eq!(more, "more than 4 records stand for one another, up to jobs/0@5");
    }

    #[test]
    fn the_address_and_the_key_are_checked_and_the_key_is_not_shown() {
        assert!(Results::new("ftp://h", "k").is_err() && Results::new("http://h", "").is_err());
        let results = Results::new("http://h:1/base/", "sesame").unwrap();
        assert_eq!(results.0.jobs.as_str(), "http://h:1/base/v1/jobs/");
        assert!(!format!("{results:?}").contains("sesame"));
    }
}
