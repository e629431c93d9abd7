//! Who owns which partitions of a topic, among the members in this process.
//!
//! A partition is owned, free, or being let go. What a member has too much is asked back (`Revoked`); once it let go,
//! or [`PATIENCE`] is over, it goes to the member with the fewest. What a member may keep it keeps.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Change, Membership, Released, SpineError};

use crate::keeper::Duty;
use crate::partition::lock;
use crate::spine::Core;

/// How long a member may take to let go of what is asked back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

type Key = (String, TopicName);

/// All groups of the spine.
pub(crate) struct Groups {
    groups: Mutex<HashMap<Key, Group>>,
    /// To have [`Self::expire`] called when patience ends.
    keeper: Sender<Duty>,
}

#[derive(Default)]
struct Group {
    holders: Vec<Holder>,
    members: BTreeMap<u64, Seat>,
    next: u64,
    committed: HashMap<u32, Offset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Member(u64),
    /// Asked back under this number, until this time.
    Leaving {
        ticket: u64,
        until: Instant,
    },
}

#[derive(Default)]
struct Seat {
    changes: VecDeque<Change>,
    waker: Option<Waker>,
}

/// Dropped by whoever let go of the partitions asked back under `ticket`.
struct LettingGo {
    groups: Weak<Groups>,
    key: Key,
    ticket: u64,
}

impl Drop for LettingGo {
    fn drop(&mut self) {
        if let Some(groups) = self.groups.upgrade() {
            groups.free(&self.key, |holder| matches!(holder, Holder::Leaving { ticket, .. } if ticket == self.ticket));
        }
    }
}

impl Groups {
    pub(crate) fn new(keeper: Sender<Duty>) -> Self {
        Self { groups: Mutex::default(), keeper }
    }

    fn join(self: &Arc<Self>, key: &Key, partitions: u32) -> u64 {
        let member = self.change(key, |group| {
            group.holders.resize(partitions as usize, Holder::Nobody);
            group.next += 1;
            group.members.insert(group.next, Seat::default());
            group.next
        });
        self.answer(key, member);
        member
    }

    /// A member that was given nothing at once hears so.
    fn answer(&self, key: &Key, member: u64) {
        let mut groups = lock(&self.groups);
        let seat = groups.get_mut(key).and_then(|group| group.members.get_mut(&member));
        if let Some(seat) = seat.filter(|seat| seat.changes.is_empty()) {
            seat.changes.push_back(Change::Assigned(Vec::new()));
        }
    }

    fn leave(self: &Arc<Self>, key: &Key, member: u64) {
        let seat = self.change(key, |group| {
            for holder in &mut group.holders {
                if *holder == Holder::Member(member) {
                    *holder = Holder::Nobody;
                }
            }
            group.members.remove(&member)
        });
        // It may hold a `Released`, whose drop takes the lock again.
        drop(seat);
    }

    /// Frees every partition whose holder is `gone` and shares it out.
    fn free(self: &Arc<Self>, key: &Key, gone: impl Fn(Holder) -> bool) {
        self.change(key, |group| {
            for holder in group.holders.iter_mut().filter(|h| gone(**h)) {
                *holder = Holder::Nobody;
            }
        });
    }

    /// Takes what was not let go in time. Returns when to be called next.
    pub(crate) fn expire(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let late = |holder: Holder| matches!(holder, Holder::Leaving { until, .. } if until <= now);
        let keys: Vec<Key> = {
            let groups = lock(&self.groups);
            groups.iter().filter(|(_, g)| g.holders.iter().any(|h| late(*h))).map(|(key, _)| key.clone()).collect()
        };
        for key in &keys {
            tracing::warn!(group = key.0, topic = %key.1, "a member did not let go of its partitions in time");
            self.free(key, late);
        }
        let groups = lock(&self.groups);
        let waiting = groups.values().flat_map(|g| &g.holders).filter_map(|holder| match holder {
            Holder::Leaving { until, .. } => Some(*until),
            Holder::Nobody | Holder::Member(_) => None,
        });
        waiting.min()
    }

    /// The topic has this many partitions now; 0 when it was deleted.
    pub(crate) fn resized(self: &Arc<Self>, topic: &TopicName, partitions: u32) {
        let keys: Vec<Key> = lock(&self.groups).keys().filter(|(_, t)| t == topic).cloned().collect();
        for key in keys {
            self.change(&key, |group| {
                if partitions == 0 {
                    for (id, seat) in &mut group.members {
                        let lost = owned(&group.holders, *id);
                        if !lost.is_empty() {
                            seat.changes.push_back(Change::Lost(lost));
                        }
                    }
                    group.holders.clear();
                }
                group.holders.resize(partitions as usize, Holder::Nobody);
            });
        }
    }

