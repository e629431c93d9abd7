//! A shard's place in one input partition: what is settled, what is open, and the senders' marks at the position.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{Heard, Place, SenderMark, Stamp};
use tidegate_protocol::proof::Refused;
use tidegate_spine::Record;

use self::above::{Above, Saying};
use crate::Rules;
use crate::marks::{Belief, Drop, Marks, Sign};
use crate::ranges::Ranges;

mod above;

/// What the runner does with a record it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Give it to the stage; on sealed inputs with the sender's number and stamp.
    Deliver(Option<(usize, Stamp)>),
    /// Its fact is in the log already, or it is a control record.
    Skip,
    /// Not believed: nothing to act on, as the stage's own facts or a working owner's rest.
    Drop(Drop),
    /// Not believed, and the stage is told.
    Refuse(Drop),
}

/// A record between the position and the head.
#[derive(Debug, Clone, Copy)]
struct Signed {
    offset: Offset,
    sign: Sign,
    /// A message that was believed, or a fence that raised its sender's.
    heard: bool,
}

impl Signed {
    fn saying(self) -> Option<Saying> {
        let Self { offset, sign, heard } = self;
        let saying = match sign {
            Sign::Fence { sender, epoch } => Saying { offset, sender, epoch, last: None },
            Sign::Message { sender, stamp: Stamp { epoch, group, index, .. } } => {
                Saying { offset, sender, epoch, last: Some((group, index)) }
            }
        };
        heard.then_some(saying)
    }
}

/// The place in one input.
#[derive(Debug, Clone)]
pub(crate) struct InputPlace {
    sealed: bool,
    rules: Rules,
    /// The next record has this offset or a higher one.
    read: Offset,
    /// Delivered and not yet settled.
    open: BTreeSet<Offset>,
    /// Decided before being read again in this ownership (a held record whose time was over at the takeover), and not
    /// yet settled.
    ahead: BTreeSet<Offset>,
    /// Of `open`: what a decided fact settles once it is released.
    leaving: BTreeSet<Offset>,
    /// Settled, above the position: never decided again. A range reaches from one open record to the next, so what has
    /// no record, or none that is believed, makes no range of its own.
    done: Ranges,
    /// Of `done`: since the last group was sealed.
    fresh: Ranges,
    /// Marks at the position, and the records between it and the head that move them.
    base: Marks,
    signs: VecDeque<Signed>,
    head: Marks,
    above: Above,
    /// What groups have recorded, a snapshot's word aside: the next owner may replay without that snapshot, so what it
    /// alone has told is recorded again before anything builds on it.
    recorded: (Option<Offset>, Vec<SenderMark>),
    /// Whether a group or a snapshot tells of it; a place that never was told of is recorded in the first group, or nobody
    /// could tell later that what comes next has gone.
    known: bool,
}

impl InputPlace {
    /// At the log's start (`position` is then where that is).
    pub(crate) fn new(sealed: bool, rules: Rules) -> Self {
        Self {
            sealed,
            rules,
            read: 0,
            open: BTreeSet::new(),
            ahead: BTreeSet::new(),
            leaving: BTreeSet::new(),
            done: Ranges::default(),
            fresh: Ranges::default(),
            base: Marks::new(Vec::new(), rules),
            signs: VecDeque::new(),
            head: Marks::new(Vec::new(), rules),
            above: Above::default(),
            recorded: (None, Vec::new()),
            known: false,
        }
    }

    /// Begins with what a snapshot says (replay).
    pub(crate) fn restore(&mut self, place: &Place) {
        self.fold(place);
        // Groups have only what came before it, and perhaps not even that.
        self.fresh.clone_from(&self.done);
        self.recorded = (None, Vec::new());
    }

