//! More jobs than the limits let run, for as long as the run lasts: as one ends, another of its kind is sent.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Limit;
use crate::broker::{Write, Writer};
use crate::faults::load::PARTITIONS;
use crate::ledger::judge::Expected;
use crate::ledger::position::{Position, SOURCE};

/// What limits a job is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The tenant's.
    Tenant,
    /// The capability's, of whichever tenant.
    Capability,
    /// Both.
    Both,
    /// None.
    Free,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Tenant, Self::Capability, Self::Both, Self::Free];

    /// How many of it have not ended: several times what may run, in whichever shard.
    const fn outstanding(self) -> u64 {
        match self {
            Self::Tenant | Self::Capability => 60,
            Self::Both => 30,
            Self::Free => 4,
        }
    }

    /// Whether this limits it.
    pub(super) const fn is_under(self, limit: Limit) -> bool {
        matches!((self, limit), (Self::Both, _) | (Self::Tenant, Limit::Tenant) | (Self::Capability, Limit::Capability))
    }

    fn value(self, number: u64) -> Vec<u8> {
        let tenant = match self {
            Self::Tenant | Self::Both => super::TENANT.to_owned(),
            Self::Capability | Self::Free => format!("t{}", number % 5),
        };
        let capability = match self {
            Self::Capability | Self::Both => super::CAPABILITY,
            Self::Tenant | Self::Free => "work",
        };
        format!(
            r#"{{"id":"j{number}","tenant":"{tenant}","topic":"job.work.do","capability":"{capability}","payload":{{"number":{number}}}}}"#
        )
        .into_bytes()
    }
}

pub(super) struct Jobs {
    writer: Writer,
    topic: String,
    kinds: Vec<Kind>,
    landed: HashMap<Position, Kind>,
    /// Sent and not ended.
    open: BTreeMap<Kind, u64>,
    /// Ended before it was known that they had landed.
    early: Vec<Position>,
}

impl Jobs {
    pub(super) fn new(writer: Writer, prefix: &str) -> Self {
        let topic = format!("{prefix}{SOURCE}");
        Self { writer, topic, kinds: Vec::new(), landed: HashMap::new(), open: BTreeMap::new(), early: Vec::new() }
    }

    /// Jobs sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.kinds.len() as u64
    }

    /// The kind of a job that has landed.
    pub(super) fn kind(&self, of: Position) -> Option<Kind> {
        self.landed.get(&of).copied()
    }

    /// These have ended; as many are sent.
    pub(super) fn renew(&mut self, mut ended: Vec<Position>) -> anyhow::Result<()> {
        self.note_landed()?;
        ended.append(&mut self.early);
        for position in ended {
            match self.kind(position) {
                Some(kind) => *self.open.entry(kind).or_default() -= 1,
                None => self.early.push(position),
            }
        }
        for kind in Kind::ALL {
            for _ in self.open.get(&kind).copied().unwrap_or(0)..kind.outstanding() {
                self.send(kind)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, kind: Kind) -> anyhow::Result<()> {
        let number = self.sent();
        // Scattered, so that no kind always meets the same partition.
        let partition = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % u64::from(PARTITIONS);
        let write = Write { key: None, value: Some(kind.value(number)), headers: Vec::new() };
        self.writer.hand_over(number, &self.topic, u32::try_from(partition)?, &write)?;
        self.kinds.push(kind);
        *self.open.entry(kind).or_default() += 1;
        Ok(())
    }

    fn note_landed(&mut self) -> anyhow::Result<()> {
        let placed = self.writer.placed(&self.kinds)?;
        self.landed
            .extend(placed.into_iter().map(|((partition, offset), kind)| (Position { partition, offset }, kind)));
        Ok(())
    }

    /// Waits until all have landed.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.writer.flush(Duration::from_secs(60))?;
        self.note_landed()?;
        anyhow::ensure!(self.landed.len() == self.kinds.len(), "{} sent, {} landed", self.sent(), self.landed.len());
        Ok(())
    }

    /// What must become of each.
    pub(super) fn expected(&self) -> HashMap<Position, Expected> {
        self.landed.keys().map(|position| (*position, Expected::Succeeds)).collect()
    }
}
