//! `tidegate sources`.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_node::losses::{AcceptLossError, LostInput, accept_loss};
use tidegate_protocol::ids::KeyId;

use super::{config_of, on_spine, runtime};
use crate::args::{Global, LostInputArg, Output, SourcesCommand};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: SourcesCommand) -> Result<Exit, Failure> {
    let SourcesCommand::AcceptLoss { source, partition, input, key, key_file, by, spine } = command;
    let config = on_spine(config_of(global)?, spine.spine.as_ref())?;
    let key = KeyId::new(key).map_err(|error| Failure::new(Exit::Usage, error))?;
    let by = by.unwrap_or_else(|| key.to_string());
    let signer = tidegate_keys::read(key, &key_file).map_err(|error| Failure::new(Exit::Config, error))?;
    let input = match input {
        LostInputArg::Source => LostInput::Source,
        LostInputArg::Commands => LostInput::Commands,
        LostInputArg::Outcomes => LostInput::Outcomes,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        let accepted = accept_loss(&config, &*spine, &signer, (&source, input, partition), (&by, at_ms)).await;
        let (lost, before) = accepted.map_err(failed)?;
        if global.output == Output::Json {
            output::json(&serde_json::json!({ "partition": lost.to_string(), "before": before, "by": by }));
        } else {
            output::text_line(&format!(
                "what is gone of `{lost}` below {before} is given up by {by}; its shard records the range in its facts and goes on"
            ));
        }
        Ok(Exit::Done)
    })
}

fn failed(error: AcceptLossError) -> Failure {
    let exit = match &error {
        AcceptLossError::UnknownSource { .. } => Exit::Usage,
        AcceptLossError::Name { .. } => Exit::Config,
        AcceptLossError::NothingGone { .. } => Exit::Unsuccessful,
        AcceptLossError::Spine(_) | AcceptLossError::NotWritten(_) => Exit::Unavailable,
    };
    Failure::new(exit, error)
}