    /// Folds what a group recorded (replay).
    pub(crate) fn fold(&mut self, place: &Place) {
        if self.rules.place_ranges {
            for (from, to) in &place.settled {
                self.done.insert(*from, *to);
            }
        }
        self.above.fold(&place.heard, self.read.max(place.position));
        // Groups behind a snapshot may say less than it does: it counts as settled what was still on its way. Marks of
        // a lower position would drop what stands between.
        if place.position < self.read {
            return;
        }
        self.known = true;
        self.read = place.position;
        self.recorded.0 = Some(place.position);
        let mut senders = self.base.senders().to_vec();
        for mark in &place.senders {
            for marks in [&mut senders, &mut self.recorded.1] {
                match marks.iter_mut().find(|known| known.sender == mark.sender) {
                    Some(known) => known.clone_from(mark),
                    None => marks.push(mark.clone()),
                }
            }
        }
        let late = place.late || self.base.is_late();
        self.base = Marks::new(senders, self.rules);
        if late {
            self.base = std::mem::take(&mut self.base).late();
        }
    }

    /// A fact that settles this offset is in the log (replay).
    pub(crate) fn fold_settled(&mut self, offset: Offset) {
        if self.rules.decide_once {
            self.done.insert(offset, offset.saturating_add(1));
        }
    }

    /// Ends replay: reading starts at the position returned, `None` for the log's start.
    pub(crate) fn begin(&mut self) -> Option<Offset> {
        self.done.trim_below(self.read);
        self.above.begin(self.read);
        self.head = self.base.clone();
        self.known.then_some(self.read)
    }

    /// Records from the position up to `start`, where the log now begins, are gone, and that is accepted: reading begins
    /// there.
    pub(crate) fn lose(&mut self, start: Offset) {
        self.read = self.read.max(start);
        self.done.trim_below(self.read);
        for heard in self.above.lose(self.read).filter(|_| self.rules.heard_above) {
            self.base.heard(heard);
        }
        self.base.lose();
        self.head = self.base.clone();
        // To be recorded, whatever it was.
        self.known = false;
    }

    /// Whether reading begins at its position, not wherever the log does.
    pub(crate) const fn has_begun(&self) -> bool {
        self.known || self.read > 0
    }

    /// Whether some group or snapshot tells of it as it is.
    pub(crate) const fn is_known(&self) -> bool {
        self.known
    }

    /// Nothing was recorded: reading begins at the log's start. When that is above zero, records before it are gone,
    /// so senders' first messages are taken as they come.
    pub(crate) fn begin_at_log_start(&mut self, start: Offset) {
        self.read = start;
        if start > 0 {
            self.base = Marks::new(Vec::new(), self.rules).late();
            self.head = self.base.clone();
        }
    }

    /// Takes a record that was read; `genuine` is whether a sealed input's record is proven to be its sender's.
    pub(crate) fn meet(&mut self, record: &Record, genuine: Result<(), Refused>) -> Admission {
        self.read = self.read.max(record.offset.saturating_add(1));
        if !self.sealed {
            return if self.admit(record.offset) { Admission::Deliver(None) } else { Admission::Skip };
        }
        if let Err(why) = genuine {
            return self.turn_away(record.offset, Drop::Refused(why));
        }
        let sign = self.head.sign(record);
        self.base.learn(&self.head);
        let Some(sign) = sign else {
            return match self.head.meet(record) {
                Belief::Dropped(why) => self.turn_away(record.offset, why),
                Belief::Control | Belief::Believed { .. } => Admission::Skip,
            };
        };
        let fenced = |marks: &Marks| marks.senders().get(sign.sender()).map(|mark| mark.fence);
        let before = fenced(&self.head);
        let belief = self.head.meet_sign(sign);
        let heard = matches!(belief, Belief::Believed { .. }) || fenced(&self.head) > before;
        self.signs.push_back(Signed { offset: record.offset, sign, heard });
        let told = heard && self.above.tells(record.offset, self.head.senders().get(sign.sender()));
        match belief {
            Belief::Control => {
                if heard && !told {
                    self.above.tell(record.offset);
                }
                Admission::Skip
            }
            Belief::Dropped(why) => self.turn_away(record.offset, why),
            Belief::Believed { sender, stamp } if self.believe(record.offset, told) => {
                Admission::Deliver(Some((sender, stamp)))
            }
            Belief::Believed { .. } => Admission::Skip,
        }
    }

