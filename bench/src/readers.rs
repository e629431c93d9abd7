//! The instruments: they read what each side wrote and mark the board. The same for both sides.

use std::future::poll_fn;
use std::sync::Arc;

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::headers;
use tidegate_spine::{Record, Spine, SpineError, Start};
use tokio::task::JoinHandle;

use crate::board::{Board, Milestone};

/// Reads `partitions` of `topic` from the start until aborted.
pub(crate) async fn watch(
    spine: Arc<dyn Spine>,
    topic: TopicName,
    partitions: u32,
    milestone: Milestone,
    board: Board,
) -> Result<Vec<JoinHandle<()>>, SpineError> {
    let mut tasks = Vec::new();
    for partition in 0..partitions {
        let mut reader = spine.reader("bench").await?;
        let from: TopicPartition = topic.partition(partition);
        let board = board.clone();
        tasks.push(tokio::spawn(async move {
            let handle = reader.open(&from, Start::Earliest);
            let mut batch: Vec<Record> = Vec::new();
            loop {
                if let Err(error) = poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut batch)).await {
                    tracing::error!(%error, "an instrument cannot read on");
                    return;
                }
                let now = board.now_us();
                for record in batch.drain(..) {
                    match milestone {
                        Milestone::Decided => {
                            let value = record.value.as_deref().unwrap_or_default();
                            board.seen(milestone, now, decided(value).map(|offset| (from.partition, offset)));
                        }
                        Milestone::Released | Milestone::Finished => board.seen(milestone, now, source(&record)),
                    }
                }
            }
        }));
    }
    Ok(tasks)
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
