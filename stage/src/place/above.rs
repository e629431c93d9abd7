//! What was heard above a place's position, believed messages that led to something and fences: when the records there are
//! given up, copies of them behind must not be taken as new.
//!
//! While records are in the log, reading them again tells what was believed. So groups tell of each record once, with the
//! first fact about it, and nothing here is kept of what was read in this ownership but its sign.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{Heard, SenderMark};

/// For one sealed input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Above {
    /// Told by groups and a snapshot, and not reached by reading yet: in replay as it came, then the lowest last.
    told: Vec<Heard>,
    /// Told, and being read.
    near: Vec<Heard>,
    /// Records for the next group to tell of.
    fresh: Vec<Offset>,
    /// Open records that a fact speaks of.
    held: BTreeSet<Offset>,
    /// When so many are told, those that a position has passed are let go.
    most: usize,
}

impl Above {
    /// Folds what a group or a snapshot told (replay); everything below `position` is done with.
    pub(crate) fn fold(&mut self, heard: &[Heard], position: Offset) {
        self.told.extend_from_slice(heard);
        if self.told.len() > self.most {
            self.told.retain(|told| told.to >= position);
            self.most = self.told.len().saturating_mul(2).max(64);
        }
    }

    /// Ends replay; reading starts at `read`.
    pub(crate) fn begin(&mut self, read: Offset) {
        self.told.retain(|told| told.to >= read);
        self.told.sort_by_key(|told| std::cmp::Reverse(told.from));
    }

    /// Records below `start` are gone: what was told of them. What stands behind them is still there to be read.
    pub(crate) fn lose(&mut self, start: Offset) -> impl Iterator<Item = Heard> {
        let (gone, left) = std::mem::take(&mut self.told).into_iter().partition(|told| told.from < start);
        self.told = left;
        let gone: Vec<Heard> = gone;
        gone.into_iter()
    }

    /// Whether it was told of this record; asked in the order of offsets.
    pub(crate) fn tells(&mut self, offset: Offset, sender: Option<&SenderMark>) -> bool {
        while let Some(told) = self.told.pop_if(|told| told.from <= offset) {
            self.near.push(told);
        }
        self.near.retain(|told| told.to >= offset);
        self.near.iter().any(|told| sender.is_some_and(|mark| mark.sender == told.sender))
    }

    /// The next group is to tell of this record.
    pub(crate) fn tell(&mut self, offset: Offset) {
        self.fresh.push(offset);
    }

    /// A fact speaks of this record, which stays open.
    pub(crate) fn hold(&mut self, offset: Offset) {
        self.held.insert(offset);
    }

    pub(crate) fn holds(&self, offset: Offset) -> bool {
        self.held.contains(&offset)
    }

    /// This record is settled.
    pub(crate) fn settle(&mut self, offset: Offset) {
        self.held.remove(&offset);
    }

    /// Records that the group about to be sealed tells of, in order.
    pub(crate) fn take_fresh(&mut self) -> Vec<Offset> {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    /// What was told of what is not read again yet; `read` comes next.
    pub(crate) fn unread(&self, read: Offset) -> impl Iterator<Item = &Heard> {
        self.near.iter().chain(&self.told).filter(move |told| told.to >= read)
    }
}

/// What one record says of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) offset: Offset,
    /// The sender's number.
    pub(crate) sender: u32,
    pub(crate) epoch: u64,
    /// (group offset, index) of a message; of a fence `None`.
    pub(crate) last: Option<(Offset, u64)>,
}

/// Gathers what was heard, in the order of offsets, into runs of one sender and one epoch that have nothing between them
/// which stays open: whichever of a run's records are lost, the last one's stamp stands for them, and drops nothing that
/// is still to be decided.
pub(crate) fn runs(
    records: impl Iterator<Item = Saying>,
    senders: &[SenderMark],
    parted: impl Fn(Offset, Offset) -> bool,
) -> Vec<Heard> {
    let (mut runs, mut newest): (Vec<Heard>, BTreeMap<u32, usize>) = (Vec::new(), BTreeMap::new());
    for Saying { offset, sender, epoch, last } in records {
        let run = newest.get(&sender).and_then(|run| runs.get_mut(*run));
        if let Some(run) = run.filter(|run| run.epoch == epoch && !parted(run.to, offset)) {
            (run.to, run.last) = (offset, last.max(run.last));
        } else if let Some(mark) = senders.get(sender as usize) {
            newest.insert(sender, runs.len());
            runs.push(Heard { sender: mark.sender.clone(), from: offset, to: offset, epoch, last });
        }
    }
    runs
}
