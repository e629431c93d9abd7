//! `tidegate audit verify`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tidegate_audit::dump::{self, Dumped, Header, LONGEST_LINE};
use tidegate_audit::report::{PartitionAudit, PartitionReport, Report, Verdict};
use tidegate_audit::{Begin, Damage};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::signature::Trust;
use tidegate_spine::Record;

use super::log::{Decisions, Found, checkpoint_partitions, decisions, ends, read};
use super::{VerifyArgs, trust};
use crate::args::{Global, Output};
use crate::commands::{config_of, on_spine, runtime};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let trust = trust(global, &args.ring)?;
    let mut found = Found::default();
    for file in &args.checkpoints {
        found.take_file(file, &*trust)?;
    }
    let report = match &args.dump {
        Some(file) => of_dump(args, file, &trust, found)?,
        None => runtime()?.block_on(of_spine(global, args, &trust, found))?,
    };
    if global.output == Output::Json {
        output::json(&report);
    } else {
        show(&report);
    }
    Ok(match report.verdict {
        Verdict::Verified => Exit::Done,
        Verdict::Tampered => Exit::Tampered,
        Verdict::CannotSay => Exit::CannotSay,
    })
}

async fn of_spine(
    global: &Global,
    args: &VerifyArgs,
    trust: &Arc<dyn Trust>,
    mut found: Found,
) -> Result<Report, Failure> {
    let config = on_spine(config_of(global)?, args.spine.spine.as_ref())?;
    let spine = tidegate_node::spine::open(&config.spine).await?;
    let logs = decisions(&config, &spine, &args.chosen).await?;
    // Checkpoints before the logs' ends, so that none is of a group behind them.
    let checkpoints = checkpoint_partitions(&config, &spine).await?;
    for (at, ends) in checkpoints.iter().zip(ends(&spine, &checkpoints).await?) {
        let name = at.to_string();
        read(&spine, at, ends, |record| {
            take(&mut found, &name, record, &**trust);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
    }
    let places: Vec<TopicPartition> = logs.iter().map(|log| log.identity.facts.clone()).collect();
    let mut reports = Vec::new();
    for (log, ends) in logs.into_iter().zip(ends(&spine, &places).await?) {
        let facts = log.identity.facts.clone();
        let mut audit = begin(log, trust, ends.start, &found);
        read(&spine, &facts, ends, |record| {
            audit.meet::<KernelFact>(record);
            Ok(if audit.goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .await?;
        reports.push(audit.report(ends.end));
    }
    Ok(Report::new(reports, found.bad))
}

fn begin(log: Decisions, trust: &Arc<dyn Trust>, start: Offset, found: &Found) -> PartitionAudit {
    let anchors = found.anchors(&log.identity, start);
    PartitionAudit::new(log.source, log.identity, Arc::clone(trust), start, anchors, true)
}

fn take(found: &mut Found, at: &str, record: &Record, trust: &dyn Trust) {
    let written = u64::try_from(record.timestamp_ms).unwrap_or(0);
    found.take(at, record.offset, record.value.as_deref().unwrap_or_default(), Some(written), trust);
}

/// Two passes: checkpoints, then the logs.
fn of_dump(args: &VerifyArgs, file: &Path, trust: &Arc<dyn Trust>, mut found: Found) -> Result<Report, Failure> {
    let header = records(file, |_, _| ControlFlow::Break(()))?;
    let is_log = |at: &TopicPartition| header.partitions.iter().any(|one| one.source.is_some() && place(one) == *at);
    records(file, |at, record| {
        if !is_log(&at) {
            take(&mut found, &at.to_string(), &record, &**trust);
        }
        ControlFlow::Continue(())
    })?;
    let mut audits = BTreeMap::new();
    for dumped in &header.partitions {
        let Some(source) = dumped.source.as_ref().filter(|source| args.chosen.has(source)) else { continue };
        let log = Decisions::of(source, place(dumped))?;
        audits.insert(place(dumped), (begin(log, trust, dumped.start, &found), dumped.end));
    }
    // A log that checkpoints speak of and the dump leaves out was cut to nothing.
    for checkpoint in &found.good {
        let Some(source) = source_of(checkpoint.sender.as_str()).filter(|source| args.chosen.has(source)) else {
            continue;
        };
        if !audits.contains_key(&checkpoint.facts) {
            let log = Decisions::of(&source, checkpoint.facts.clone())?;
            audits.insert(checkpoint.facts.clone(), (begin(log, trust, 0, &found), 0));
        }
    }
    records(file, |at, record| {
        if let Some((audit, _)) = audits.get_mut(&at) {
            audit.meet::<KernelFact>(&record);
        }
        ControlFlow::Continue(())
    })?;
    Ok(Report::new(audits.into_values().map(|(audit, end)| audit.report(end)).collect(), found.bad))
}

fn source_of(sender: &str) -> Option<tidegate_protocol::ids::SourceName> {
    let name = sender.strip_prefix("kernel.")?.rsplit_once('/')?.0;
    tidegate_protocol::ids::SourceName::new(name).ok()
}

fn place(dumped: &Dumped) -> TopicPartition {
    dumped.topic.partition(dumped.partition)
}

/// Hands over a dump's records and returns its header.
fn records(file: &Path, mut each: impl FnMut(TopicPartition, Record) -> ControlFlow<()>) -> Result<Header, Failure> {
    let name = file.display();
    let opened =
        File::open(file).map_err(|error| Failure::say(Exit::Data, format!("`{name}` cannot be read: {error}")))?;
    let mut lines = BufReader::new(opened);
    let (mut number, mut text, mut header) = (0_u64, String::new(), None);
    loop {
        text.clear();
        number += 1;
        let bad = |reason: &str| Failure::say(Exit::Data, format!("`{name}`, line {number}: {reason}"));
        let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let read = lines.by_ref().take(longest).read_line(&mut text).map_err(|error| bad(&error.to_string()))?;
        if read == LONGEST_LINE {
            return Err(bad("the line is longer than any record's"));
        }
        match (&header, read) {
            (Some(_), 0) => break,
            (None, _) => header = Some(Header::read(&text).map_err(|error| bad(&error.reason))?),
            (Some(_), _) => {
                let (at, record) = dump::read(&text).map_err(|error| bad(&error.reason))?;
                if each(at, record).is_break() {
                    break;
                }
            }
        }
    }
    header.ok_or_else(|| Failure::say(Exit::Data, format!("`{name}` is empty")))
}

fn show(report: &Report) {
    for partition in &report.partitions {
        show_partition(partition);
    }
    for bad in &report.bad_checkpoints {
        output::text_line(&format!("{}@{}: {}: {}", bad.at, bad.place, bad.wrong, bad.detail));
    }
    output::text_line(report.verdict.word());
}

fn show_partition(report: &PartitionReport) {
    let PartitionReport { source, log, verdict, counts, .. } = report;
    let from = match report.begin {
        Some(Begin::Checkpoint { offset }) => format!(" from the checkpoint at {offset}"),
        Some(Begin::Start) | None => String::new(),
    };
    let mut line = format!(
        "{source}/{}: {}{from}: {} records of {log}, {} groups with {} facts, {} owners, {} void groups, {} checkpoints agree",
        log.partition,
        verdict.word(),
        counts.records,
        counts.groups,
        counts.facts,
        counts.barriers,
        counts.void,
        counts.checkpoints
    );
    if let (Verdict::Verified, Some(head)) = (verdict, &report.head) {
        let hash: String = head.hash.chars().take(16).collect();
        line.push_str(&format!("; head {hash}… at {}", head.offset));
        line.push_str(&match report.last_checkpoint {
            Some(last) => format!(", last checkpoint at {last}"),
            None => ", no checkpoint: a cut tail would not be noticed".to_owned(),
        });
    }
    output::text_line(&line);
    if let Some(Damage { offset, wrong, detail }) = &report.damage {
        output::text_line(&format!(
            "  first bad record: source {source}, partition {}, offset {offset}: {wrong}: {detail}",
            log.partition
        ));
    }
    if let Some(doubt) = &report.doubt {
        output::text_line(&format!("  {doubt}"));
    }
    for void in &report.void_groups {
        let why = if void.why == "gap" { "behind a group that never landed" } else { "of a former owner" };
        output::text_line(&format!(
            "  void, as is right: offset {}: group {} of epoch {}, {why}",
            void.offset, void.sequence, void.epoch
        ));
    }
}
