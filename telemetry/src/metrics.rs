//! The exporter.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Bounds of histograms of times (`…_seconds`, and whatever else has no suffix of its own below): fine where promises are (milliseconds), wide to a minute.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Bounds of histograms of sizes (`…_bytes`): from a lone small record to the largest group.
const BYTES: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets(SECONDS)?;
    Ok(builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?.build_recorder())
}

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
        let recorder = recorder().map_err(|e| MetricsError { reason: e.to_string() })?;
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
        metrics::histogram!("tidegate_test_group_bytes").record(3_000.0);
        let text = Metrics::install().unwrap().render();
        assert!(text.contains("# HELP tidegate_test_things_total Things seen by this test."), "{text}");
        assert!(text.contains("tidegate_test_things_total{kind=\"odd\"} 3"), "{text}");
        assert!(text.contains("tidegate_test_wait_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("tidegate_test_group_bytes_bucket{le=\"1024\"} 0"), "{text}");
        assert!(text.contains("tidegate_test_group_bytes_bucket{le=\"4096\"} 1"), "{text}");
        assert!(metrics.render().contains("tidegate_test_wait_seconds_count 1"));
    }
}
