//! The simulated broker: logs with gaps, what landed when, and what disturbs it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Cleanup, Ends, NewRecord, Record, TopicSpec};

use super::producing::Client;
use super::reading::Handle;
use crate::chance::Chance;
use crate::clock::broker_us;

/// A record in a log, with what only the judge may know.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Number of the landing over all logs.
    pub number: u64,
    /// Virtual time of the landing.
    pub at: u64,
}

/// Header by which the judge knows what was forged. Nobody else looks at it.
pub const FORGED: &str = "sim-forged";

impl Stored {
    /// Whether it was written by somebody who may not.
    #[must_use]
    pub fn is_forged(&self) -> bool {
        self.record.headers.get(FORGED).is_some()
    }
}

/// One partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// Everything that ever landed, trimmed and compacted records included.
    pub log: Vec<Stored>,
    pub(super) gone: BTreeSet<Offset>,
    pub(super) start: Offset,
    pub(super) next: Offset,
    pub(super) appends_stall_until: u64,
    pub(super) reads_stall_until: u64,
}

impl Partition {
    /// First and next offset.
    #[must_use]
    pub const fn ends(&self) -> Ends {
        Ends { start: self.start, end: self.next }
    }

    /// Index in `log` of the first record at or above `offset`.
    pub(super) fn index_of(&self, offset: Offset) -> usize {
        self.log.partition_point(|s| s.record.offset < offset)
    }
}

/// How rough a run's broker is.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Most microseconds an append takes on its way.
    pub append_us: u64,
    /// Most microseconds until a reader sees what landed.
    pub read_us: u64,
    /// Percent of records before which offsets skip.
    pub gaps: u32,
    /// Percent of appends of several records that land in two steps.
    pub split: u32,
}

/// The broker's state.
pub struct Broker {
    pub(super) topics: BTreeMap<TopicName, (TopicSpec, Vec<Partition>)>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) handles: BTreeMap<u64, Handle>,
    pub(super) manners: Manners,
    pub(super) down_until: u64,
    pub(super) next_id: u64,
    pub(super) landings: u64,
    pub(super) append_chance: Chance,
    pub(super) read_chance: Chance,
    pub(super) ask_chance: Chance,
    pub(super) loss_chance: Chance,
    /// The next append to these with another one right behind it is lost.
    pub(super) losing: BTreeSet<TopicPartition>,
    /// Everything that is written to these is written a second time, some time later; whether the second is forged.
    pub(super) storms: BTreeMap<TopicName, bool>,
    pub(super) storm_chance: Chance,
    /// Spine operations still to come until the process crashes.
    pub(super) crash_at: BTreeMap<crate::executor::Process, u64>,
    /// Most groups on their way at once of one producer, per facts partition.
    pub(super) most_in_flight: BTreeMap<TopicPartition, usize>,
}

impl Broker {
    pub(super) fn new(seed: u64, manners: Manners) -> Self {
        Self {
            topics: BTreeMap::new(),
            clients: BTreeMap::new(),
            handles: BTreeMap::new(),
            manners,
            down_until: 0,
            next_id: 1,
            landings: 0,
            append_chance: Chance::new(seed, "append"),
            read_chance: Chance::new(seed, "read"),
            ask_chance: Chance::new(seed, "ask"),
            loss_chance: Chance::new(seed, "loss"),
            losing: BTreeSet::new(),
            storms: BTreeMap::new(),
            storm_chance: Chance::new(seed, "storm"),
            crash_at: BTreeMap::new(),
            most_in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A partition, when it exists.
    #[must_use]
    pub fn partition(&self, of: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&of.topic)?.1.get(of.partition as usize)
    }

    pub(super) fn partition_mut(&mut self, of: &TopicPartition) -> Option<&mut Partition> {
        self.topics.get_mut(&of.topic)?.1.get_mut(of.partition as usize)
    }

    /// Everything that ever landed in a partition.
    #[must_use]
    pub fn log(&self, of: &TopicPartition) -> &[Stored] {
        self.partition(of).map_or(&[], |p| &p.log)
    }

    /// Records that landed so far, over all logs.
    #[must_use]
    pub const fn landings(&self) -> u64 {
        self.landings
    }

    /// Most appends of one producer that were on their way at once to this partition.
    #[must_use]
    pub fn most_in_flight(&self, of: &TopicPartition) -> usize {
        self.most_in_flight.get(of).copied().unwrap_or(0)
    }

    /// Creates a topic.
    pub fn create(&mut self, spec: TopicSpec) {
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        self.topics.insert(spec.name.clone(), (spec, partitions));
    }

    /// Puts a record at the end of a log; its offset.
    pub(super) fn store(&mut self, to: &TopicPartition, record: NewRecord, now: u64) -> Option<Offset> {
        let skip = if self.append_chance.percent(self.manners.gaps) { self.append_chance.within(1..4) } else { 0 };
        let skip_behind = u64::from(self.append_chance.percent(self.manners.gaps));
        let number = self.landings;
        self.landings += 1;
        let partition = self.partition_mut(to)?;
        let offset = partition.next + skip;
        partition.next = offset + 1 + skip_behind;
        let NewRecord { key, value, headers } = record;
        let timestamp_ms = i64::try_from(broker_us(now) / 1_000).unwrap_or(0);
        let record = Record { offset, timestamp_ms, key, value, headers };
        partition.log.push(Stored { record, number, at: now });
        Some(offset)
    }

    /// Removes what a newer record of the same key hides, and tombstones that are old.
    pub fn compact(&mut self, now: u64) {
        const TOMBSTONES_STAY: u64 = 20_000_000;
        for (spec, partitions) in self.topics.values_mut().filter(|(s, _)| s.cleanup == Cleanup::Keyed) {
            debug_assert!(spec.partitions > 0);
            for partition in partitions {
                let mut seen = BTreeSet::new();
                for stored in partition.log.iter().rev() {
                    let Some(key) = &stored.record.key else { continue };
                    let old_tombstone = stored.record.value.is_none() && stored.at + TOMBSTONES_STAY < now;
                    if !seen.insert(key.clone()) || old_tombstone {
                        partition.gone.insert(stored.record.offset);
                    }
                }
            }
        }
    }

    /// Lets records below `before` go, whole segments at a time when `part` says so.
    pub fn trim(&mut self, of: &TopicPartition, before: Offset) {
        let ragged = self.append_chance.percent(30);
        let share = self.append_chance.within(0..100);
        if let Some(partition) = self.partition_mut(of) {
            let before = before.min(partition.next);
            let by = before.saturating_sub(partition.start);
            partition.start += if ragged { by * share / 100 } else { by };
        }
    }
}
