//! What a run says: figures of both sides, and their ratios.

use serde::Serialize;

use crate::board::{Board, Latency, Milestone};
use crate::lending::Asked;
use crate::options::{BenchArgs, Scenario};
use crate::policy::Weight;

/// Figures of one side.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// Raw record due → its verdict acknowledged in `decisions`.
    pub decided_ms: Option<Latency>,
    /// Raw record due → verdict readable by its consumer.
    pub released_ms: Option<Latency>,
    /// Raw record due → the job's handler called (jobs only).
    pub started_ms: Option<Latency>,
    /// Verdict readable in `approved` (its append acknowledged) → the job's handler called (jobs only).
    pub dispatch_ms: Option<Latency>,
    /// Raw record due → `finished` readable (jobs only).
    pub finished_ms: Option<Latency>,
    /// Jobs in a group of facts, on average.
    pub jobs_per_group: Option<f64>,
    /// Jobs through, a second of load.
    pub per_s: f64,
    /// CPU seconds of this process per 1,000 jobs; load and instruments included, the broker not.
    pub cpu_s_per_1000: f64,
}

/// Tidegate's figure over the floor's.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// Decided, median.
    pub decided_p50: Option<f64>,
    /// Decided, 99th percentile.
    pub decided_p99: Option<f64>,
    /// Released, median.
    pub released_p50: Option<f64>,
    /// Released, 99th percentile.
    pub released_p99: Option<f64>,
    /// Dispatch, median.
    pub dispatch_p50: Option<f64>,
    /// Dispatch, 99th percentile.
    pub dispatch_p99: Option<f64>,
    /// Finished, median.
    pub finished_p50: Option<f64>,
    /// Finished, 99th percentile.
    pub finished_p99: Option<f64>,
    /// Throughput.
    pub per_s: f64,
}

/// The document of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was measured.
    pub scenario: Scenario,
    /// Where; secrets removed.
    pub spine: String,
    /// How fast jobs were offered.
    pub rate: serde_json::Value,
    /// Bytes of a raw record.
    pub size: u32,
    /// Rules that no job meets, and limits that every job takes of.
    pub rules: u32,
    /// See `rules`.
    pub limits: u32,
    /// Shards of the pool, and leases at once over all of them (jobs only).
    pub shards: u32,
    /// See `shards`.
    pub max_leased: Option<u32>,
    /// What the shards leased, and asked of the limits stage, when there are several or a limit.
    pub asked: Option<Asked>,
    /// Jobs sent to the Tidegate side, warm-up included.
    pub sent: u64,
    /// Of those, never seen at the end.
    pub lost: u64,
    /// Seen twice at a milestone.
    pub doubled: u64,
    /// Tidegate.
    pub tidegate: Side,
    /// The floor, when asked for.
    pub floor: Option<Side>,
    /// Tidegate over floor.
    pub ratio: Option<Ratio>,
}

/// Time and CPU a side was loaded for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

pub(crate) fn side(board: &Board, spent: Spent) -> Side {
    let (_, through) = board.measured();
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    let through = through as f64;
    Side {
        decided_ms: board.latency(Milestone::Decided),
        released_ms: board.latency(Milestone::Released),
        started_ms: board.latency(Milestone::Started),
        dispatch_ms: board.dispatch(),
        finished_ms: board.latency(Milestone::Finished),
        jobs_per_group: board.decided_together(),
        per_s: through / spent.seconds.max(1e-9),
        cpu_s_per_1000: spent.cpu * 1_000.0 / through.max(1.0),
    }
}

pub(crate) fn report(
    args: &BenchArgs,
    spine: String,
    board: &Board,
    tidegate: Side,
    floor: Option<Side>,
    asked: Option<Asked>,
) -> Report {
    let (sent, lost, doubled) = board.counts();
    let over = |f: fn(&Side) -> Option<f64>| Some(f(&tidegate)? / floor.as_ref().and_then(f)?);
    let ratio = floor.as_ref().map(|floor| Ratio {
        decided_p50: over(|s| Some(s.decided_ms?.p50)),
        decided_p99: over(|s| Some(s.decided_ms?.p99)),
        released_p50: over(|s| Some(s.released_ms?.p50)),
        released_p99: over(|s| Some(s.released_ms?.p99)),
        dispatch_p50: over(|s| Some(s.dispatch_ms?.p50)),
        dispatch_p99: over(|s| Some(s.dispatch_ms?.p99)),
        finished_p50: over(|s| Some(s.finished_ms?.p50)),
        finished_p99: over(|s| Some(s.finished_ms?.p99)),
        per_s: tidegate.per_s / floor.per_s.max(1e-9),
    });
    let rate = args.rate.written();
    let (scenario, size, Weight { rules, limits, .. }) = (args.scenario, args.size, args.weight());
    let (shards, max_leased) = (args.shards, args.max_leased);
    Report {
        scenario,
        spine,
        rate,
        size,
        rules,
        limits,
        shards,
        max_leased,
        asked,
        sent,
        lost,
        doubled,
        tidegate,
        floor,
        ratio,
    }
}

impl Report {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:?} on {}, rate {}, {} bytes, {} rules, {} limits: sent {}, lost {}, doubled {}\n{:<10}{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            self.scenario,
            self.spine,
            self.rate,
            self.size,
            self.rules,
            self.limits,
            self.sent,
            self.lost,
            self.doubled,
            "side",
            "ms",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max"
        );
        if self.shards > 1 || self.max_leased.is_some() {
            let most = self.max_leased.map_or("no limit".to_owned(), |most| format!("at most {most} leased at once"));
            text.push_str(&format!("pool      {} shards, {most}\n", self.shards));
        }
        let sides = [("tidegate", Some(&self.tidegate)), ("floor", self.floor.as_ref())];
        for (name, side) in sides.into_iter().filter_map(|(n, s)| Some((n, s?))) {
            for (what, latency) in [
                ("decided", side.decided_ms),
                ("released", side.released_ms),
                ("started", side.started_ms),
                ("dispatch", side.dispatch_ms),
                ("finished", side.finished_ms),
            ] {
                if let Some(l) = latency {
                    text.push_str(&format!(
                        "{name:<10}{what:<10}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{:>9.3}\n",
                        l.p50, l.p90, l.p99, l.p999, l.max
                    ));
                }
            }
            text.push_str(&format!(
                "{name:<10}{:.0} jobs/s, {:.1} in a group, {:.3} CPU s per 1,000 jobs\n",
                side.per_s,
                side.jobs_per_group.unwrap_or_default(),
                side.cpu_s_per_1000
            ));
        }
        if let Some(asked) = &self.asked {
            text.push_str(&asked.text());
        }
        if let Some(ratio) = &self.ratio {
            let show = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.2}"));
            text.push_str(&format!(
                "tidegate / floor: decided p50 {} p99 {}, released p50 {} p99 {}, dispatch p50 {} p99 {}, finished p50 {} p99 {}, throughput {:.2}\n",
                show(ratio.decided_p50),
                show(ratio.decided_p99),
                show(ratio.released_p50),
                show(ratio.released_p99),
                show(ratio.dispatch_p50),
                show(ratio.dispatch_p99),
                show(ratio.finished_p50),
                show(ratio.finished_p99),
                ratio.per_s
            ));
        }
        text
    }
}
