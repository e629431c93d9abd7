//! What a run came to.

use crate::measure::Times;
use serde::Serialize;

/// The document of `--output json`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// One for each engine and size.
    pub rows: Vec<Row>,
}

/// One engine at one size.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub engine: &'static str,
    /// Rules it held.
    pub rules: u32,
    /// Median of one judgement, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// Bytes it keeps allocated.
    pub heap_bytes: i64,
    /// From text to an engine that can judge, milliseconds.
    pub build_ms: f64,
    /// Allocations of one judgement, on average.
    pub allocations: f64,
    /// Judgements timed.
    pub judged: usize,
    /// Jobs whose verdict and deciding rules were held against the first engine's.
    pub compared: usize,
}

impl Row {
    pub(crate) fn new(
        engine: &'static str,
        rules: u32,
        build_ms: f64,
        heap_bytes: i64,
        times: &Times,
        compared: usize,
    ) -> Self {
        let Times { nanos, allocations } = times;
        let at = |share: usize| {
            let place = (nanos.len().saturating_sub(1)) * share / 100;
            nanos.get(place).map_or(0.0, |&nanos| nanos as f64 / 1e3)
        };
        Self {
            engine,
            rules,
            p50_us: at(50),
            p99_us: at(99),
            heap_bytes,
            build_ms: (build_ms * 1e3).round() / 1e3,
            allocations: (allocations * 1e3).round() / 1e3,
            judged: nanos.len(),
            compared,
        }
    }

    /// The cells of a table, in the order of [`Report::HEAD`].
    pub fn cells(&self) -> Vec<String> {
        vec![
            self.engine.to_owned(),
            self.rules.to_string(),
            format!("{:.2}", self.p50_us),
            format!("{:.2}", self.p99_us),
            self.heap_bytes.to_string(),
            format!("{:.1}", self.build_ms),
            format!("{:.1}", self.allocations),
            self.judged.to_string(),
            self.compared.to_string(),
        ]
    }
}

impl Report {
    /// The head of its table.
    pub const HEAD: &'static [&'static str] =
        &["engine", "rules", "p50 µs", "p99 µs", "heap bytes", "build ms", "allocations", "judged", "compared"];
}
