//! What the promises are told with: topics, appends, reads, each wait bounded.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

use super::{Fixture, bounded};
use crate::{
    AppendError, Cleanup, Ends, Headers, Landed, Landing, NewRecord, Producer, ProducerOptions, ReadError, ReadHandle,
    Reader, Record, Spine, Start, TopicSpec,
};

/// The largest record of the topics made here: what Kafka takes by default, so no client setting is needed.
pub(super) const MAX_RECORD: usize = 1_000_000;

/// A spine, the names its promise may use, and how long to wait for anything.
pub(super) struct Steps {
    pub(super) spine: Arc<dyn Spine>,
    prefix: String,
    deadline: Duration,
}

impl Steps {
    pub(super) fn of(fixture: &dyn Fixture) -> Self {
        Self { spine: fixture.spine(), prefix: fixture.prefix().to_owned(), deadline: fixture.deadline() }
    }

    /// `future`'s output within the deadline, else a failure that names what was waited for.
    pub(super) async fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        bounded::within(self.deadline, future)
            .await
            .unwrap_or_else(|| panic!("waited {:?} in vain for {what}", self.deadline))
    }

    pub(super) async fn done<T, E: Debug>(&self, what: &str, future: impl Future<Output = Result<T, E>>) -> T {
        self.wait(what, future).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    pub(super) async fn refused<T: Debug, E>(&self, what: &str, future: impl Future<Output = Result<T, E>>) -> E {
        match self.wait(what, future).await {
            Ok(value) => panic!("{what} was not refused: {value:?}"),
            Err(error) => error,
        }
    }

    pub(super) fn name(&self, name: &str) -> TopicName {
        TopicName::new(format!("{}{name}", self.prefix)).expect("a legal prefix")
    }

    pub(super) fn group(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn spec(&self, name: &str, partitions: u32) -> TopicSpec {
        TopicSpec {
            name: self.name(name),
            partitions,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: MAX_RECORD,
            broker_time: true,
            replication: None,
        }
    }

    pub(super) async fn log(&self, name: &str, partitions: u32) -> TopicName {
        let spec = self.spec(name, partitions);
        self.done("create a log", self.spine.create(&spec)).await;
        spec.name
    }

    pub(super) async fn keyed(&self, name: &str, partitions: u32) -> TopicName {
        let spec = TopicSpec { cleanup: Cleanup::Keyed, ..self.spec(name, partitions) };
        self.done("create a keyed topic", self.spine.create(&spec)).await;
        spec.name
    }

    pub(super) async fn producer(&self) -> Box<dyn Producer> {
        self.producer_with(ProducerOptions { name: "conformance".into(), ..ProducerOptions::default() }).await
    }

    pub(super) async fn producer_with(&self, options: ProducerOptions) -> Box<dyn Producer> {
        self.done("a producer", self.spine.producer(options)).await
    }

    pub(super) async fn reader(&self) -> Box<dyn Reader> {
        self.done("a reader", self.spine.reader("conformance")).await
    }

    pub(super) async fn landed(&self, landing: Landing) -> Landed {
        self.done("an append to land", landing).await
    }

    pub(super) async fn not_landed(&self, landing: Landing) -> AppendError {
        self.refused("an append", landing).await
    }

    /// Appends one record for each of `numbers` and waits for them all.
    pub(super) async fn append_numbers(
        &self,
        producer: &mut dyn Producer,
        to: &TopicPartition,
        numbers: std::ops::Range<u64>,
    ) -> Landed {
        self.landed(producer.append(to, numbers.map(number).collect())).await
    }

    /// Exactly the next `n` records.
    pub(super) async fn read(&self, reader: &mut dyn Reader, handle: ReadHandle, n: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < n {
            let missing = n - records.len();
            let read = poll_fn(|cx| reader.poll_read(handle, missing, cx, &mut records));
            self.done("the next records", read).await;
            assert!(records.len() <= n, "more records than asked for");
        }
        records
    }

    /// All records of a partition up to its present end.
    pub(super) async fn read_all(&self, from: &TopicPartition) -> Vec<Record> {
        let end = self.ends(from).await.end;
        let mut reader = self.reader().await;
        let handle = reader.open(from, Start::Earliest);
        let mut records = Vec::new();
        let mut position = 0;
        while position < end {
            let read = poll_fn(|cx| reader.poll_read(handle, 500, cx, &mut records));
            position = self.done("the records of the log", read).await.position;
        }
        records
    }

    pub(super) async fn read_error(&self, reader: &mut dyn Reader, handle: ReadHandle) -> ReadError {
        let mut records = Vec::new();
        let error = self.refused("a read", poll_fn(|cx| reader.poll_read(handle, 10, cx, &mut records))).await;
        assert!(records.is_empty(), "an error came together with records: {records:?}");
        error
    }

    pub(super) async fn ends(&self, of: &TopicPartition) -> Ends {
        self.done("the ends of a partition", self.spine.ends(std::slice::from_ref(of))).await[0]
    }
}

/// Whether `handle` has nothing to give right now.
pub(super) async fn gives_nothing(reader: &mut dyn Reader, handle: ReadHandle) -> bool {
    let mut records = Vec::new();
    poll_fn(|cx| {
        let answer = reader.poll_read(handle, 10, cx, &mut records);
        Poll::Ready(answer.is_pending())
    })
    .await
        && records.is_empty()
}

/// A record whose value is the number in decimal.
pub(super) fn number(n: u64) -> NewRecord {
    NewRecord { value: Some(Bytes::from(n.to_string())), ..NewRecord::default() }
}

pub(super) fn keyed_record(key: &str, value: Option<&str>) -> NewRecord {
    NewRecord {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        headers: Headers::new(),
    }
}

/// The numbers in the records' values.
pub(super) fn numbers(records: &[Record]) -> Vec<u64> {
    records
        .iter()
        .map(|r| {
            let text = r.value.as_ref().and_then(|v| std::str::from_utf8(v).ok()).expect("a value of digits");
            text.parse().expect("a number")
        })
        .collect()
}

pub(super) fn offsets(records: &[Record]) -> Vec<Offset> {
    records.iter().map(|r| r.offset).collect()
}

pub(super) fn rising(offsets: &[Offset]) -> bool {
    offsets.is_sorted_by(|a, b| a < b)
}
