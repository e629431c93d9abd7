//! Where `decided` is marked: at the acknowledgement of the group, by whoever appended it.
//!
//! That is what "durable in `decisions.*`" means, it is the same on both sides, and nobody need read the facts log while
//! it is written: a consumer of it would cost the machine a fetch, its answer and three woken threads a job, which no
//! bare client with an acknowledged fact pays.
//!
//! Likewise where `approved` is readable, for jobs: whoever would read it too, to see that, would slow who is to read it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Landing, Layer, NewRecord, Producer, ProducerOptions, Spine, SpineError};

use crate::board::{Board, Milestone};
use crate::readers::source;

/// The spine that the kernels of a run get.
pub(crate) struct Noting {
    pub(crate) spine: Arc<dyn Spine>,
    pub(crate) decisions: TopicName,
    /// For jobs.
    pub(crate) approved: Option<TopicName>,
    pub(crate) board: Board,
}

struct NotingProducer {
    producer: Box<dyn Producer>,
    decisions: TopicName,
    approved: Option<TopicName>,
    board: Board,
}

impl Producer for NotingProducer {
    fn append(&mut self, to: &TopicPartition, records: Vec<NewRecord>) -> Landing {
        if self.approved.as_ref() == Some(&to.topic) {
            let verdicts: Vec<_> = records.iter().filter_map(|record| source(&record.headers)).collect();
            let board = self.board.clone();
            let note = move |landed: &Result<_, _>| {
                if landed.is_ok() {
                    board.readable(board.now_us(), verdicts);
                }
            };
            return self.producer.append(to, records).inspect(note).boxed();
        }
        if to.topic != self.decisions {
            return self.producer.append(to, records);
        }
        let values = records.iter().map(|record| record.value.as_deref().unwrap_or_default());
        let offsets: Vec<Offset> = values.flat_map(decided).collect();
        let (board, partition) = (self.board.clone(), to.partition);
        self.producer
            .append(to, records)
            .inspect(move |landed| {
                if landed.is_ok() {
                    let decided = offsets.iter().map(|offset| (partition, *offset));
                    board.seen(Milestone::Decided, board.now_us(), decided);
                }
            })
            .boxed()
    }
}

/// The offsets settled by a group's facts: every `"in":[0,N]`. A scan, so that it costs little.
fn decided(value: &[u8]) -> impl Iterator<Item = Offset> {
    const MARK: &[u8] = br#""in":[0,"#;
    memchr::memmem::find_iter(value, MARK).filter_map(|at| {
        let number = value.get(at + MARK.len()..)?;
        let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
        std::str::from_utf8(number.get(..digits)?).ok()?.parse().ok()
    })
}

impl Layer for Noting {
    fn behind(&self) -> &dyn Spine {
        &*self.spine
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        async move {
            let producer = self.spine.producer(options).await?;
            let (decisions, approved) = (self.decisions.clone(), self.approved.clone());
            Ok(Box::new(NotingProducer { producer, decisions, approved, board: self.board.clone() })
                as Box<dyn Producer>)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_found_in_a_group() {
        let group = br#"{"facts":[{"at":1,"in":[0,17],"fact":{}},{"at":1,"in":[0,5],"fact":{"x":"\"in\":[0,"}}]}"#;
        assert_eq!(super::decided(group).collect::<Vec<_>>(), [17, 5]);
    }
}
