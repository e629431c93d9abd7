//! Reading a sealed partition: which messages are believed.
//!
//! Per sender the highest fence met *there*, the next sequence and the last (group offset, index) believed: what is
//! below the fence, what does not follow (a gap voids the rest of that epoch there) and what is not above the last is
//! dropped. Exactly-once between stages, in constant memory.
//!
//! Marks trust what they are given: whoever reads checks first that fences and messages are genuine, for what is not must
//! neither move a mark nor make a sender known.

use tidegate_protocol::control::{Kind, SenderMark, Stamp};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::proof::Refused;
use tidegate_spine::Record;

use crate::Rules;
use crate::control::{Meta, meta};

/// What a record of a sealed partition is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// A message to act on, with the sender's number in this `Marks`.
    Believed {
        /// Number of the sender.
        sender: usize,
        /// Its stamp.
        stamp: Stamp,
    },
    /// A control record; nothing to act on.
    Control,
    /// Not to be acted on.
    Dropped(Drop),
}

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drop {
    /// Of an epoch below the fence: a former owner woke late.
    BelowFence,
    /// Of an epoch that no fence here has announced.
    Unannounced,
    /// A message before it is missing, or one before that was.
    Gap,
    /// Believed before: emitted again after a takeover.
    Repeated,
    /// With a sequence number met before under this fence: written again by somebody else, as no owner doubles its own.
    Replayed,
    /// Without a stamp: not written by a stage.
    Unstamped,
    /// Not proven to be its sender's.
    Refused(Refused),
}

impl Drop {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BelowFence => "below_fence",
            Self::Unannounced => "unannounced",
            Self::Gap => "gap",
            Self::Repeated => "repeated",
            Self::Replayed => "replayed",
            Self::Unstamped => "unstamped",
            Self::Refused(why) => why.word(),
        }
    }

    /// What a record that is dropped for it is told to the stage as; `None` for what a working owner leaves behind, which
    /// comes again or has come.
    #[must_use]
    pub fn refusal(self) -> Option<DeadReason> {
        match self {
            Self::BelowFence => Some(DeadReason::FormerOwner),
            Self::Replayed => Some(DeadReason::Replayed),
            Self::Unstamped => Some(DeadReason::Unsigned),
            Self::Refused(why) => Some(why.into()),
            Self::Unannounced | Self::Gap | Self::Repeated => None,
        }
    }
}

/// A record's headers reduced to what marks need; kept for records between a place's position and the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Fence { sender: u32, epoch: u64 },
    Message { sender: u32, stamp: Stamp },
}

/// The marks of one sealed partition.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    senders: Vec<SenderMark>,
    /// The log's start was already gone when reading began: the first message of a sender sets the baseline.
    late: bool,
    rules: Rules,
}

impl Marks {
    /// Reading from the log's very start, or from a place with `senders`.
    #[must_use]
    pub const fn new(senders: Vec<SenderMark>, rules: Rules) -> Self {
        Self { senders, late: false, rules }
    }

    /// For views that join a log whose start is gone: a sender's first message is taken as it comes.
    #[must_use]
    pub fn joining_late() -> Self {
        Self { late: true, ..Self::default() }
    }

    pub(crate) fn late(self) -> Self {
        Self { late: true, ..self }
    }

    /// Records that come next are gone: what was expected of any sender says nothing of what follows.
    pub(crate) fn lose(&mut self) {
        self.late = true;
        for mark in &mut self.senders {
            mark.rejoins = true;
        }
    }

    pub(crate) const fn is_late(&self) -> bool {
        self.late
    }

    /// What is kept of each sender.
    #[must_use]
    pub fn senders(&self) -> &[SenderMark] {
        &self.senders
    }

