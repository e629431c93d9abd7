//! Query parameters, checked.

use std::time::Duration;

use serde::Deserialize;
use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::SourcePosition;

use super::answer::Refused;
use crate::view::{Filter, JobKey, State};

/// Most jobs in one answer.
const MOST: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) source: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) wait: Option<String>,
    pub(super) limit: Option<String>,
    pub(super) state: Option<String>,
    pub(super) since: Option<String>,
}

impl Query {
    pub(super) fn tenant(&self) -> Result<Option<TenantId>, Refused> {
        let bad = |e: tidegate_protocol::ids::BadName| Refused::bad_request("bad_tenant", e.to_string(), "correct it");
        self.tenant.as_ref().map(TenantId::new).transpose().map_err(bad)
    }

    pub(super) fn limit(&self) -> Result<usize, Refused> {
        match self.limit.as_deref().map(str::parse::<usize>) {
            None => Ok(100),
            Some(Ok(limit @ 1..=MOST)) => Ok(limit),
            Some(_) => Err(Refused::bad_request("bad_limit", format!("`limit` is not 1 to {MOST}"), "correct it")),
        }
    }

    pub(super) fn filter(&self) -> Result<Filter, Refused> {
        let state = match self.state.as_deref() {
            None => None,
            Some(word) => Some(State::from_word(word).ok_or_else(|| {
                let words: Vec<&str> = State::ALL.into_iter().map(State::word).collect();
                let detail = format!("`state` is not one of {}", words.join(", "));
                Refused::bad_request("bad_state", detail, "correct it")
            })?),
        };
        Ok(Filter { state, tenant: self.tenant()? })
    }

    pub(super) fn since(&self) -> Result<Option<u64>, Refused> {
        let bad = |_| Refused::bad_request("bad_since", "`since` is no number", "give the `next` of the answer before");
        self.since.as_deref().map(str::parse).transpose().map_err(bad)
    }

    /// How long the client is willing to wait, at most `longest`; zero without `wait`.
    pub(super) fn wait(&self, longest: Duration) -> Result<Duration, Refused> {
        let Some(text) = self.wait.as_deref() else { return Ok(Duration::ZERO) };
        let wait = duration(text).ok_or_else(|| {
            Refused::bad_request("bad_wait", format!("`wait={text}` is no duration"), "write `30s` or `500ms`")
        })?;
        Ok(wait.min(longest))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// A job's name in a path: a source position when it looks like one, else an id.
///
/// # Errors
/// [`Refused`] when it is neither.
pub fn job_key(name: &str, tenant: Option<TenantId>) -> Result<JobKey, Refused> {
    if let Ok(position) = name.parse::<SourcePosition>() {
        return Ok(JobKey::Position(position));
    }
    let bad = |e: tidegate_protocol::ids::BadName| Refused::bad_request("bad_id", e.to_string(), "correct it");
    Ok(JobKey::Id { id: JobId::new(name).map_err(bad)?, tenant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let table = [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1h", None),
            ("99999999999999999999s", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_position_is_told_from_an_id() {
        assert!(matches!(job_key("jobs.raw/0@5", None).unwrap(), JobKey::Position(_)));
        assert!(matches!(job_key("order-5", None).unwrap(), JobKey::Id { .. }));
        assert!(job_key("", None).is_err());
    }
}