    /// Whether a message that is believed is to be decided. With `told` a fact speaks of it; one that was decided and is not
    /// told of must be.
    fn believe(&mut self, offset: Offset, told: bool) -> bool {
        let admitted = self.admit(offset);
        if told && self.open.contains(&offset) {
            self.above.hold(offset);
        } else if !told && !admitted {
            self.above.tell(offset);
        }
        admitted
    }

    fn turn_away(&mut self, offset: Offset, why: Drop) -> Admission {
        match why.refusal() {
            None => Admission::Drop(why),
            Some(_) if self.admit(offset) => Admission::Refuse(why),
            Some(_) => Admission::Skip,
        }
    }

    /// Whether a record that was read is to be decided. One that was decided ahead of being read is only open.
    fn admit(&mut self, offset: Offset) -> bool {
        if self.done.contains(offset) {
            return false;
        }
        self.open.insert(offset);
        !self.ahead.contains(&offset)
    }

    /// A fact that settles this record was decided; it may not have been read again yet in this ownership.
    pub(crate) fn decided(&mut self, offset: Offset) {
        if offset >= self.read {
            self.ahead.insert(offset);
        } else if self.open.contains(&offset) && self.leaving.insert(offset) && self.sealed {
            self.above.tell(offset);
        }
    }

    /// A fact was decided that speaks of this record and leaves it open.
    pub(crate) fn held(&mut self, offset: Offset) {
        if self.sealed && self.open.contains(&offset) {
            self.above.hold(offset);
            self.above.tell(offset);
        }
    }

    /// Everything below `position` was delivered or does not exist.
    pub(crate) fn reached(&mut self, position: Offset) {
        self.read = self.read.max(position);
    }

    /// An input is done with.
    pub(crate) fn settle(&mut self, offset: Offset) {
        let ahead = self.ahead.remove(&offset);
        let told = self.leaving.remove(&offset) || ahead;
        self.above.settle(offset);
        let (from, to) = if self.open.remove(&offset) {
            // The lowest one moves the position instead.
            let Some(before) = self.open.range(..offset).next_back() else { return };
            (before.saturating_add(1), self.open.range(offset..).next().copied().unwrap_or(self.read))
        } else if ahead {
            (offset, offset.saturating_add(1))
        } else {
            return;
        };
        self.done.insert(from, to);
        self.fresh.insert(from, to);
        if self.sealed && !told {
            self.above.tell(offset);
        }
    }

    /// Where all that lies between what an owner before has settled has been read; to be asked before anything is read.
    pub(crate) fn read_before(&self) -> Offset {
        let settled = self.done.iter().last().map_or(0, |(_, to)| to);
        let ahead = self.ahead.last().map_or(0, |offset| offset + 1);
        self.read.max(settled).max(ahead)
    }

    /// Lowest offset not yet settled.
    pub(crate) fn position(&self) -> Offset {
        self.open.first().copied().unwrap_or(self.read)
    }

    /// The next offset to be read.
    pub(crate) const fn head(&self) -> Offset {
        self.read
    }

    /// Records below the head that are not settled.
    pub(crate) fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// The marks of senders at the head, by their numbers.
    pub(crate) const fn marks(&self) -> &Marks {
        &self.head
    }

    /// Records between position and head, an upper bound.
    pub(crate) fn distance(&self) -> u64 {
        self.read.saturating_sub(self.position())
    }

