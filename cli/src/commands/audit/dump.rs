//! `tidegate audit dump`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

use tidegate_audit::dump::{Dumped, Header, VERSION, write};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::ids::SourceName;

use super::DumpArgs;
use super::log::{checkpoint_partitions, decisions, ends, read};
use crate::args::{Global, Output};
use crate::commands::{config_of, on_spine, runtime};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &DumpArgs) -> Result<Exit, Failure> {
    let config = on_spine(config_of(global)?, args.spine.spine.as_ref())?;
    let failed =
        |error: std::io::Error| Failure::say(Exit::Unavailable, format!("the dump cannot be written: {error}"));
    let written = runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        let logs = decisions(&config, &spine, &args.chosen).await?;
        // Checkpoints before the logs' ends, so that none is of a group behind them.
        let checkpoints = checkpoint_partitions(&config, &spine).await?;
        let checkpoint_ends = ends(&spine, &checkpoints).await?;
        let facts: Vec<TopicPartition> = logs.iter().map(|log| log.identity.facts.clone()).collect();
        let facts_ends = ends(&spine, &facts).await?;
        let mut all: Vec<(TopicPartition, Option<SourceName>)> = checkpoints.into_iter().map(|at| (at, None)).collect();
        all.extend(logs.into_iter().map(|log| (log.identity.facts, Some(log.source))));
        let all: Vec<_> = all.into_iter().zip(checkpoint_ends.into_iter().chain(facts_ends)).collect();
        let partitions = all.iter().map(|((at, source), ends)| Dumped {
            topic: at.topic.clone(),
            partition: at.partition,
            source: source.clone(),
            start: ends.start,
            end: ends.end,
        });
        let header = Header { tidegate_dump: VERSION, partitions: partitions.collect() };
        let text = |error| Failure::new(Exit::Software, anyhow::Error::from(error));
        let mut out: Box<dyn Write> = match &args.file {
            Some(file) => {
                let made = OpenOptions::new().write(true).create_new(true).open(file);
                Box::new(BufWriter::new(made.map_err(|error| {
                    Failure::say(Exit::Config, format!("`{}` cannot be made: {error}", file.display()))
                })?))
            }
            None => Box::new(BufWriter::new(std::io::stdout())),
        };
        let line: Result<String, serde_json::Error> = header.write();
        writeln!(out, "{}", line.map_err(text)?).map_err(failed)?;
        let mut records = 0_u64;
        for ((at, _), ends) in &all {
            read(&spine, at, *ends, |record| {
                writeln!(out, "{}", write(at, record).map_err(text)?).map_err(failed)?;
                records += 1;
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        out.flush().map_err(failed)?;
        Ok::<_, Failure>((all.len(), records))
    })?;
    if let Some(file) = &args.file {
        let (partitions, records) = written;
        match global.output {
            Output::Json => {
                output::json(&serde_json::json!({ "file": file, "partitions": partitions, "records": records }))
            }
            Output::Text => {
                output::text_line(&format!("{records} records of {partitions} partitions in `{}`", file.display()))
            }
        }
    }
    Ok(Exit::Done)
}
