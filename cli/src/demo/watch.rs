//! Reads the topics as their consumers do, from the start, and tells the board.
//!
//! An independent witness: it shares no code with the gateway's view, and no memory with the stages. Control records
//! (`tg-kind`) are passed over; of a record told twice the first word stands. It does not check epochs, as nothing takes
//! over within one process that owns a new folder.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tidegate_node::Config;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::{FactRecord, Group, Kind};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::headers;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Finished;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{ReadError, ReadHandle, Reader, Record, Spine, Start};

use super::board::Board;

/// Records taken of one partition before the next has its turn.
const TURN: usize = 256;

/// What a partition holds.
#[derive(Debug, Clone, Copy)]
enum Holds {
    Decisions,
    Released,
    Held,
    Finished,
}

/// A reader of everything the board is about.
pub(crate) struct Witness {
    reader: Box<dyn Reader>,
    open: Vec<(ReadHandle, Holds)>,
}

impl Witness {
    /// Opens every partition.
    ///
    /// # Errors
    /// When a topic has no name or the spine gives no reader.
    pub(crate) async fn open(config: &Config, spine: &Arc<dyn Spine>) -> anyhow::Result<Self> {
        let mut reader = spine.reader("demo").await?;
        let mut open = Vec::new();
        for (partition, holds) in partitions(config)? {
            open.push((reader.open(&partition, Start::Earliest), holds));
        }
        Ok(Self { reader, open })
    }

    /// Tells the board until reading fails; dropped to stop.
    pub(crate) async fn tell(mut self, board: Arc<Board>) -> ReadError {
        let mut batch = Vec::with_capacity(TURN);
        loop {
            if let Err(error) = poll_fn(|cx| self.turn(&board, &mut batch, cx)).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    }

    fn turn(&mut self, board: &Board, batch: &mut Vec<Record>, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let mut moved = false;
        for (handle, holds) in &self.open {
            match self.reader.poll_read(*handle, TURN, cx, batch) {
                Poll::Pending => {}
                Poll::Ready(Ok(_)) => {
                    moved = true;
                    let now = Instant::now();
                    batch.drain(..).for_each(|record| take(board, now, *holds, &record));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

fn partitions(config: &Config) -> anyhow::Result<Vec<(TopicPartition, Holds)>> {
    let mut all = Vec::new();
    let mut add = |topic: Topic, partitions: u32, holds| -> anyhow::Result<()> {
        let name = topic.name(&config.prefix)?;
        all.extend((0..partitions).map(|partition| (name.partition(partition), holds)));
        Ok(())
    };
    for source in &config.sources {
        add(Topic::Decisions(source.name().clone()), config.topics.partitions_of(source.name()), Holds::Decisions)?;
    }
    for pool in &config.pools {
        add(Topic::Approved(pool.name().clone()), pool.route.buckets, Holds::Released)?;
    }
    let shared = config.topics.shared_partitions;
    add(Topic::Held, shared, Holds::Held)?;
    add(Topic::Denied, shared, Holds::Released)?;
    add(Topic::Dead, shared, Holds::Released)?;
    add(Topic::Finished, shared, Holds::Finished)?;
    Ok(all)
}

fn take(board: &Board, now: Instant, holds: Holds, record: &Record) {
    let kind = record.headers.text(headers::KIND);
    let value = record.value.as_deref().unwrap_or_default();
    match holds {
        Holds::Decisions if kind == Some(Kind::Group.word()) => {
            match serde_json::from_slice::<Group<FactRecord<KernelFact>>>(value) {
                Ok(group) => group.facts.into_iter().for_each(|fact| board.decided(now, fact.fact)),
                Err(error) => tracing::error!(%error, "a group of facts cannot be read"),
            }
        }
        // A record of `held` without a value says that nobody is asked any more.
        Holds::Released | Holds::Held
            if kind.is_none() && (matches!(holds, Holds::Released) || record.value.is_some()) =>
        {
            let source = record.headers.text(headers::SOURCE).and_then(|text| text.parse::<SourcePosition>().ok());
            if let Some(source) = source {
                board.released(now, &source);
            }
        }
        Holds::Finished if kind.is_none() => match serde_json::from_slice::<Finished>(value) {
            Ok(finished) => board.finished(now, finished),
            Err(error) => tracing::error!(%error, "a record of `finished` cannot be read"),
        },
        Holds::Decisions | Holds::Released | Holds::Held | Holds::Finished => {}
    }
}
