//! `tidegate bench` without the rest of the binary.

use std::io::Write;

use clap::Parser;
use tidegate_bench::{BenchArgs, run};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let report = run(&Cli::parse().args).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report.text())?;
    writeln!(out, "{}", serde_json::to_string(&report)?)?;
    Ok(())
}
