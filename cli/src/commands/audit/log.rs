//! Logs of decisions on a spine, and reading them.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tidegate_audit::report::BadCheckpoint;
use tidegate_audit::{Anchors, LogIdentity};
use tidegate_node::Config;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_protocol::ids::{SenderId, SourceName};
use tidegate_protocol::signature::Trust;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Ends, ReadError, Record, Spine, Start};

use super::Chosen;
use crate::exit::{Exit, Failure};

/// Records asked for at once.
const BATCH: usize = 500;

/// A log of decisions.
#[derive(Debug, Clone)]
pub(super) struct Decisions {
    pub(super) source: SourceName,
    pub(super) identity: LogIdentity,
}

impl Decisions {
    pub(super) fn of(source: &SourceName, facts: TopicPartition) -> Result<Self, Failure> {
        let sender = SenderId::new(format!("kernel.{source}/{}", facts.partition))
            .map_err(|error| Failure::new(Exit::Data, error))?;
        Ok(Self { source: source.clone(), identity: LogIdentity { sender, facts } })
    }
}

/// The logs of the chosen sources, in order.
pub(super) async fn decisions(
    config: &Config,
    spine: &Arc<dyn Spine>,
    chosen: &Chosen,
) -> Result<Vec<Decisions>, Failure> {
    let known: Vec<&SourceName> = config.sources.iter().map(|source| source.name()).collect();
    if let Some(unknown) = chosen.sources.iter().find(|name| !known.iter().any(|known| known.as_str() == **name)) {
        return Err(Failure::say(Exit::Config, format!("the configuration has no source `{unknown}`")));
    }
    let mut all = Vec::new();
    for source in known.into_iter().filter(|name| chosen.has(name)) {
        let name = |error| Failure::new(Exit::Config, error);
        let topic = Topic::Decisions(source.clone()).name(&config.prefix).map_err(name)?;
        let partitions = partitions(spine, &topic).await?.ok_or_else(|| {
            Failure::say(
                Exit::Config,
                format!("topic `{topic}` does not exist on `{}`; are spine and prefix right?", spine.url()),
            )
        })?;
        for partition in 0..partitions {
            all.push(Decisions::of(source, topic.partition(partition))?);
        }
    }
    Ok(all)
}

impl Chosen {
    pub(super) fn has(&self, source: &SourceName) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|name| name == source.as_str())
    }
}

async fn partitions(spine: &Arc<dyn Spine>, topic: &TopicName) -> Result<Option<u32>, Failure> {
    let state = spine.describe(std::slice::from_ref(topic)).await?;
    Ok(state.into_iter().next().flatten().map(|state| state.partitions))
}

/// The partitions of checkpoints; none where the topic was never made.
pub(super) async fn checkpoint_partitions(
    config: &Config,
    spine: &Arc<dyn Spine>,
) -> Result<Vec<TopicPartition>, Failure> {
    let topic = Topic::AuditCheckpoints.name(&config.prefix).map_err(|error| Failure::new(Exit::Config, error))?;
    let count = partitions(spine, &topic).await?.unwrap_or(0);
    Ok((0..count).map(|partition| topic.partition(partition)).collect())
}

pub(super) async fn ends(spine: &Arc<dyn Spine>, of: &[TopicPartition]) -> Result<Vec<Ends>, Failure> {
    if of.is_empty() { Ok(Vec::new()) } else { Ok(spine.ends(of).await?) }
}

/// Hands over the records of a partition from its start up to `end`, for as long as they are wanted.
pub(super) async fn read(
    spine: &Arc<dyn Spine>,
    at: &TopicPartition,
    Ends { start, end }: Ends,
    mut each: impl FnMut(&Record) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    if start >= end {
        return Ok(());
    }
    let mut reader = spine.reader("audit").await?;
    let handle = reader.open(at, if start == 0 { Start::Earliest } else { Start::At(start) });
    let (mut position, mut batch) = (start, Vec::new());
    while position < end {
        let read = poll_fn(|cx| reader.poll_read(handle, BATCH, cx, &mut batch)).await;
        position = read.map_err(unreadable)?.position;
        for record in batch.drain(..).filter(|record| record.offset < end) {
            if each(&record)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A log that the spine cannot give: storage that is damaged leaves nothing to be said.
pub(super) fn unreadable(error: ReadError) -> Failure {
    let exit = match &error {
        ReadError::Fatal { .. } => Exit::CannotSay,
        ReadError::Truncated { .. } | ReadError::UnknownTopic { .. } | ReadError::Refused { .. } => Exit::Unavailable,
    };
    Failure::new(exit, error)
}

/// Checkpoints as they are found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) good: Vec<Checkpoint>,
    pub(super) bad: Vec<BadCheckpoint>,
}

/// Checkpoints that are held at once while reading; they are thinned out per log afterwards.
const HELD: usize = 1_000_000;
/// Bad ones that are told.
const TOLD: usize = 100;

impl Found {
    pub(super) fn take(&mut self, at: &str, place: u64, value: &[u8], at_ms: Option<u64>, trust: &dyn Trust) {
        match Anchors::read(value, at_ms, trust) {
            Ok(checkpoint) => {
                self.good.push(checkpoint);
                if self.good.len() > HELD {
                    let mut number = 0;
                    self.good.retain(|_| {
                        number += 1;
                        number % 2 == 0
                    });
                }
            }
            Err(refusal) if self.bad.len() < TOLD => {
                let (wrong, detail) = (refusal.wrong.word(), refusal.detail);
                self.bad.push(BadCheckpoint { at: at.to_owned(), place, wrong, detail });
            }
            Err(_) => {}
        }
    }

    /// Those of a file, a line each.
    pub(super) fn take_file(&mut self, file: &Path, trust: &dyn Trust) -> Result<(), Failure> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::say(Exit::Data, format!("`{name}` cannot be read: {error}")))?;
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            self.take(&name, line, text.as_bytes(), None, trust);
        }
        Ok(())
    }

    /// Those of a log that starts there.
    pub(super) fn anchors(&self, log: &LogIdentity, start: Offset) -> Anchors {
        let mut anchors = Anchors::default();
        for checkpoint in &self.good {
            anchors.add(log, start, checkpoint.clone());
        }
        anchors
    }
}