    /// Positions published for lag tools.
    pub(crate) fn committed(&self, group: &str, of: &TopicPartition) -> Option<Offset> {
        lock(&self.groups).get(&(group.to_owned(), of.topic.clone()))?.committed.get(&of.partition).copied()
    }

    /// Does `what`, shares out again, and wakes whoever has news.
    fn change<T>(self: &Arc<Self>, key: &Key, what: impl FnOnce(&mut Group) -> T) -> T {
        let mut groups = lock(&self.groups);
        let group = groups.entry(key.clone()).or_default();
        let outcome = what(group);
        let asked_back = self.share_out(key, group);
        let news = group.members.values_mut().filter(|seat| !seat.changes.is_empty());
        let wakers: Vec<Waker> = news.filter_map(|seat| seat.waker.take()).collect();
        drop(groups);
        wakers.into_iter().for_each(Waker::wake);
        if asked_back {
            // The keeper ends with the spine; then nobody waits for partitions any more.
            drop(self.keeper.send(Duty::Look));
        }
        outcome
    }

    /// `true` when something was asked back.
    fn share_out(self: &Arc<Self>, key: &Key, group: &mut Group) -> bool {
        let mut asked_back = false;
        for (member, keep) in quotas(group) {
            let own = owned(&group.holders, member);
            let Some(excess) = own.get(keep..).filter(|e| !e.is_empty()) else { continue };
            group.next += 1;
            let ticket = group.next;
            let leaving = Holder::Leaving { ticket, until: Instant::now() + PATIENCE };
            for partition in excess {
                if let Some(holder) = group.holders.get_mut(*partition as usize) {
                    *holder = leaving;
                }
            }
            asked_back = true;
            let released = Released::new(LettingGo { groups: Arc::downgrade(self), key: key.clone(), ticket });
            if let Some(seat) = group.members.get_mut(&member) {
                seat.changes.push_back(Change::Revoked { partitions: excess.to_vec(), released });
            }
        }
        for (member, keep) in quotas(group) {
            let room = keep.saturating_sub(owned(&group.holders, member).len());
            let mut given = Vec::new();
            for (partition, holder) in (0..).zip(&mut group.holders) {
                if given.len() < room && *holder == Holder::Nobody {
                    *holder = Holder::Member(member);
                    given.push(partition);
                }
            }
            if let Some(seat) = group.members.get_mut(&member).filter(|_| !given.is_empty()) {
                seat.changes.push_back(Change::Assigned(given));
            }
        }
        asked_back
    }
}

fn owned(holders: &[Holder], member: u64) -> Vec<u32> {
    (0..).zip(holders).filter(|(_, h)| **h == Holder::Member(member)).map(|(p, _)| p).collect()
}

/// How many partitions each member is to have: as even as possible, the larger shares to those who have most.
fn quotas(group: &Group) -> Vec<(u64, usize)> {
    let mut members: Vec<(u64, usize)> =
        group.members.keys().map(|id| (*id, owned(&group.holders, *id).len())).collect();
    members.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
    let (each, more) = match members.len() {
        0 => (0, 0),
        n => (group.holders.len() / n, group.holders.len() % n),
    };
    members.into_iter().enumerate().map(|(n, (id, _))| (id, each + usize::from(n < more))).collect()
}

/// One member.
pub(crate) struct EmbeddedMembership {
    core: Arc<Core>,
    key: Key,
    id: u64,
}

impl EmbeddedMembership {
    pub(crate) fn join(core: Arc<Core>, group: String, topic: TopicName, partitions: u32) -> Self {
        let key = (group, topic);
        let id = core.groups.join(&key, partitions);
        Self { core, key, id }
    }
}

impl Membership for EmbeddedMembership {
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Result<Change, SpineError>> {
        let mut groups = lock(&self.core.groups.groups);
        let Some(seat) = groups.get_mut(&self.key).and_then(|group| group.members.get_mut(&self.id)) else {
            return Poll::Pending;
        };
        match seat.changes.pop_front() {
            Some(change) => Poll::Ready(Ok(change)),
            None => {
                seat.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn commit(&mut self, positions: &[(TopicPartition, Offset)]) {
        let mut groups = lock(&self.core.groups.groups);
        if let Some(group) = groups.get_mut(&self.key) {
            group.committed.extend(positions.iter().map(|(at, offset)| (at.partition, *offset)));
        }
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        futures::future::ready(()).boxed()
    }
}

impl Drop for EmbeddedMembership {
    fn drop(&mut self) {
        self.core.groups.leave(&self.key, self.id);
    }
}
