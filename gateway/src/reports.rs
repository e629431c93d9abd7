//! Reads `reports.<pool>` for those who show what workers say: [`crate::fleet`] and [`crate::progress`], each from its own place and for
//! as long as somebody asks it. What is read is open to all writers and not signed.

use std::future::poll_fn;
use std::task::Poll;

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_spine::{ReadError, ReadHandle, Reader, Record, Spine, SpineError, Start};

/// Records taken of one partition before the next has its turn.
const TURN: usize = 512;

/// Partitions that are read together.
pub(crate) struct Reading {
    reader: Box<dyn Reader>,
    parts: Vec<Part>,
    batch: Vec<Record>,
}

struct Part {
    partition: TopicPartition,
    handle: ReadHandle,
    position: Offset,
}

impl Reading {
    /// Begins to read each partition at its place. `name` is this reader's for logs of the client.
    pub(crate) async fn begin(
        spine: &dyn Spine,
        name: &str,
        places: impl IntoIterator<Item = (TopicPartition, Offset)>,
    ) -> Result<Self, SpineError> {
        let mut reader = spine.reader(name).await?;
        let open = |(partition, position)| {
            let handle = reader.open(&partition, Start::At(position));
            Part { partition, handle, position }
        };
        let parts = places.into_iter().map(open).collect();
        Ok(Self { reader, parts, batch: Vec::with_capacity(TURN) })
    }

    /// A turn for every partition that has something, as soon as one has; `take` is given its number among those that were begun with.
    /// Nothing is lost when this is dropped while it waits.
    pub(crate) async fn turn(&mut self, mut take: impl FnMut(usize, &Record)) -> Result<(), ReadError> {
        let Self { reader, parts, batch } = self;
        poll_fn(|cx| {
            let mut moved = false;
            for (number, part) in parts.iter_mut().enumerate() {
                match reader.poll_read(part.handle, TURN, cx, batch) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(progress)) => {
                        moved = true;
                        batch.drain(..).for_each(|record| take(number, &record));
                        part.position = progress.position;
                    }
                    Poll::Ready(Err(error)) => {
                        batch.clear();
                        return Poll::Ready(Err(error));
                    }
                }
            }
            if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// How far each is read.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.parts.iter().map(|part| (&part.partition, part.position))
    }
}
