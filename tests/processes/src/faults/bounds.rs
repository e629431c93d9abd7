//! What no process may have more of, however far behind it is (I10).

use anyhow::ensure;

use super::config::SEEN;
use super::fleet::Member;

/// Most memory that any of the processes may have resident at any time, bytes.
const MEMORY: u64 = 1 << 30;

/// The most that was seen.
#[derive(Debug, Clone)]
pub(super) struct Peaks {
    /// Bytes resident, and whose.
    memory: (u64, String),
    /// Gauges of a shard, the most that they may be, and were.
    gauges: [(&'static str, u32, f64); 2],
}

impl Peaks {
    /// Of processes whose pools have no more than `window` jobs waiting in memory, a shard.
    pub(super) fn new(window: u32) -> Self {
        let gauges = [("tidegate_scheduler_waiting_jobs", window, 0.0), ("tidegate_kernel_known_ids", SEEN, 0.0)];
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
                    *peak = peak.max(value);
                }
            }
        }
        Ok(())
    }

    /// For the run's notes.
    pub(super) fn told(&self) -> String {
        let (bytes, name) = &self.memory;
        let gauges = self.gauges.iter().map(|(gauge, most, peak)| format!(", {gauge} {peak} of {most}"));
        format!("no process had more than {} MiB resident ({name}){}", bytes >> 20, gauges.collect::<String>())
    }
}
