//! Latencies of a run.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Percentiles of one milestone, over every record that reached it. `None` when none did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    #[serde(serialize_with = "millis")]
    pub(crate) p50: Duration,
    #[serde(serialize_with = "millis")]
    pub(crate) p90: Duration,
    #[serde(serialize_with = "millis")]
    pub(crate) p99: Duration,
    #[serde(serialize_with = "millis")]
    pub(crate) max: Duration,
}

impl Latency {
    /// Of these; each percentile is a value that occurred (nearest rank).
    pub(crate) fn of(mut all: Vec<Duration>) -> Option<Self> {
        all.sort_unstable();
        let max = *all.last()?;
        let rank = |percent: usize| {
            let nth = (all.len() * percent).div_ceil(100).max(1) - 1;
            all.get(nth).copied().unwrap_or(max)
        };
        Some(Self { p50: rank(50), p90: rank(90), p99: rank(99), max })
    }
}

/// Milliseconds to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "a run of days is below 2^53 microseconds")]
fn millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_micros() as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let latency = Latency::of((1..=200).rev().map(Duration::from_millis).collect()).unwrap();
        let expected = [100, 180, 198, 200].map(Duration::from_millis);
        assert_eq!([latency.p50, latency.p90, latency.p99, latency.max], expected);
        assert_eq!(Latency::of(vec![Duration::from_micros(1_500)]).unwrap().p99, Duration::from_micros(1_500));
        assert_eq!(Latency::of(Vec::new()), None);
        let text = serde_json::to_string(&Latency::of(vec![Duration::from_micros(1_500)])).unwrap();
        assert_eq!(text, r#"{"p50":1.5,"p90":1.5,"p99":1.5,"max":1.5}"#);
    }
}
