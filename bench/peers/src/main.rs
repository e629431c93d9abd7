//! `make bench-policy`: Tidegate, the `cel` crate, Cedar and Rego (regorus) on the same rules and jobs in one run.
//!
//! A program of its own outside the workspace, so that nobody who builds Tidegate builds these engines.

mod cedar;
mod rego;

use clap::Parser;
use mimalloc::MiMalloc;
use tidegate_policy_bench::{Build, Counting, ENGINES, PolicyBenchArgs, run};

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting(MiMalloc);

const PEERS: [(&str, Build); 2] = [("cedar", cedar::build), ("regorus", rego::build)];

/// Policy engines on the same rules and jobs; the last line of stdout is one JSON document
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    bench: PolicyBenchArgs,
}

fn main() -> anyhow::Result<()> {
    let engines: Vec<_> = ENGINES.iter().copied().chain(PEERS).collect();
    let report = run(&Cli::parse().bench, &engines)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
