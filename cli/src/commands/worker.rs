//! `tidegate worker`.

use tidegate_node::StartError;
use tidegate_node::workers::{Gateway, Runs, Surroundings, WorkerSpec, build};
use tidegate_protocol::ids::PoolName;
use tidegate_worker::RunError;

use super::{config_of, on_spine, runtime, told_to_stop};
use crate::args::{Global, Output, WorkerArgs};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &WorkerArgs) -> Result<Exit, Failure> {
    let config = on_spine(config_of(global)?, args.spine.as_ref())?;
    let pool = PoolName::new(&args.pool).map_err(|error| Failure::new(Exit::Usage, error))?;
    let runs = match args.builtin {
        Some(builtin) => Runs::Builtin(builtin),
        None => Runs::Command(args.command.clone()),
    };
    let spec = |capability: &String| WorkerSpec { capability: capability.clone(), runs: runs.clone() };
    let specs: Vec<WorkerSpec> = args.capabilities.iter().map(spec).collect();
    let id = args.id.clone().unwrap_or_else(|| usual_id(&args.capabilities));
    let trust = config.keys.read().and_then(|keys| keys.trust_in_stages()).map_err(StartError::Keys)?;
    let labels = args.labels.iter().cloned().collect();
    let around = Surroundings { enforces: args.enforces.clone(), gateway: gateway(args)?, labels };
    let worker = build(pool, &id, &specs, args.concurrency, &around, trust)?;
    let drained = runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        worker.run(spine, &config.prefix, told_to_stop()).await.map_err(failed)
    })?;
    if global.output == Output::Json {
        output::json(&serde_json::json!({ "worker": id, "unsettled": drained.unsettled }));
    }
    Ok(Exit::Done)
}

/// The gateway that commands may submit to.
fn gateway(args: &WorkerArgs) -> Result<Option<Gateway>, Failure> {
    let Some(url) = args.gateway.clone() else { return Ok(None) };
    let read = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).map(|text| text.trim().to_owned());
        text.map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be read: {error}", file.display())))
    };
    let key = args.gateway_key_file.as_ref().map(read).transpose()?;
    Ok(Some(Gateway { url, key }))
}

fn usual_id(capabilities: &[String]) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), capabilities.join("-")).chars().take(200).collect()
}

fn failed(error: RunError) -> Failure {
    match error {
        RunError::Spine { source, .. } => source.into(),
        RunError::NoTopic { .. } | RunError::Topics { .. } | RunError::Superseded { .. } => {
            Failure::new(Exit::Config, error)
        }
    }
}
