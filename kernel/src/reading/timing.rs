//! When a job may start, by when it must be done, and how it is tried again: fields that need the kernel's time or each
//! other to mean something.

use tidegate_protocol::job::Retry;

use super::refusal::Refusal;

/// Furthest time from now that a job may start or end at, milliseconds: 366 days. What is further off is a mistake in the
/// unit, and would be kept for all that time.
pub const MAX_AHEAD_MS: u64 = 366 * 24 * 3_600_000;
/// Longest ordering key, in bytes.
pub const MAX_ORDERING_KEY_BYTES: usize = 128;
/// Most attempts that a job may ask for.
const MAX_ATTEMPTS: u64 = 1_000;

/// The fields as written.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    pub(crate) not_before: Option<u64>,
    pub(crate) delay_ms: Option<u64>,
    pub(crate) deadline: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) retry: Retry,
}

/// What they mean at the time the record is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) not_before: Option<u64>,
    pub(crate) deadline: Option<u64>,
}

impl Timing {
    /// Times from now on become times of day: `at_ms` is when the record is judged first. Of deadline and time to live the
    /// earlier holds.
    pub(crate) fn at(&self, at_ms: u64) -> Result<Times, Refusal> {
        let ahead = |field: &str, ms: u64| {
            if ms > MAX_AHEAD_MS {
                let problem = format!("is {ms} ms, further off than the {MAX_AHEAD_MS} (366 days) that a job is kept");
                return Err(Refusal::field(field, problem));
            }
            Ok(at_ms.saturating_add(ms))
        };
        let not_before = match (self.not_before, self.delay_ms) {
            (Some(_), Some(_)) => {
                return Err(Refusal::field("delay_ms", "stands beside `not_before`; a job has one of them"));
            }
            (Some(ms), None) => {
                ahead("not_before", ms.saturating_sub(at_ms))?;
                Some(ms)
            }
            (None, delay) => delay.map(|ms| ahead("delay_ms", ms)).transpose()?,
        };
        let by_ttl = match self.ttl_ms {
            Some(0) => return Err(Refusal::field("ttl_ms", "is 0; leave it out for a job that never expires")),
            ttl => ttl.map(|ms| ahead("ttl_ms", ms)).transpose()?,
        };
        let deadline = match (self.deadline, by_ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let (Some(begin), Some(end)) = (not_before, deadline)
            && begin >= end
        {
            return Err(Refusal::field("deadline", format!("is {end}, at or before {begin}, when the job may start")));
        }
        Ok(Times { not_before, deadline })
    }
}

/// Bounded text without control characters, at least one byte.
pub(crate) fn ordering_key(field: &str, value: &str) -> Result<String, Refusal> {
    if value.is_empty() || value.len() > MAX_ORDERING_KEY_BYTES || value.chars().any(char::is_control) {
        let problem = format!(
            "has {} bytes; it is 1 to {MAX_ORDERING_KEY_BYTES} bytes of text without control characters",
            value.len()
        );
        return Err(Refusal::field(field, problem));
    }
    Ok(value.to_owned())
}

/// Sets what `field` says, named as in the envelope's `retry`.
pub(crate) fn retry(retry: &mut Retry, name: &str, field: &str, value: u64) -> Result<(), Refusal> {
    match name {
        "max_attempts" => {
            let attempts = u32::try_from(value).ok().filter(|_| (1..=MAX_ATTEMPTS).contains(&value));
            let problem = || Refusal::field(field, format!("is {value}, not 1 to {MAX_ATTEMPTS}"));
            retry.max_attempts = Some(attempts.ok_or_else(problem)?);
        }
        "backoff_ms" => retry.backoff_ms = Some(value.min(MAX_AHEAD_MS)),
        _ => retry.max_backoff_ms = Some(value.min(MAX_AHEAD_MS)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_now_become_times_of_day_and_the_earlier_end_holds() {
        let timing = Timing { delay_ms: Some(5), ttl_ms: Some(100), deadline: Some(1_200), ..Timing::default() };
        assert_eq!(timing.at(1_000).unwrap(), Times { not_before: Some(1_005), deadline: Some(1_100) });
        let timing = Timing { not_before: Some(900), ttl_ms: Some(300), deadline: Some(1_200), ..Timing::default() };
        assert_eq!(timing.at(1_000).unwrap(), Times { not_before: Some(900), deadline: Some(1_200) });
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_the_field() {
        let refused = |timing: Timing| timing.at(1_000).unwrap_err().detail;
        let both = refused(Timing { delay_ms: Some(1), not_before: Some(1), ..Timing::default() });
        assert!(both.contains("delay_ms"), "{both}");
        let far = refused(Timing { not_before: Some(u64::MAX), ..Timing::default() });
        assert!(far.contains("not_before") && far.contains("366 days"), "{far}");
        let never = refused(Timing { delay_ms: Some(10), ttl_ms: Some(10), ..Timing::default() });
        assert!(never.contains("deadline"), "{never}");
        assert!(refused(Timing { ttl_ms: Some(0), ..Timing::default() }).contains("ttl_ms"));
        ordering_key("ordering_key", &"k".repeat(129)).unwrap_err();
        ordering_key("ordering_key", "").unwrap_err();
        retry(&mut Retry::default(), "max_attempts", "retry.max_attempts", 0).unwrap_err();
    }
}