    /// Takes the next record, in offset order.
    pub fn meet(&mut self, record: &Record) -> Belief {
        match self.sign(record) {
            Some(sign) => self.meet_sign(sign),
            None => match meta(record) {
                Meta::Control { .. } => Belief::Control,
                Meta::Stamped { .. } | Meta::Foreign => Belief::Dropped(Drop::Unstamped),
            },
        }
    }

    /// Reduces a record's headers, learning its sender.
    pub(crate) fn sign(&mut self, record: &Record) -> Option<Sign> {
        match meta(record) {
            Meta::Control { kind: Kind::Fence, sender, epoch } => {
                Some(Sign::Fence { sender: self.number(sender)?, epoch })
            }
            Meta::Stamped { sender, stamp } => Some(Sign::Message { sender: self.number(sender)?, stamp }),
            Meta::Control { .. } | Meta::Foreign => None,
        }
    }

    fn number(&mut self, sender: &str) -> Option<u32> {
        let known = self.senders.iter().position(|s| s.sender.as_str() == sender);
        let number = match known {
            Some(number) => number,
            None => {
                let sender = SenderId::new(sender).ok()?;
                let next = if self.late { None } else { Some(0) };
                self.senders.push(SenderMark { sender, fence: 0, next, last: None, rejoins: false });
                self.senders.len() - 1
            }
        };
        u32::try_from(number).ok()
    }

    /// Learns the senders of `other` under the same numbers (other is a later state of the same partition).
    pub(crate) fn learn(&mut self, other: &Self) {
        for mark in other.senders.iter().skip(self.senders.len()) {
            let next = if self.late { None } else { Some(0) };
            self.senders.push(SenderMark { sender: mark.sender.clone(), fence: 0, next, last: None, rejoins: false });
        }
    }

    pub(crate) fn meet_sign(&mut self, sign: Sign) -> Belief {
        let (Sign::Fence { sender, .. } | Sign::Message { sender, .. }) = sign;
        let (rules, late) = (self.rules, self.late);
        let Some(mark) = self.senders.get_mut(sender as usize) else {
            return Belief::Dropped(Drop::Unstamped);
        };
        match sign {
            Sign::Fence { epoch, .. } => {
                if epoch > mark.fence {
                    mark.fence = epoch;
                    mark.next = Some(0);
                    mark.rejoins = false;
                }
                Belief::Control
            }
            Sign::Message { stamp, .. } => match believe(mark, stamp, rules, late) {
                Ok(()) => Belief::Believed { sender: sender as usize, stamp },
                Err(drop) => Belief::Dropped(drop),
            },
        }
    }
}

