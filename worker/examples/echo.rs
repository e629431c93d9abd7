//! A worker of one's own: `cargo run -p tidegate-worker --example echo -- FOLDER` on an embedded spine in FOLDER that has
//! the topics of pool `default` (`tidegate topics apply`). Ctrl-C drains it.

use std::sync::Arc;

use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_worker::{Context, Ending, Worker};

/// Says how far it is, and gives back what it was given.
async fn echo(context: Context) -> Ending {
    context.progress(Some(0.5), "halfway");
    Ending::succeeded(&context.payload())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: echo FOLDER")?;
    let spine = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder))?);
    let worker = Worker::builder(PoolName::new("default")?, WorkerId::new("echo-1")?)
        .capability("echo", echo)
        .concurrency(16)
        .build()?;
    let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let drained = worker.run(spine, "tidegate.", ctrl_c).await?;
    eprintln!("drained, {} results not settled", drained.unsettled);
    Ok(())
}