    /// What was delivered and is neither settled nor about to be, oldest first.
    pub(crate) fn staying(&self) -> impl Iterator<Item = Offset> + '_ {
        self.open.iter().copied().filter(|offset| !self.leaving.contains(offset) && !self.ahead.contains(offset))
    }

    /// How many of [`Self::staying`] there are, roughly.
    pub(crate) fn waiting(&self) -> usize {
        self.open.len().saturating_sub(self.leaving.len())
    }

    /// How many of the oldest that stay must make way: those too far behind the head, and one for each settled range
    /// too many (each that is about to leave takes one with it).
    pub(crate) fn excess(&self, distance: u64, ranges: usize) -> usize {
        let behind = |offset: Offset| self.read.saturating_sub(offset);
        let far = self.staying().take_while(|o| behind(*o) >= distance).count();
        far.max(self.done.len().saturating_sub(self.leaving.len()).saturating_sub(ranges))
    }

    fn advance_base(&mut self) {
        let position = self.position();
        while let Some(Signed { offset, sign, .. }) = self.signs.front().copied() {
            if offset >= position {
                break;
            }
            self.base.meet_sign(sign);
            self.signs.pop_front();
        }
    }

    /// Runs of those of the records that were heard.
    fn heard(&self, records: impl Iterator<Item = Signed>) -> Vec<Heard> {
        let staying = |o: &Offset| !self.leaving.contains(o) && !self.ahead.contains(o);
        let parted = |before: Offset, next: Offset| {
            self.open.range((Bound::Excluded(before), Bound::Included(next))).any(staying)
        };
        above::runs(records.filter_map(Signed::saying), self.head.senders(), parted)
    }

    /// What was heard above the position since the last call.
    fn fresh_heard(&mut self) -> Vec<Heard> {
        let fresh = self.above.take_fresh();
        let sign = |offset: Offset| {
            let number = self.signs.binary_search_by_key(&offset, |signed| signed.offset).ok()?;
            self.signs.get(number).copied()
        };
        self.heard(fresh.into_iter().filter_map(sign))
    }

    /// All that was heard above the position.
    fn all_heard(&self) -> Vec<Heard> {
        let spoken_of = |signed: &Signed| {
            let done = self.done.contains(signed.offset) || self.above.holds(signed.offset);
            done || matches!(signed.sign, Sign::Fence { .. })
        };
        let mut heard: Vec<Heard> = self.above.unread(self.read).cloned().collect();
        heard.extend(self.heard(self.signs.iter().copied().filter(spoken_of)));
        heard
    }

    /// What changed since the last call, for the group about to be sealed.
    pub(crate) fn record(&mut self, input: u32) -> Option<Place> {
        self.advance_base();
        let position = self.position();
        self.fresh.trim_below(position);
        self.done.trim_below(position);
        let senders: Vec<SenderMark> =
            self.base.senders().iter().filter(|mark| !self.recorded.1.contains(mark)).cloned().collect();
        let settled: Vec<_> = self.fresh.iter().collect();
        let heard = self.fresh_heard();
        let same = senders.is_empty() && settled.is_empty() && heard.is_empty();
        if self.known && self.recorded.0 == Some(position) && same {
            return None;
        }
        self.known = true;
        if !senders.is_empty() {
            self.recorded.1 = self.base.senders().to_vec();
        }
        self.recorded.0 = Some(position);
        self.fresh.clear();
        Some(Place { input, position, settled, senders, heard, late: self.base.is_late() })
    }

    /// The whole place as it will be once `also` (inputs whose facts are on their way) is settled.
    pub(crate) fn whole(&self, input: u32, also: impl IntoIterator<Item = Offset>) -> Place {
        let mut then = self.clone();
        for offset in also {
            then.settle(offset);
        }
        then.advance_base();
        let position = then.position();
        then.done.trim_below(position);
        for open in &then.open {
            debug_assert!(!then.done.contains(*open), "an open record is not settled");
        }
        let (settled, senders) = (then.done.iter().collect(), then.base.senders().to_vec());
        Place { input, position, settled, senders, heard: then.all_heard(), late: then.base.is_late() }
    }
}

#[cfg(test)]
mod losses;
#[cfg(test)]
mod owners;

#[cfg(test)]
mod tests;
