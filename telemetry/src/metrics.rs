//! The exporter.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Bounds of every histogram, in seconds: fine where promises are (milliseconds), wide to a minute.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0,
];

static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// Metrics cannot be collected.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be collected: {reason}")]
pub struct MetricsError {
    /// The exporter's words.
    pub reason: String,
}

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Starts collecting for this process. Again is the same.
    ///
    /// # Errors
    /// [`MetricsError`] when somebody else already collects.
    pub fn install() -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = &*installed {
            return Ok(installed.clone());
        }
        let recorder = PrometheusBuilder::new()
            .set_buckets(SECONDS)
            .map_err(|e| MetricsError { reason: e.to_string() })?
            .build_recorder();
        let made = Self { handle: recorder.handle() };
        metrics::set_global_recorder(recorder).map_err(|e| MetricsError { reason: e.to_string() })?;
        *installed = Some(made.clone());
        Ok(made)
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_and_described_is_rendered_with_its_sentence() {
        let metrics = Metrics::install().unwrap();
        metrics::describe_counter!("tidegate_test_things_total", "Things seen by this test.");
        metrics::counter!("tidegate_test_things_total", "kind" => "odd").increment(3);
        metrics::histogram!("tidegate_test_wait_seconds").record(0.004);
        let text = Metrics::install().unwrap().render();
        assert!(text.contains("# HELP tidegate_test_things_total Things seen by this test."), "{text}");
        assert!(text.contains("tidegate_test_things_total{kind=\"odd\"} 3"), "{text}");
        assert!(text.contains("tidegate_test_wait_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(metrics.render().contains("tidegate_test_wait_seconds_count 1"));
    }
}
