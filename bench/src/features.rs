//! What each governing feature costs: kernels that differ in one thing each, loaded in turn.

use std::time::Duration;

use serde::Serialize;

use crate::options::BenchArgs;
use crate::policy::Weight;
use crate::report::Side;

/// Length of a slice: short, since all rows are to see the same machine.
pub(crate) const SLICE: Duration = Duration::from_secs(2);

/// What a row is made of.
pub(crate) struct Made {
    pub(crate) feature: &'static str,
    pub(crate) weight: Weight,
    pub(crate) signed: bool,
}

const BARE: Weight = Weight { rules: 0, limits: 0, asks: false };

/// The bare kernel (one rule, no limits, nothing signed; facts, hash chain and ticket's fields are always there), then what
/// one feature adds to it, then all together.
pub(crate) const ROWS: [Made; 6] = [
    Made { feature: "bare", weight: BARE, signed: false },
    Made { feature: "signatures", weight: BARE, signed: true },
    Made { feature: "rules", weight: Weight { rules: 1_000, ..BARE }, signed: false },
    Made { feature: "limits", weight: Weight { limits: 3, ..BARE }, signed: false },
    Made { feature: "approvals", weight: Weight { asks: true, ..BARE }, signed: false },
    Made { feature: "all", weight: Weight { rules: 1_000, limits: 3, asks: true }, signed: true },
];

/// A row of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// `bare`, `signatures` (and tickets), `rules` (1,000), `limits` (3 a job), `approvals` (a tenth is held), `all`.
    pub feature: &'static str,
    /// Its figures. `released_ms` is of what was released.
    pub side: Side,
    /// Decided, median: milliseconds above the bare kernel's.
    pub decided_p50_over_bare: Option<f64>,
    /// Processor above the bare kernel's, microseconds a job.
    pub cpu_us_over_bare: f64,
}

/// The document of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Features {
    /// Where; secrets removed.
    pub spine: String,
    /// How fast jobs were offered.
    pub rate: serde_json::Value,
    /// Bytes of a raw record.
    pub size: u32,
    /// Jobs that were never decided, of all rows.
    pub lost: u64,
    /// Decided twice.
    pub doubled: u64,
    /// A row a feature.
    pub rows: Vec<Row>,
}

impl Features {
    /// Of what was measured, with (sent, lost, doubled).
    pub(crate) fn new(args: &BenchArgs, spine: String, measured: Vec<(Made, Side, (u64, u64, u64))>) -> Self {
        let (lost, doubled) =
            measured.iter().fold((0, 0), |(lost, doubled), (_, _, counts)| (lost + counts.1, doubled + counts.2));
        let bare = measured.first().map(|(_, side, _)| side.clone());
        let p50 = |side: &Side| side.decided_ms.map(|latency| latency.p50);
        let rows = measured.into_iter().map(|(made, side, _)| Row {
            feature: made.feature,
            decided_p50_over_bare: bare.as_ref().and_then(|bare| Some(p50(&side)? - p50(bare)?)),
            cpu_us_over_bare: bare.as_ref().map_or(0.0, |bare| (side.cpu_s_per_1000 - bare.cpu_s_per_1000) * 1e3),
            side,
        });
        Self { spine, rate: args.rate.written(), size: args.size, lost, doubled, rows: rows.collect() }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Decisions on {}, rate {}, {} bytes: lost {}, doubled {}\n{:<12}{:>9}{:>9}{:>9}{:>9}{:>12}{:>13}\n",
            self.spine,
            self.rate,
            self.size,
            self.lost,
            self.doubled,
            "feature",
            "p50 ms",
            "p99 ms",
            "max",
            "jobs/s",
            "us of CPU",
            "us over bare"
        );
        for row in &self.rows {
            let (p50, p99, max) = row.side.decided_ms.map_or((0.0, 0.0, 0.0), |d| (d.p50, d.p99, d.max));
            text.push_str(&format!(
                "{:<12}{p50:>9.3}{p99:>9.3}{max:>9.3}{:>9.0}{:>12.0}{:>13.0}\n",
                row.feature,
                row.side.per_s,
                row.side.cpu_s_per_1000 * 1e3,
                row.cpu_us_over_bare
            ));
        }
        text
    }
}
