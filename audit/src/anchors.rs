//! Checkpoints of a log, to hold it against.

use std::collections::VecDeque;

use tidegate_protocol::address::Offset;
use tidegate_protocol::checkpoint::{BadCheckpoint, Checkpoint};
use tidegate_protocol::signature::Trust;

use crate::damage::Wrong;
use crate::verifier::{LogIdentity, term_of};

/// Checkpoints kept of a log; of more, every other one goes, but for the first and the last.
const KEPT: usize = 4_096;

/// A checkpoint that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of damage that is.
    pub wrong: Wrong,
    /// Why, in words.
    pub detail: String,
}

/// The checkpoints of one log, in order of offset. Bounded.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    all: VecDeque<Checkpoint>,
}

impl Anchors {
    /// Reads a checkpoint; see [`Checkpoint::read`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn read(value: &[u8], at_ms: Option<u64>, trust: &dyn Trust) -> Result<Checkpoint, Refusal> {
        Checkpoint::read(value, at_ms, trust).map_err(|bad| {
            let detail = format!("a checkpoint is not believed: {bad}");
            let wrong = match bad {
                BadCheckpoint::Unreadable { .. } => Wrong::Unsigned,
                BadCheckpoint::Distrusted(why) => why.into(),
            };
            Refusal { wrong, detail }
        })
    }

    /// Takes one in. One of another log, or of a place before `start`, is left out: true when it was taken.
    pub fn add(&mut self, log: &LogIdentity, start: Offset, checkpoint: Checkpoint) -> bool {
        if checkpoint.sender != log.sender
            || checkpoint.facts != log.facts
            || checkpoint.offset.saturating_add(1) < start
        {
            return false;
        }
        let place = self.all.partition_point(|known| known.offset < checkpoint.offset);
        // The same again (an owner that starts anew, a file beside the topic) says nothing new; another one must be checked.
        if self.all.iter().skip(place).take_while(|known| known.offset == checkpoint.offset).any(|known| {
            (known.epoch, known.sequence, &known.head) == (checkpoint.epoch, checkpoint.sequence, &checkpoint.head)
        }) {
            return true;
        }
        self.all.insert(place, checkpoint);
        if self.all.len() > KEPT {
            let last = self.all.len() - 1;
            let mut number = 0;
            self.all.retain(|_| {
                number += 1;
                number % 2 == 1 || number == last + 1
            });
        }
        true
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The lowest: from there a log is verified whose start is gone.
    #[must_use]
    pub fn first(&self) -> Option<&Checkpoint> {
        self.all.front()
    }

    /// The highest: up to there the log cannot be cut unnoticed.
    #[must_use]
    pub fn last(&self) -> Option<&Checkpoint> {
        self.all.back()
    }

    /// Lets go of those of an earlier log of the same name (a lower term); says how many they were.
    pub(crate) fn keep_newest_term(&mut self) -> u64 {
        let newest = self.all.iter().map(|one| term_of(one.epoch)).max();
        let before = self.all.len();
        self.all.retain(|one| Some(term_of(one.epoch)) == newest);
        (before - self.all.len()) as u64
    }

    /// Takes the lowest out when it stands below `offset`.
    pub(crate) fn take_below(&mut self, offset: Offset) -> Option<Checkpoint> {
        if self.all.front().is_some_and(|first| first.offset < offset) { self.all.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::address::TopicName;
    use tidegate_protocol::ids::SenderId;

    use super::*;

    #[test]
    fn memory_is_bounded_and_first_and_last_stay() {
        let facts = TopicName::new("t.decisions.raw").unwrap().partition(0);
        let log = LogIdentity { sender: SenderId::new("kernel.raw/0").unwrap(), facts: facts.clone() };
        let at = |offset| Checkpoint {
            v: 1,
            sender: log.sender.clone(),
            facts: facts.clone(),
            epoch: 1,
            sequence: offset,
            offset,
            head: String::new(),
            wall_ms: 0,
            key: None,
            signature: None,
        };
        let mut anchors = Anchors::default();
        for offset in 10..30_000 {
            assert!(anchors.add(&log, 11, at(offset)) && anchors.add(&log, 11, at(offset)));
            assert!(anchors.len() <= KEPT);
        }
        assert!(!anchors.add(&log, 50, at(48)));
        let ends = [anchors.first(), anchors.last()].map(|one| one.map(|one| one.offset));
        assert_eq!(ends, [Some(10), Some(29_999)]);
        assert!(anchors.all.iter().zip(anchors.all.iter().skip(1)).all(|(one, next)| one.offset < next.offset));
        let other = Checkpoint { facts: facts.topic.partition(1), ..at(60) };
        assert!(!anchors.add(&log, 0, other));
    }
}
