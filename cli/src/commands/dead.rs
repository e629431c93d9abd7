//! `tidegate dead`.

use std::path::Path;
use std::time::Duration;

use tidegate_node::gateway::view::DeadRecord;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::kept::{ExactJson, KeptBytes};
use tidegate_protocol::proof::Ticket;
use tidegate_protocol::redrive::{RawRecord, Redriven};
use tidegate_protocol::returned::Work;

use super::saying::{pass_on, unsaid};
use crate::args::{DeadCommand, Global, Output, SayArgs};
use crate::backend::{Backend, reach};
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
        DeadCommand::Redrive { with, say } => redrive(global, with.as_deref(), &say),
        DeadCommand::Drop(say) => {
            let (key, backend) = (say.signing.key(&say.reach)?, reach(global, &say.reach)?);
            let (_, source) = dead_record(&*backend, &say.job)?;
            let command = unsaid(Action::Drop, &say, &key, source)?;
            pass_on(global, &*backend, &key, &command)
        }
    }
}

/// A dead record, and the record of a source it is about.
fn dead_record(backend: &dyn Backend, at: &str) -> Result<(DeadRecord, SourcePosition), Failure> {
    let Some(dead) = backend.dead_record(at)? else {
        let hint = "`tidegate dead list` shows the newest";
        return Err(Failure::say(Exit::Unsuccessful, format!("no record `{at}` is known in `dead`; {hint}")));
    };
    match dead.source.clone() {
        Some(source) => Ok((dead, source)),
        None => Err(Failure::say(
            Exit::Data,
            format!("`{at}` is about no record of a source ({}): no kernel can judge it again or drop it", dead.detail),
        )),
    }
}

fn redrive(global: &Global, with: Option<&Path>, say: &SayArgs) -> Result<Exit, Failure> {
    let (key, backend) = (say.signing.key(&say.reach)?, reach(global, &say.reach)?);
    let (dead, source) = dead_record(&*backend, &say.job)?;
    let story = backend.get(&source.to_string(), None, Duration::ZERO)?;
    let redriven = match with {
        Some(file) => {
            let value = std::fs::read(file)
                .map_err(|error| Failure::say(Exit::Config, format!("`{}` cannot be read: {error}", file.display())))?;
            let (key, headers) = dead.record.map_or((None, Vec::new()), |record| (record.key, record.headers));
            Redriven::Record(RawRecord { value: KeptBytes::new(&value), key, headers })
        }
        None => own(dead.record, &source)?,
    };
    let unsaid = unsaid(Action::Redrive, say, &key, source)?;
    let command = match story.and_then(|story| story.job) {
        Some(job) => Command { job_id: job.id, tenant: job.tenant, input_hash: job.input_hash, ..unsaid },
        None => unsaid,
    };
    pass_on(global, &*backend, &key, &Command { redrive: Some(Box::new(redriven)), ..command })
}

/// The dead record's own bytes: a job that was released stands in `dead` as its record from `approved`.
fn own(record: Option<RawRecord>, source: &SourcePosition) -> Result<Redriven, Failure> {
    let Some(record) = record else {
        let hint = "its value was too large to carry on, or is not shown here (ask a gateway, not `--spine`); give it with `--with FILE`";
        return Err(Failure::say(Exit::Data, format!("the record's bytes are not at hand: {hint}")));
    };
    let text = std::str::from_utf8(record.value.get()).unwrap_or_default();
    let released =
        Ticket::read(text.as_bytes()).is_some() && Work::read(text).is_ok_and(|work| work.job.source == *source);
    match ExactJson::new(text) {
        Ok(exact) if released => Ok(Redriven::Work(exact)),
        Ok(_) | Err(_) => Ok(Redriven::Record(record)),
    }
}
