//! `tidegate audit export`.

use std::future::poll_fn;
use std::io::Write;
use std::sync::Arc;
use std::task::Poll;

use tidegate_audit::report::{PartitionAudit, PartitionReport, Verdict};
use tidegate_audit::{Met, export};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::facts::KernelFact;
use tidegate_spine::{Ends, ReadHandle, Record, Start};

use super::log::{Found, checkpoint_partitions, decisions, ends, read, unreadable};
use super::{ExportArgs, trust};
use crate::args::Global;
use crate::commands::{config_of, on_spine, runtime, told_to_stop};
use crate::exit::{Exit, Failure};

/// Records asked for at once.
const BATCH: usize = 500;

/// A log being exported.
struct Exported {
    at: TopicPartition,
    audit: PartitionAudit,
    handle: ReadHandle,
    position: Offset,
    end: Offset,
}

/// Why it ends before its end.
enum Ended {
    /// Nobody reads on (`| head`).
    NobodyReads,
    /// A log that is not verified.
    Unverified(Box<PartitionReport>),
    Failed(Failure),
}

pub(super) fn run(global: &Global, args: &ExportArgs) -> Result<Exit, Failure> {
    let trust = trust(global, &args.ring)?;
    let config = on_spine(config_of(global)?, args.spine.spine.as_ref())?;
    runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        let logs = decisions(&config, &spine, &args.chosen).await?;
        let mut found = Found::default();
        let checkpoints = checkpoint_partitions(&config, &spine).await?;
        for (at, ends) in checkpoints.iter().zip(ends(&spine, &checkpoints).await?) {
            let name = at.to_string();
            read(&spine, at, ends, |record| {
                let written = u64::try_from(record.timestamp_ms).unwrap_or(0);
                let value = record.value.as_deref().unwrap_or_default();
                found.take(&name, record.offset, value, Some(written), &*trust);
                Ok(std::ops::ControlFlow::Continue(()))
            })
            .await?;
        }
        let places: Vec<TopicPartition> = logs.iter().map(|log| log.identity.facts.clone()).collect();
        let mut reader = spine.reader("audit export").await?;
        let mut all = Vec::new();
        for (log, Ends { start, end }) in logs.into_iter().zip(ends(&spine, &places).await?) {
            let at = log.identity.facts.clone();
            let anchors = found.anchors(&log.identity, start);
            let audit = PartitionAudit::new(log.source, log.identity, Arc::clone(&trust), start, anchors, true);
            let handle = reader.open(&at, if start == 0 { Start::Earliest } else { Start::At(start) });
            all.push(Exported { at, audit, handle, position: start, end });
        }
        let follow = args.follow;
        let mut batch = Vec::new();
        let exporting = poll_fn(|cx| {
            let mut moved = true;
            while moved {
                moved = false;
                for log in all.iter_mut().filter(|log| follow || log.position < log.end) {
                    match reader.poll_read(log.handle, BATCH, cx, &mut batch) {
                        Poll::Pending => continue,
                        Poll::Ready(Ok(read)) => log.position = read.position,
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Some(Ended::Failed(unreadable(error))));
                        }
                    }
                    moved = true;
                    let last = if follow { Offset::MAX } else { log.end };
                    if let Err(ended) = log.write(batch.drain(..).filter(|record| record.offset < last)) {
                        return Poll::Ready(Some(ended));
                    }
                }
            }
            if follow || all.iter().any(|log| log.position < log.end) { Poll::Pending } else { Poll::Ready(None) }
        });
        let ended = tokio::select! {
            ended = exporting => ended,
            () = told_to_stop() => Some(Ended::NobodyReads),
        };
        match ended {
            Some(Ended::Failed(failure)) => return Err(failure),
            Some(Ended::Unverified(report)) => return Err(unverified(&report)),
            Some(Ended::NobodyReads) => return Ok(Exit::Done),
            None => {}
        }
        let reports = all.iter().map(|log| log.audit.report(log.end));
        match reports.filter(|report| report.verdict != Verdict::Verified).max_by_key(|report| report.verdict) {
            Some(report) => Err(unverified(&report)),
            None => Ok(Exit::Done),
        }
    })
}

impl Exported {
    fn write(&mut self, records: impl Iterator<Item = Record>) -> Result<(), Ended> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for record in records {
            if let Some(Met::Group(group)) = self.audit.meet::<KernelFact>(&record) {
                for line in export::lines(&self.at, record.offset, &group) {
                    let text = serde_json::to_string(&line)
                        .map_err(|error| Ended::Failed(Failure::new(Exit::Software, error)))?;
                    writeln!(out, "{text}").map_err(|_| Ended::NobodyReads)?;
                }
            }
            if !self.audit.goes_on() {
                // What is verified is out before anything is said of the rest.
                let _ = out.flush();
                return Err(Ended::Unverified(Box::new(self.audit.report(record.offset))));
            }
        }
        out.flush().map_err(|_| Ended::NobodyReads)
    }
}

fn unverified(report: &PartitionReport) -> Failure {
    let exit = if report.verdict == Verdict::Tampered { Exit::Tampered } else { Exit::CannotSay };
    let damage = report.damage.as_ref().map(ToString::to_string);
    let why = damage.or_else(|| report.doubt.clone()).unwrap_or_default();
    Failure::say(exit, format!("{}: {why}; what was exported before that is verified", report.log))
}
