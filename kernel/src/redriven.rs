//! Records that were redriven from `dead`: how often each was, so that none is judged twice for one death.
//!
//! An operator's command names the life that died; it counts once. The command itself is good for [`FRESH`] around the time
//! it names, and what was redriven is remembered for at least as long as any command about it could count, so a command that
//! somebody writes once more changes nothing. Durable: changed by facts alone (I7). Bounded (I10): when nothing may be
//! forgotten yet, nothing more is redriven.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::Offset;
use tidegate_protocol::command::Command;
use tidegate_protocol::kept::KeptBytes;
use tidegate_protocol::redrive::{RawRecord, Redriven};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};

/// How far a command's own time may be from this shard's.
const FRESH: Duration = Duration::from_hours(1);
/// Longer than that a command of before can count.
const REMEMBERED: Duration = Duration::from_hours(2);
/// Most records remembered.
const MOST: usize = 10_000;

/// Whether a command signed at that time (milliseconds since the Unix epoch) may count at `at`.
pub(crate) fn is_fresh(signed_ms: u64, at: Timestamp) -> bool {
    let off = at.millis().abs_diff(signed_ms);
    u128::from(off) <= FRESH.as_millis()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry(Offset, u32, Timestamp);

/// All that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Redrives {
    lives: BTreeMap<Offset, u32>,
    /// As they came; one that came again stands here more than once.
    order: VecDeque<Entry>,
}

impl Redrives {
    /// How often the record was redriven, as far as is remembered.
    pub(crate) fn life(&self, offset: Offset) -> u32 {
        self.lives.get(&offset).copied().unwrap_or_default()
    }

    /// Whether one more may be redriven.
    pub(crate) fn has_room(&self, at: Timestamp) -> bool {
        self.order.len() < MOST || self.order.front().is_some_and(|Entry(.., since)| at.since(*since) > REMEMBERED)
    }

    /// The record begins this life.
    pub(crate) fn remember(&mut self, offset: Offset, life: u32, at: Timestamp) {
        if self.order.len() >= MOST
            && let Some(Entry(oldest, its, _)) = self.order.pop_front()
            && self.life(oldest) == its
        {
            self.lives.remove(&oldest);
        }
        self.lives.insert(offset, life);
        self.order.push_back(Entry(offset, life, at));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Serialize for Redrives {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.order.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Redrives {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let order = VecDeque::<Entry>::deserialize(from)?;
        // A later life of a record stands behind the earlier one.
        let lives = order.iter().map(|Entry(offset, life, _)| (*offset, *life)).collect();
        Ok(Self { lives, order })
    }
}

/// The record that a command to redrive carries; `None` when it carries none.
pub(crate) fn opened(record: &Record) -> Option<Record> {
    let command: Command = serde_json::from_slice(record.value.as_deref()?).ok()?;
    Some(restored(command.redrive.as_deref()?, record))
}

/// The same from a command that was read. It is as old as the command that brings it.
pub(crate) fn restored(redriven: &Redriven, command: &Record) -> Record {
    let bytes = |kept: &KeptBytes| Bytes::copy_from_slice(kept.get());
    let (key, value, headers) = match redriven {
        Redriven::Record(RawRecord { value, key, headers }) => {
            let headers: Headers = headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
            (key.as_ref().map(bytes), bytes(value), headers)
        }
        Redriven::Work(text) => (None, Bytes::copy_from_slice(text.get().as_bytes()), Headers::new()),
    };
    let Record { offset, timestamp_ms, .. } = command;
    Record { offset: *offset, timestamp_ms: *timestamp_ms, key, value: Some(value), headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_forgotten_while_a_command_about_it_could_count() {
        let mut redrives = Redrives::default();
        let at = Timestamp(10_000_000_000_000);
        for offset in 0..MOST as u64 {
            assert!(redrives.has_room(at));
            redrives.remember(offset, 1, at);
        }
        assert!(!redrives.has_room(at + REMEMBERED));
        assert!(!is_fresh((at + FRESH).millis(), at + REMEMBERED + Duration::from_millis(1)));
        let later = at + REMEMBERED + Duration::from_millis(1);
        assert!(redrives.has_room(later));
        redrives.remember(1, 2, later);
        assert_eq!((redrives.life(0), redrives.life(1), redrives.life(2)), (0, 2, 1));
        redrives.remember(MOST as u64, 1, later);
        assert_eq!(redrives.life(1), 2, "the later life is remembered when the earlier one is forgotten");
        let text = serde_json::to_string(&redrives).unwrap();
        let again: Redrives = serde_json::from_str(&text).unwrap();
        assert_eq!((again.life(1), serde_json::to_string(&again).unwrap()), (2, text));
    }

    #[test]
    fn a_command_counts_for_an_hour_around_its_time() {
        let at = Timestamp(10_000_000_000_000);
        let ms = at.millis();
        assert!(is_fresh(ms - 3_600_000, at) && is_fresh(ms + 3_600_000, at));
        assert!(!is_fresh(ms - 3_600_001, at) && !is_fresh(ms + 3_600_001, at) && !is_fresh(0, at));
    }
}
