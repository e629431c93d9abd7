//! Checkpoints of the audit log, in a file elsewhere: what is on another disk, or a mount that only appends, is out of the
//! reach of whoever holds the broker.
//!
//! A thread of its own appends and syncs, so that no shard waits for a disk. It is fed through a bounded queue; when the disk
//! is slower than that, checkpoints are left out and counted: later ones say more.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use bytes::Bytes;

use crate::metrics;

/// Checkpoints that wait for the disk.
const WAITING: usize = 1_024;

/// Appends checkpoints to a file; cheap to clone. The file is closed, and what waits is written, when the last is dropped.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointFile(SyncSender<Bytes>);

impl CheckpointFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be appended to.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let (to, from) = sync_channel(WAITING);
        let name = path.display().to_string();
        std::thread::Builder::new().name("checkpoints".into()).spawn(move || append_all(file, &name, &from))?;
        Ok(Self(to))
    }

    /// Adds a line.
    pub(crate) fn append(&self, checkpoint: &Bytes) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.0.try_send(checkpoint.clone()) {
            metrics::checkpoints_left_out(1);
        }
    }
}

fn append_all(mut file: File, name: &str, from: &Receiver<Bytes>) {
    while let Ok(first) = from.recv() {
        let mut lines = Vec::new();
        let mut count = 0;
        for checkpoint in std::iter::once(first).chain(from.try_iter()) {
            lines.extend_from_slice(&checkpoint);
            lines.push(b'\n');
            count += 1;
        }
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            metrics::checkpoints_left_out(count);
            tracing::error!(file = name, %error, "checkpoints of the audit log cannot be written; those on the spine go on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_appended_line_by_line_and_none_is_lost_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.jsonl");
        for round in 0..2 {
            let file = CheckpointFile::open(&path).unwrap();
            for number in 0..100 {
                file.append(&Bytes::from(format!("{{\"n\":{}}}", round * 100 + number)));
            }
            let before = std::time::Instant::now();
            drop(file);
            let whole = (round + 1) * 100;
            while std::fs::read_to_string(&path).unwrap().lines().count() < whole {
                assert!(before.elapsed().as_secs() < 30, "not written");
                std::thread::yield_now();
            }
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<String> = (0..200).map(|number| format!("{{\"n\":{number}}}")).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
