//! What a waiting job costs in memory, when all of them are in the window.

use anyhow::ensure;
use tidegate_scheduler::Tuning;

use crate::resident;
use crate::seed::{Bare, record_of};

/// First word of the command line of the process that measures.
pub(crate) const CHILD: &str = "--memory";

/// In a process of its own: in this one memory may be free that was used before.
pub(crate) fn measure_apart(jobs: u64) -> anyhow::Result<()> {
    let mut child = std::process::Command::new(std::env::current_exe()?);
    let measured = child.arg(CHILD).arg(jobs.to_string()).status()?;
    ensure!(measured.success(), "measuring memory ended with {measured}");
    Ok(())
}

/// Of jobs with so many bytes of payload.
pub(crate) fn measure(jobs: u64, payload: usize) -> anyhow::Result<()> {
    let room = usize::try_from(jobs)?.saturating_mul(3) / 2 + 10;
    let mut bare =
        Bare::new(&Tuning { window_jobs: room.min(10_000_000), window_bytes: 1 << 40, ..Tuning::default() })?;
    let (before, mut text) = (resident(), 0);
    for number in 0..jobs {
        let value = record_of(number, payload)?;
        text += value.len() as u64;
        bare.arrive(0, value.into());
    }
    let gauges = bare.stage.gauges();
    ensure!(gauges.waiting as u64 == jobs, "{} of {jobs} jobs wait in the window", gauges.waiting);
    let grown = resident().saturating_sub(before);
    println!(
        "memory: {jobs} jobs in one window: {} B a job beside its record of {} B ({} MiB in all)",
        grown.saturating_sub(text) / jobs.max(1),
        text / jobs.max(1),
        grown >> 20,
    );
    Ok(())
}