fn believe(mark: &mut SenderMark, stamp: Stamp, rules: Rules, late: bool) -> Result<(), Drop> {
    let place = (stamp.group, stamp.index);
    let begins = late && mark.last.is_none() && (mark.fence == 0 || stamp.epoch == mark.fence);
    // An owner says nothing twice: what was believed of it is a copy by somebody else, and tells nothing of what comes next.
    let copy = stamp.epoch == mark.fence && mark.last.is_some_and(|last| place <= last);
    if begins || (mark.rejoins && stamp.epoch >= mark.fence && !copy) {
        mark.fence = stamp.epoch;
        mark.next = Some(stamp.sequence);
        mark.rejoins = false;
    }
    if stamp.epoch < mark.fence && rules.fences {
        return Err(Drop::BelowFence);
    }
    if stamp.epoch > mark.fence && rules.fences {
        return Err(Drop::Unannounced);
    }
    if stamp.epoch == mark.fence && rules.message_sequence {
        if mark.next.is_some_and(|next| stamp.sequence < next) {
            return if rules.each_message_once { Err(Drop::Replayed) } else { Ok(()) };
        }
        if mark.next != Some(stamp.sequence) {
            mark.next = None;
            return Err(Drop::Gap);
        }
        mark.next = Some(stamp.sequence + 1);
    }
    if mark.last.is_some_and(|last| place <= last) {
        return Err(Drop::Repeated);
    }
    mark.last = Some(place);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        let sender = SenderId::new("kernel.raw/0").unwrap();
        Marks::new(vec![SenderMark { sender, fence: 0, next: Some(0), last: None, rejoins: false }], Rules::default())
    }

    fn fence(epoch: u64) -> Sign {
        Sign::Fence { sender: 0, epoch }
    }

    fn message(epoch: u64, sequence: u64, group: u64, index: u64) -> Sign {
        Sign::Message { sender: 0, stamp: Stamp { epoch, sequence, group, index } }
    }

    fn said(belief: Belief) -> &'static str {
        match belief {
            Belief::Believed { .. } => "believed",
            Belief::Control => "control",
            Belief::Dropped(why) => why.word(),
        }
    }

    #[test]
    fn a_readers_table() {
        let mut marks = marks();
        let steps = [
            (message(1, 0, 4, 0), "unannounced"),
            (fence(2), "control"),
            (message(2, 0, 4, 0), "believed"),
            (message(2, 1, 4, 256), "believed"),
            (message(2, 0, 4, 0), "replayed"),
            (message(2, 1, 9, 0), "replayed"),
            (message(1, 1, 5, 0), "below_fence"),
            (fence(7), "control"),
            (message(7, 0, 4, 256), "repeated"),
            (message(2, 2, 6, 0), "below_fence"),
            (message(7, 1, 8, 0), "believed"),
            (message(7, 3, 9, 0), "gap"),
            (message(7, 4, 10, 0), "gap"),
            (fence(6), "control"),
            (message(7, 2, 9, 0), "gap"),
            (fence(11), "control"),
            (message(11, 0, 9, 0), "believed"),
        ];
        for (number, (sign, expected)) in steps.into_iter().enumerate() {
            assert_eq!(said(marks.meet_sign(sign)), expected, "step {number}: {sign:?}");
        }
    }

    #[test]
    fn behind_accepted_losses_a_senders_next_message_is_taken_as_it_comes_but_none_twice() {
        let mut marks = marks();
        for (sign, expected) in [(fence(2), "control"), (message(2, 0, 4, 0), "believed")] {
            assert_eq!(said(marks.meet_sign(sign)), expected);
        }
        marks.lose();
        let steps = [
            (message(1, 9, 3, 0), "below_fence"),
            (message(7, 3, 4, 0), "repeated"),
            (message(7, 4, 9, 0), "believed"),
            (message(7, 6, 11, 0), "gap"),
            (message(2, 1, 12, 0), "below_fence"),
        ];
        for (sign, expected) in steps {
            assert_eq!(said(marks.meet_sign(sign)), expected, "{sign:?}");
        }
    }

    #[test]
    fn a_copy_of_what_was_believed_before_a_loss_does_not_make_its_sender_unheard() {
        let mut marks = marks();
        for sign in [fence(2), message(2, 0, 4, 0), message(2, 1, 5, 0), message(2, 2, 6, 0)] {
            marks.meet_sign(sign);
        }
        marks.lose();
        let steps = [
            (message(2, 1, 5, 0), "replayed"),
            (message(2, 5, 9, 0), "believed"),
            (message(2, 2, 6, 0), "replayed"),
            (message(2, 6, 10, 0), "believed"),
            (message(2, 8, 12, 0), "gap"),
        ];
        for (sign, expected) in steps {
            assert_eq!(said(marks.meet_sign(sign)), expected, "{sign:?}");
        }
    }

    #[test]
    fn a_late_reader_takes_the_first_message_as_it_comes_and_then_checks() {
        let mut marks = Marks { late: true, ..marks() };
        assert_eq!(said(marks.meet_sign(message(5, 17, 40, 0))), "believed");
        assert_eq!(said(marks.meet_sign(message(5, 18, 41, 0))), "believed");
        assert_eq!(said(marks.meet_sign(message(5, 20, 42, 0))), "gap");
    }
}
