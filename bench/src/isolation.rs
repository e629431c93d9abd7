//! What a noisy neighbour does to others: quiet tenants alone, then the same beside one that offers several times what the workers can
//! do.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tidegate_node::config::Settings;
use tokio::task::JoinHandle;

use crate::board::Milestone;
use crate::governed::Names;
use crate::options::{BenchArgs, Rate, Scenario};
use crate::report::{Side, side};
use crate::run::{Place, governed_side, on_spine, slice};
use crate::tenants::{ONE_IN, QUIET, Tenants};

/// The document of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Isolation {
    /// Where; secrets removed.
    pub spine: String,
    /// What the workers can do a second: slots over the mean of what a job takes.
    pub capacity_per_s: f64,
    /// Offered a second in the noisy part, by all.
    pub offered_per_s: f64,
    /// Of that, by the quiet tenants together, in both parts.
    pub quiet_per_s: f64,
    /// How many quiet tenants.
    pub tenants: usize,
    /// How long a job takes in the mean, milliseconds; each between half and one and a half times that.
    pub work_ms: f64,
    /// The quiet tenants' jobs without the noisy one.
    pub alone: Side,
    /// The same beside it.
    pub beside: Side,
    /// `beside` over `alone`, from due to `finished`: median, and 99th percentile.
    pub ratio_p50: Option<f64>,
    /// See `ratio_p50`.
    pub ratio_p99: Option<f64>,
    /// Jobs of all tenants that ended a second in the noisy part, warm-up included: at most the capacity.
    pub ended_per_s: f64,
    /// Jobs that had not ended when the noisy part was over.
    pub waiting: u64,
    /// The quiet tenants' jobs that did not end within 15 s after each part.
    pub lost: u64,
    /// Jobs seen twice at a milestone.
    pub doubled: u64,
}

/// Runs `bench jobs --overload`.
///
/// # Errors
/// As [`crate::run`]; also when the workers' capacity is not told by `--slots` and `--work`.
pub async fn isolation(
    args: &BenchArgs,
    settings: &Settings,
    told: impl Future<Output = ()>,
) -> anyhow::Result<Isolation> {
    ensure!(args.scenario == Scenario::Jobs, "`--overload` is of whole jobs: `tidegate bench jobs --overload …`");
    ensure!(!args.work.is_zero(), "`--overload` needs jobs that take their time: `--work 50ms`, with `--slots`");
    on_spine(args, settings, told, async |place| measured(args, place).await).await
}

async fn measured(args: &BenchArgs, place: &Place) -> anyhow::Result<Isolation> {
    let capacity = f64::from(args.slots) / args.work.as_secs_f64();
    let offered = capacity * args.overload.unwrap_or(1.0);
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let quiet = offered / ONE_IN as f64;
    ensure!(quiet < capacity, "the quiet tenants alone would be too much for the workers: lower `--overload`");
    let (alone, _) = part(args, place, "alone.", Tenants::Quiet, quiet).await?;
    let (beside, ended_per_s) = part(args, place, "beside.", Tenants::Noisy, offered).await?;
    let finished = |part: &Part| part.side.finished_ms;
    let ratio = |of: fn(&crate::Latency) -> f64| {
        let (beside, alone) = (finished(&beside)?, finished(&alone)?);
        Some(of(&beside) / of(&alone))
    };
    Ok(Isolation {
        spine: place.spine.url().to_owned(),
        capacity_per_s: capacity,
        offered_per_s: offered,
        quiet_per_s: quiet,
        tenants: QUIET.len(),
        work_ms: args.work.as_secs_f64() * 1e3,
        ratio_p50: ratio(|latency| latency.p50),
        ratio_p99: ratio(|latency| latency.p99),
        ended_per_s,
        waiting: beside.waiting,
        lost: alone.lost + beside.lost,
        doubled: alone.doubled + beside.doubled,
        alone: alone.side,
        beside: beside.side,
    })
}

/// One part's figures.
struct Part {
    side: Side,
    waiting: u64,
    lost: u64,
    doubled: u64,
}

/// Kernels, a scheduler and a worker of their own, loaded by these tenants; with how many jobs ended a second.
async fn part(args: &BenchArgs, place: &Place, name: &str, tenants: Tenants, rate: f64) -> anyhow::Result<(Part, f64)> {
    let names = Names::new(format!("{}{name}", place.prefix))?;
    let weight = (args.weight(), true);
    let (mut loaded, governed) =
        governed_side(args, &place.spine, &names, weight, Instant::now(), Milestone::Finished).await?;
    loaded.load.is_of(tenants);
    let (began, rate) = (Instant::now(), Rate::PerSecond(rate));
    for (length, counts) in [(args.warm_up, false), (args.duration, true)] {
        loaded = slice(args, loaded, rate, length, counts, &place.stop).await?;
    }
    let (sent, open, doubled) = loaded.board.counts();
    let ended = f64::from(u32::try_from(sent - open).unwrap_or(u32::MAX)) / began.elapsed().as_secs_f64();
    let (measured, came) = loaded.board.measured();
    // What waits is not worked off: the topics go.
    let stopped = tokio::time::timeout(Duration::from_secs(20), governed.stop()).await;
    if stopped.is_err() && !place.stop.load(Ordering::Relaxed) {
        tracing::warn!("a part of the run did not stop in time; the next may share the machine with it");
    }
    loaded.tasks.iter().for_each(JoinHandle::abort);
    let side = side(&loaded.board, loaded.spent);
    Ok((Part { side, waiting: open, lost: measured - came, doubled }, ended))
}

impl Isolation {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Isolation on {}: {} quiet tenants offer {:.0} jobs/s, alone and beside one that offers {:.0}; the workers can do {:.0} ({:.0} ms a job)\n",
            self.spine,
            self.tenants,
            self.quiet_per_s,
            self.offered_per_s - self.quiet_per_s,
            self.capacity_per_s,
            self.work_ms,
        );
        text.push_str(&format!(
            "{:<10}{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            "quiet", "ms", "p50", "p90", "p99", "p99.9", "max"
        ));
        for (name, side) in [("alone", &self.alone), ("beside", &self.beside)] {
            for (what, latency) in
                [("released", side.released_ms), ("started", side.started_ms), ("finished", side.finished_ms)]
            {
                if let Some(l) = latency {
                    text.push_str(&format!(
                        "{name:<10}{what:<10}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}\n",
                        l.p50, l.p90, l.p99, l.p999, l.max
                    ));
                }
            }
        }
        let show = |r: Option<f64>| r.map_or("-".to_owned(), |r| format!("{r:.2}"));
        text.push_str(&format!(
            "beside / alone, finished: p50 {} p99 {}; {:.0} jobs/s ended, {} waited at the end; lost {}, doubled {}\n",
            show(self.ratio_p50),
            show(self.ratio_p99),
            self.ended_per_s,
            self.waiting,
            self.lost,
            self.doubled
        ));
        text
    }
}
