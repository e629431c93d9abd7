//! The instrument: it reads what each side wrote and marks the board. The same for both sides.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tidegate_protocol::address::{Offset, TopicName};
use tidegate_protocol::headers;
use tidegate_spine::{Headers, Record, Spine, SpineError, Start};
use tokio::task::JoinHandle;

use crate::board::{Board, Milestone};

/// Reads all `partitions` of `topic` from the start until aborted, as one consumer of it would: a client for each
/// partition costs a busy machine more than it measures, and one for several topics would let them wait for each other.
pub(crate) async fn watch(
    spine: &Arc<dyn Spine>,
    topic: &TopicName,
    partitions: u32,
    milestone: Milestone,
    board: Board,
) -> Result<JoinHandle<()>, SpineError> {
    let mut reader = spine.reader("bench").await?;
    let open: Vec<_> =
        (0..partitions).map(|partition| reader.open(&topic.partition(partition), Start::Earliest)).collect();
    Ok(tokio::spawn(poll_fn(move |cx| {
        let mut batch: Vec<Record> = Vec::new();
        loop {
            let mut progress = false;
            for handle in &open {
                match reader.poll_read(*handle, 1_000, cx, &mut batch) {
                    Poll::Pending => continue,
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(error)) => {
                        tracing::error!(%error, "an instrument cannot read on");
                        return Poll::Ready(());
                    }
                }
                board.seen(milestone, board.now_us(), batch.iter().filter_map(|record| source(&record.headers)));
                batch.clear();
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })))
}

/// Partition and offset of the raw record that a message is about.
pub(crate) fn source(of: &Headers) -> Option<(u32, Offset)> {
    let text = of.text(headers::SOURCE)?;
    let (before, offset) = text.rsplit_once('@')?;
    let (_, partition) = before.rsplit_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}
