//! A worker of one's own: `cargo run -p tidegate-worker --example echo -- FOLDER KEY PUBLIC` on an embedded spine in FOLDER
//! that has the topics of pool `default` (`tidegate topics apply`), for stages that sign as KEY. Ctrl-C drains it.

use std::sync::Arc;

use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_keys::{Keyring, Trusted};
use tidegate_protocol::ids::{KeyId, PoolName, WorkerId};
use tidegate_protocol::signature::Role;
use tidegate_worker::{Context, Ending, Worker};

/// Says how far it is, and gives back what it was given.
async fn echo(context: Context) -> Ending {
    context.progress(Some(0.5), "halfway");
    Ending::succeeded(&context.payload())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(key), Some(public)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: echo FOLDER KEY PUBLIC".into());
    };
    let stages = Trusted {
        id: KeyId::new(key)?,
        public: public.parse()?,
        person: None,
        roles: vec![Role::AnyStage],
        tenants: None,
        until_ms: None,
    };
    let trust = Arc::new(Keyring::new([stages])?);
    let spine = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder))?);
    let worker = Worker::builder(PoolName::new("default")?, WorkerId::new("echo-1")?, trust)
        .capability("echo", echo)
        .concurrency(16)
        .build()?;
    let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let drained = worker.run(spine, "tidegate.", ctrl_c).await?;
    eprintln!("drained, {} results not settled", drained.unsettled);
    Ok(())
}
