//! What no process may have more of, however far behind it is (I10).

use anyhow::{Context as _, ensure};

use super::fleet::Member;

/// Most memory that any of the processes may have resident at any time, bytes.
const MEMORY: u64 = 1 << 30;

/// The most that was seen.
#[derive(Debug, Clone)]
pub(super) struct Peaks {
    /// Bytes resident, and whose.
    memory: (u64, String),
    /// Gauges of a shard, the most that they may be, and were; `None` as long as nobody has told them.
    gauges: [(&'static str, u32, Option<f64>); 2],
}

impl Peaks {
    /// Of processes whose pools have no more than `window` jobs waiting in memory, and whose kernels know no more than `seen` ids, a
    /// shard.
    pub(super) fn new(window: u32, seen: u32) -> Self {
        let gauges = [("tidegate_scheduler_waiting_jobs", window, None), ("tidegate_kernel_known_ids", seen, None)];
        Self { memory: (0, String::new()), gauges }
    }

    /// Looks at these processes.
    ///
    /// # Errors
    /// When one has more than it may.
    pub(super) fn weigh<'a>(&mut self, members: impl IntoIterator<Item = &'a Member>) -> anyhow::Result<()> {
        for member in members {
            let (bytes, name) = (member.peak_memory()?, member.name());
            ensure!(
                bytes <= MEMORY,
                "verdict: BROKEN, {name} has had {} MiB resident, more than {}",
                bytes >> 20,
                MEMORY >> 20
            );
            if bytes > self.memory.0 {
                self.memory = (bytes, name.to_owned());
            }
            for (gauge, most, peak) in &mut self.gauges {
                for (series, value) in member.gauges(gauge) {
                    ensure!(
                        value <= f64::from(*most),
                        "verdict: BROKEN, {name}: {series} is {value}, the most is {most}"
                    );
                    *peak = Some(peak.unwrap_or_default().max(value));
                }
            }
        }
        Ok(())
    }

    /// Whether each gauge has been at half of what it may be at least: where there is far more, only then has a bound held anything
    /// back. A window's parts for other buckets, and for what comes back from `overflow`, may stay free.
    pub(super) fn are_reached(&self) -> bool {
        self.gauges.iter().all(|(_, most, peak)| peak.is_some_and(|peak| peak * 2.0 >= f64::from(*most)))
    }

    /// For the run's notes.
    ///
    /// # Errors
    /// When nobody told a gauge: that is not the same as 0.
    pub(super) fn told(&self) -> anyhow::Result<String> {
        let (bytes, name) = &self.memory;
        let mut told = format!("no process had more than {} MiB resident ({name})", bytes >> 20);
        for (gauge, most, peak) in &self.gauges {
            let peak = peak.with_context(|| format!("no process told {gauge}, which is to be {most} at most"))?;
            told.push_str(&format!(", {gauge} {peak} of {most}"));
        }
        Ok(told)
    }
}
