//! A data folder, topics, appends and reads, for the tests of durability and cleanup.

use std::future::poll_fn;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::executor::block_on;
use tidegate_embedded::{Durability, EmbeddedOptions, EmbeddedSpine};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::{Cleanup, NewRecord, ProducerOptions, Record, Spine, Start, TopicSpec};

/// Segments of 4 KiB, hardly any memory: files are what is tested.
pub(crate) fn options(folder: &Path, durability: Durability) -> EmbeddedOptions {
    EmbeddedOptions { durability, segment_bytes: 4 << 10, memory_bytes: 1, ..EmbeddedOptions::new(folder) }
}

pub(crate) fn open(folder: &Path) -> EmbeddedSpine {
    EmbeddedSpine::open(options(folder, Durability::Os)).unwrap()
}

pub(crate) fn topic(spine: &EmbeddedSpine, name: &str, partitions: u32, cleanup: Cleanup) -> TopicName {
    let name = TopicName::new(name).unwrap();
    let max_record_bytes = 100_000;
    let spec =
        TopicSpec { name: name.clone(), partitions, cleanup, max_record_bytes, broker_time: true, replication: None };
    block_on(spine.create(&spec)).unwrap();
    name
}

pub(crate) fn record(key: Option<&str>, value: Option<&str>) -> NewRecord {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    NewRecord { key: key.map(bytes), value: value.map(bytes), ..NewRecord::default() }
}

/// Appends each record once the one before it landed, so that none shares a write (and thus a segment) by chance.
pub(crate) fn append(spine: &EmbeddedSpine, to: &TopicPartition, records: impl IntoIterator<Item = NewRecord>) {
    block_on(async {
        let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
        for record in records {
            producer.append(to, vec![record]).await.unwrap();
        }
    });
}

/// Everything from the log's start to its end.
pub(crate) fn read(spine: &EmbeddedSpine, from: &TopicPartition) -> Vec<Record> {
    block_on(async {
        let ends = spine.ends(std::slice::from_ref(from)).await.unwrap()[0];
        let mut reader = spine.reader("test").await.unwrap();
        let handle = reader.open(from, Start::Earliest);
        let (mut records, mut position) = (Vec::new(), ends.start);
        while position < ends.end {
            position = poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap().position;
        }
        records
    })
}

pub(crate) fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap()).collect()
}

/// What a `kill -9` at this moment would leave.
pub(crate) fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), target) {
            // The keeper may rename an index that is just being written.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// The files of that kind in the first topic's first partition, in order.
pub(crate) fn files(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("logs/1/0")).unwrap();
    let mut files: Vec<_> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == kind)).collect();
    files.sort();
    files
}
