//! `tidegate sources`.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_node::losses::{AcceptLossError, Wanted, accept_loss};
use tidegate_protocol::ids::KeyId;

use super::{config_of, on_spine, runtime};
use crate::args::{AcceptLossArgs, Global, Output, SourcesCommand};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: SourcesCommand) -> Result<Exit, Failure> {
    let SourcesCommand::AcceptLoss(AcceptLossArgs { input, shard, signing_key, key_id, person, spine }) = command;
    let config = on_spine(config_of(global)?, spine.spine.as_ref())?;
    let stem = signing_key.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let key = KeyId::new(key_id.unwrap_or(stem)).map_err(|error| Failure::new(Exit::Usage, error))?;
    let by = person.unwrap_or_else(|| key.to_string());
    let signer = tidegate_keys::read(key, &signing_key).map_err(|error| Failure::new(Exit::Config, error))?;
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
    runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        let wanted = Wanted { shard: shard.as_deref(), input: &input, by: &by, at_ms };
        let given_up = accept_loss(&config, &*spine, &signer, wanted).await.map_err(failed)?;
        if global.output == Output::Json {
            output::json(&serde_json::json!({
                "shard": given_up.shard, "input": given_up.partition.to_string(), "before": given_up.before, "by": by
            }));
        } else {
            output::text_line(&format!(
                "{by} gives up what is gone of `{}` below {}; shard `{}` records the range in its facts and goes on",
                given_up.partition, given_up.before, given_up.shard
            ));
        }
        Ok(Exit::Done)
    })
}

fn failed(error: AcceptLossError) -> Failure {
    let exit = match &error {
        AcceptLossError::Form { .. }
        | AcceptLossError::UnknownSource { .. }
        | AcceptLossError::UnknownShard { .. }
        | AcceptLossError::NotItsInput { .. }
        | AcceptLossError::Shard(_) => Exit::Usage,
        AcceptLossError::Name(_) | AcceptLossError::Keys(_) | AcceptLossError::NotTrusted { .. } => Exit::Config,
        AcceptLossError::NothingGone { .. } => Exit::Unsuccessful,
        AcceptLossError::Spine(_) | AcceptLossError::NotWritten(_) => Exit::Unavailable,
    };
    Failure::new(exit, error)
}
