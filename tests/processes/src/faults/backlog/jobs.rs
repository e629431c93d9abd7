//! The jobs of a run, straight to the raw topic, as fast as they land.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::broker::{Write, Writer};
use crate::faults::load::PARTITIONS;
use crate::ledger::judge::Expected;
use crate::ledger::position::{Position, SOURCE};

/// Most records that the client has and the broker does not.
const ON_THEIR_WAY: u64 = 20_000;
/// Tenants, none of which has so much that it crowds others out.
const TENANTS: u64 = 20;

/// Whose job it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the worker whose jobs do not end.
    Held,
    /// Of the other.
    Work,
}

pub(super) struct Jobs {
    writer: Writer,
    topic: String,
    kinds: Vec<Kind>,
    landed: HashMap<Position, Kind>,
}

impl Jobs {
    pub(super) fn new(writer: Writer, prefix: &str) -> Self {
        Self { writer, topic: format!("{prefix}{SOURCE}"), kinds: Vec::new(), landed: HashMap::new() }
    }

    /// Jobs sent so far; all have landed.
    pub(super) fn sent(&self) -> u64 {
        self.kinds.len() as u64
    }

    /// Sends so many and waits until they have landed.
    pub(super) fn send(&mut self, kind: Kind, jobs: u64) -> anyhow::Result<()> {
        for _ in 0..jobs {
            let number = self.sent();
            let write = Write { key: None, value: Some(value(number, kind)), headers: Vec::new() };
            self.writer.hand_over(number, &self.topic, u32::try_from(number % u64::from(PARTITIONS))?, &write)?;
            self.kinds.push(kind);
            while self.sent() - self.landed.len() as u64 > ON_THEIR_WAY {
                self.note_landed()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.writer.flush(Duration::from_secs(60))?;
        self.note_landed()?;
        anyhow::ensure!(self.landed.len() == self.kinds.len(), "{} sent, {} landed", self.sent(), self.landed.len());
        Ok(())
    }

    fn note_landed(&mut self) -> anyhow::Result<()> {
        let placed = self.writer.placed(&self.kinds)?;
        self.landed
            .extend(placed.into_iter().map(|((partition, offset), kind)| (Position { partition, offset }, kind)));
        Ok(())
    }

    /// What must become of each.
    pub(super) fn expected(&self) -> HashMap<Position, Expected> {
        self.landed.keys().map(|position| (*position, Expected::Succeeds)).collect()
    }

    /// Those that did not end until they were let go.
    pub(super) fn held(&self) -> BTreeSet<Position> {
        self.landed.iter().filter(|(_, kind)| **kind == Kind::Held).map(|(position, _)| *position).collect()
    }
}

fn value(number: u64, kind: Kind) -> Vec<u8> {
    let capability = match kind {
        Kind::Held => "hold",
        Kind::Work => "work",
    };
    format!(
        r#"{{"id":"j{number}","tenant":"t{}","topic":"job.work.do","capability":"{capability}","payload":{{"number":{number}}}}}"#,
        number % TENANTS
    )
    .into_bytes()
}
