//! What a run is asked to do.

use std::time::Duration;

use serde::Serialize;

use crate::policy::{MOST_LIMITS, Weight};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Raw record to verdict: the kernel alone.
    Decisions,
    /// Raw record to `finished`: kernel, scheduler and no-op workers.
    Jobs,
}

/// How fast jobs are offered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rate {
    /// Open loop: so many a second, whether or not answers come.
    PerSecond(f64),
    /// As fast as goes with a bounded number in flight; only throughput is meaningful.
    Max,
}

impl Rate {
    /// As reports have it.
    pub(crate) fn written(self) -> serde_json::Value {
        match self {
            Self::Max => serde_json::json!("max"),
            Self::PerSecond(rate) => serde_json::json!(rate),
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if (1.0..=1e7).contains(&rate) => Ok(Self::PerSecond(rate)),
            _ => Err(format!("`{text}` is neither `max` nor a number of jobs a second from 1 to 10000000")),
        }
    }
}

fn work(text: &str) -> Result<Duration, String> {
    match text.strip_suffix("ms").and_then(|number| number.parse::<u64>().ok()) {
        Some(number) if number <= 60_000 => Ok(Duration::from_millis(number)),
        _ => Err(format!("`{text}` is no duration from 0ms to 60000ms")),
    }
}

fn overload(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(times) if (1.0..=100.0).contains(&times) => Ok(times),
        _ => Err(format!("`{text}` is no number from 1 to 100")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("`{text}` is no duration from 0.1s to 3600s")),
    }
}

/// `tidegate bench decisions|jobs …`.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// What is measured.
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// `kafka://host:port`, or `embedded:FOLDER` (a new folder below it is used and removed). The client's settings, secrets
    /// included, are the configuration's (`spine.settings`).
    #[arg(long)]
    pub spine: String,
    /// Jobs a second (open loop), or `max` (bounded in flight, throughput only).
    #[arg(long, default_value = "1000")]
    pub rate: Rate,
    /// Time each side is loaded, e.g. `20s`.
    #[arg(long, default_value = "20s", value_parser = seconds)]
    pub duration: Duration,
    /// Time each side runs as fast as it goes before it is measured: a broker is slow until its compiler has seen some
    /// 75,000 records.
    #[arg(long, default_value = "4s", value_parser = seconds)]
    pub flat_out: Duration,
    /// Time at the rate before each part that is measured or runs flat out; it also tells the sizes of what is appended.
    #[arg(long, default_value = "3s", value_parser = seconds, hide_short_help = true)]
    pub warm_up: Duration,
    /// Bytes of a raw record, at least 256.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=900_000))]
    pub size: u32,
    /// Also measure the floor: the same appends through the bare client, in alternating slices.
    #[arg(long)]
    pub floor: bool,
    /// Rules of the policy besides those that every job meets: a realistic set is not one rule.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub rules: u32,
    /// Limits that every job takes of.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_LIMITS)))]
    pub limits: u32,
    /// A policy as a large installation has it: 1,000 rules, a tenth of which ask people, and 3 limits a job.
    #[arg(long, conflicts_with_all = ["rules", "limits"])]
    pub governed: bool,
    /// What each governing feature costs: a row for each beside the bare kernel, all loaded in turn in one run.
    #[arg(long, conflicts_with_all = ["rules", "limits", "governed", "floor"])]
    pub features: bool,
    /// Partitions of the source.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub partitions: u32,
    /// Worker processes' worth of slots, for `jobs`.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub slots: u32,
    /// How long a job takes its worker in the mean, for `jobs`: each from half to one and a half times that, e.g. `50ms`.
    #[arg(long, default_value = "0ms", value_parser = work)]
    pub work: Duration,
    /// A noisy neighbour, for `jobs`: so many times what the workers can do (`--slots` over `--work`) is offered, 95 % of it by one tenant. The
    /// figures are of four others, which offer the rest: alone, and then beside it.
    #[arg(long, value_parser = overload, requires = "work", conflicts_with_all = ["rate", "floor", "features", "max_leased", "in_flight"])]
    pub overload: Option<f64>,
    /// Shards of the pool, for `jobs`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::governed::BUCKETS)))]
    pub shards: u32,
    /// Leases at once over all shards, for `jobs`: one shard counts by itself, several share it by the limits stage.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_leased: Option<u32>,
    /// Groups of facts a shard may have on their way at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub groups_in_flight: u32,
    /// Jobs in flight at most, for `--rate max`.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: u32,
}

impl BenchArgs {
    /// What the policy is made of.
    pub(crate) fn weight(&self) -> Weight {
        match self.governed {
            true => Weight { rules: 1_000, limits: 3, asks: false },
            false => Weight { rules: self.rules, limits: self.limits, asks: false },
        }
    }
}
