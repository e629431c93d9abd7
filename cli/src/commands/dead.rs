//! `tidegate dead`.

use crate::args::{DeadCommand, Global, Output};
use crate::backend::reach;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story::clock;

pub(crate) fn run(global: &Global, command: DeadCommand) -> Result<Exit, Failure> {
    match command {
        DeadCommand::List { limit, reach: whom } => {
            let dead = reach(global, &whom)?.dead(limit)?;
            if global.output == Output::Json {
                output::json(&dead);
                return Ok(Exit::Done);
            }
            if dead.dead.is_empty() {
                output::text_line("nothing is dead");
                return Ok(Exit::Done);
            }
            let rows: Vec<Vec<String>> = dead
                .dead
                .into_iter()
                .map(|dead| {
                    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are below 2^53")]
                    let when = clock(Some(dead.timestamp_ms as f64));
                    let about = dead.source.map_or(dead.original, |source| source.to_string());
                    vec![dead.at, when, about, dead.reason, dead.detail.chars().take(80).collect()]
                })
                .collect();
            output::text_line(&output::table(&["at", "when", "record", "reason", "detail"], &rows));
            Ok(Exit::Done)
        }
        DeadCommand::Show { at, reach: whom } => {
            let Some(dead) = reach(global, &whom)?.dead_record(&at)? else {
                return Err(Failure::say(
                    Exit::Unsuccessful,
                    format!("no record `{at}` is known in `dead`; `tidegate dead list` shows the newest"),
                ));
            };
            if global.output == Output::Json {
                output::json(&dead);
                return Ok(Exit::Done);
            }
            let source = dead.source.map(|source| source.to_string()).unwrap_or_default();
            let rows = [
                ("at", dead.at),
                ("source", source),
                ("original", dead.original),
                ("stage", dead.stage),
                ("reason", dead.reason),
                ("detail", dead.detail),
                ("bytes", dead.bytes.to_string()),
                ("sha-256", dead.input_hash),
            ];
            for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
                output::text_line(&format!("{name:9} {value}"));
            }
            output::text_line(&dead.preview);
            Ok(Exit::Done)
        }
    }
}
