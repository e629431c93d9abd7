//! The instruments: they read what each side wrote and mark the board. The same for both sides.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tidegate_protocol::address::{Offset, TopicName};
use tidegate_protocol::headers;
use tidegate_spine::{Record, Spine, SpineError, Start};
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
    let open: Vec<_> = (0..partitions)
        .map(|partition| (partition, reader.open(&topic.partition(partition), Start::Earliest)))
        .collect();
    Ok(tokio::spawn(poll_fn(move |cx| {
        let mut batch: Vec<Record> = Vec::new();
        loop {
            let mut progress = false;
            for (partition, handle) in &open {
                match reader.poll_read(*handle, 1_000, cx, &mut batch) {
                    Poll::Pending => continue,
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(error)) => {
                        tracing::error!(%error, "an instrument cannot read on");
                        return Poll::Ready(());
                    }
                }
                mark(&board, milestone, *partition, &batch);
                batch.clear();
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })))
}

fn mark(board: &Board, milestone: Milestone, partition: u32, batch: &[Record]) {
    let now = board.now_us();
    match milestone {
        Milestone::Decided => {
            let values = batch.iter().map(|record| record.value.as_deref().unwrap_or_default());
            board.seen(milestone, now, values.flat_map(decided).map(|offset| (partition, offset)));
        }
        Milestone::Released | Milestone::Finished => board.seen(milestone, now, batch.iter().filter_map(source)),
    }
}

/// The offsets settled by a group's facts: every `"in":[0,N]`. A scan, so that the instrument costs little.
pub(crate) fn decided(value: &[u8]) -> impl Iterator<Item = Offset> {
    const MARK: &[u8] = br#""in":[0,"#;
    let mut rest = value;
    std::iter::from_fn(move || {
        let at = rest.windows(MARK.len()).position(|w| w == MARK)?;
        let number = rest.get(at + MARK.len()..)?;
        let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
        rest = number.get(digits..)?;
        std::str::from_utf8(number.get(..digits)?).ok()?.parse().ok()
    })
}

fn source(record: &Record) -> Option<(u32, Offset)> {
    let text = record.headers.text(headers::SOURCE)?;
    let (before, offset) = text.rsplit_once('@')?;
    let (_, partition) = before.rsplit_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_found_in_a_group() {
        let group = br#"{"facts":[{"at":1,"in":[0,17],"fact":{}},{"at":1,"in":[0,5],"fact":{"x":"\"in\":[0,"}}]}"#;
        assert_eq!(super::decided(group).collect::<Vec<_>>(), [17, 5]);
    }
}
