//! `tidegate config`.

use tidegate_node::{Config, Written};

use super::config_file;
use crate::args::{ConfigCommand, Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, Failure> {
    let file = config_file(global);
    let written = match &file {
        Some(file) => {
            Config::read(file)?;
            Written::read(file)?
        }
        None => Written::default(),
    };
    let name = file.map_or_else(|| "the default configuration".to_owned(), |file| file.display().to_string());
    match (command, global.output) {
        (ConfigCommand::Show, Output::Json) => output::json(&written),
        (ConfigCommand::Show, Output::Text) => {
            let text = written.show().map_err(|error| Failure::say(Exit::Software, error))?;
            output::text_line(&format!("# {name}\n{}", text.trim_end()));
        }
        (ConfigCommand::Check, Output::Json) => output::json(&serde_json::json!({ "config": name, "problems": [] })),
        (ConfigCommand::Check, Output::Text) => {
            output::text_line(&format!(
                "{name} is right: {} sources, {} pools, spine {}",
                written.sources.len(),
                written.pools.len(),
                written.spine.url
            ));
        }
    }
    Ok(Exit::Done)
}
