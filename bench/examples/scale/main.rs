//! What a shard of a pool does with a great many jobs and workers: memory of a waiting job, the takeover of a shard with its backlog,
//! and heartbeats.
//!
//! `cargo run --release -p tidegate-bench --example scale [-- JOBS [WORKERS]]`, on Linux; 1,000,000 jobs and 10,000 workers unless told.
//!
//! 1. *memory*: the stage alone, with a window for all jobs, in a process of its own: growth of resident memory over that of the records'
//!    own text. `--memory JOBS [BYTES]` measures that alone, in this process, with so large a payload.
//! 2. *takeover*: the embedded spine, real signatures and tickets, a worker of this process with 1,000 jobs that run. The backlog is in
//!    the log; the owner is dropped on the spot (memory and producer, as a killed process is to the spine), a new one
//!    begins. Measured from there until the worker's next job starts. Then jobs end for some seconds, and a ledger says whether any
//!    ran twice, or ended twice or not at all.
//! 3. *killed*: the same, but the owner and its worker are a process of their own, which gets SIGKILL; measured from there until the next
//!    job starts in a process that is started then.
//! 4. *heartbeats*: the stage alone hears all workers at their usual pace, and places jobs among them. `--heartbeats URL [WORKERS]` is that
//!    alone, through a spine (`embedded:FOLDER` or `kafka://host:port`), the runner and the spine's client.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it measures and prints figures for people")]

mod beating;
mod heartbeats;
mod killed;
mod memory;
mod seed;
mod takeover;

use anyhow::Context as _;

/// What the program uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted behind the name; the unit is 1/100 s on Linux.
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if words.next_if(|word| word == memory::CHILD).is_some() {
        let jobs = words.next().context("how many jobs is missing")?.parse()?;
        return memory::measure(jobs, words.next().map_or(Ok(seed::PAYLOAD), |bytes| bytes.parse())?);
    }
    if words.next_if(|word| word == killed::CHILD).is_some() {
        return runtime.block_on(killed::child(words.collect()));
    }
    if words.next_if(|word| word == "--heartbeats").is_some() {
        let url = words.next().context("the spine's URL is missing")?;
        return runtime.block_on(beating::measure(&url, words.next().map_or(Ok(10_000), |many| many.parse())?));
    }
    let mut number =
        |usual: u64| words.next().map_or(Ok(usual), |word| word.parse().context("JOBS and WORKERS are numbers"));
    let (jobs, workers) = (number(1_000_000)?, number(10_000)?);
    println!("{jobs} jobs, {workers} workers");
    heartbeats::measure(workers)?;
    runtime.block_on(takeover::measure(jobs))?;
    runtime.block_on(killed::measure(jobs))?;
    memory::measure_apart(jobs)
}
