//! Stories in bounded memory, findable by position, id, order of change and state.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::SourcePosition;
use tokio::sync::oneshot;

use super::story::{DeadRecord, Story};
use super::{Bounds, JobKey};

/// Most repeats a story remembers.
const REPEATS: usize = 16;

#[derive(Debug)]
pub(super) struct Shelf {
    bounds: Bounds,
    stories: HashMap<SourcePosition, Story>,
    by_id: HashMap<JobId, Vec<SourcePosition>>,
    /// Records that repeat another: to the one that stands for them.
    repeats: HashMap<SourcePosition, SourcePosition>,
    by_change: BTreeMap<u64, SourcePosition>,
    ended: VecDeque<SourcePosition>,
    dead: VecDeque<DeadRecord>,
    /// Dead records that operators have dealt with, redriven or dropped: as many as there can be dead ones to show.
    done: HashSet<SourcePosition>,
    done_in_order: VecDeque<SourcePosition>,
    last_change: u64,
    pub(super) waiters: HashMap<Waiting, Vec<(u64, oneshot::Sender<()>)>>,
    pub(super) waiting: usize,
    pub(super) next_waiter: u64,
}

/// What a waiting request is called up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    /// The end of this record's job.
    Position(SourcePosition),
    /// The end of a job of this id.
    Id(JobId),
    /// Any change of this record's story.
    Change(SourcePosition),
    /// Any change of a story of this id.
    ChangeOf(JobId),
}

impl Shelf {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            stories: HashMap::new(),
            by_id: HashMap::new(),
            repeats: HashMap::new(),
            by_change: BTreeMap::new(),
            ended: VecDeque::new(),
            dead: VecDeque::new(),
            done: HashSet::new(),
            done_in_order: VecDeque::new(),
            last_change: 0,
            waiters: HashMap::new(),
            waiting: 0,
            next_waiter: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stories.len()
    }

    pub(super) const fn last_change(&self) -> u64 {
        self.last_change
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Changes the story of `source`, begun if need be; then indexes, evicts and wakes.
    pub(super) fn change(&mut self, source: &SourcePosition, by: impl FnOnce(&mut Story)) {
        let story = self.stories.entry(source.clone()).or_insert_with(|| Story::new(source.clone()));
        let (was_ended, had_id) = (story.state.is_ended(), story.id.is_some());
        by(story);
        self.last_change += 1;
        let before = std::mem::replace(&mut story.change, self.last_change);
        let (is_ended, is_told, id) = (story.state.is_ended(), story.is_told(), story.id.clone());
        self.by_change.remove(&before);
        self.by_change.insert(self.last_change, source.clone());
        if let (Some(id), false) = (&id, had_id) {
            self.by_id.entry(id.clone()).or_default().push(source.clone());
        }
        if !self.waiters.is_empty() {
            self.wake(&Waiting::Change(source.clone()));
            if let Some(id) = &id {
                self.wake(&Waiting::ChangeOf(id.clone()));
            }
        }
        if is_told {
            self.wake(&Waiting::Position(source.clone()));
            if let Some(id) = id {
                self.wake(&Waiting::Id(id));
            }
        }
        if is_ended && !was_ended {
            self.ended.push_back(source.clone());
        }
        while self.stories.len() > self.bounds.jobs {
            self.evict();
        }
    }

    /// Remembers that `again` stands for nothing of its own.
    pub(super) fn repeat(&mut self, again: &SourcePosition, first: &SourcePosition) {
        let room = self.stories.get(first).is_some_and(|story| story.repeated_at.len() < REPEATS);
        if !room {
            // The first is not known (any more), or repeated without end: this one is told by itself.
            self.change(again, |story| {
                story.state = super::State::Duplicate;
                story.duplicate_of = Some(first.clone());
            });
            return;
        }
        self.repeats.insert(again.clone(), first.clone());
        self.change(first, |story| story.repeated_at.push(again.clone()));
        self.wake(&Waiting::Position(again.clone()));
        self.wake(&Waiting::Change(again.clone()));
    }

    fn evict(&mut self) {
        let oldest_ended = std::iter::from_fn(|| self.ended.pop_front()).find(|at| self.stories.contains_key(at));
        let victim = oldest_ended.or_else(|| self.by_change.first_key_value().map(|(_, at)| at.clone()));
        let Some(story) = victim.and_then(|at| self.stories.remove(&at)) else { return };
        self.by_change.remove(&story.change);
        for again in &story.repeated_at {
            self.repeats.remove(again);
        }
        if let Some(id) = &story.id
            && let Some(positions) = self.by_id.get_mut(id)
        {
            positions.retain(|at| *at != story.source);
            if positions.is_empty() {
                self.by_id.remove(id);
            }
        }
        metrics::counter!(crate::metrics::VIEW_EVICTED).increment(1);
    }

    /// The story of a record, or of the one that stands for it.
    pub(super) fn at(&self, position: &SourcePosition) -> Option<&Story> {
        self.stories.get(position).or_else(|| self.stories.get(self.repeats.get(position)?))
    }

    /// The story a key names; of several with the same id the one that is not ended, else the latest.
    pub(super) fn find(&self, key: &JobKey) -> Option<&Story> {
        match key {
            JobKey::Position(position) => self.at(position),
            JobKey::Id { id, tenant } => {
                let of_tenant = |story: &&Story| tenant.is_none() || story.tenant == *tenant;
                let all = || self.by_id.get(id).into_iter().flatten().filter_map(|at| self.at(at)).filter(of_tenant);
                all().find(|story| !story.state.is_ended()).or_else(|| all().max_by_key(|story| story.change))
            }
        }
    }

    /// Tenants that have a job of this id.
    pub(super) fn tenants_of(&self, id: &JobId) -> HashSet<TenantId> {
        let positions = self.by_id.get(id).into_iter().flatten();
        positions.filter_map(|at| self.stories.get(at)?.tenant.clone()).collect()
    }

    /// Stories changed after `since`, in order of change.
    pub(super) fn changed_since(&self, since: u64) -> impl Iterator<Item = &Story> {
        self.by_change.range(since.saturating_add(1)..).filter_map(|(_, at)| self.stories.get(at))
    }

    /// Stories, last changed first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Story> {
        self.by_change.iter().rev().filter_map(|(_, at)| self.stories.get(at))
    }

    pub(super) fn add_dead(&mut self, dead: DeadRecord) {
        self.dead.push_back(dead);
        if self.dead.len() > self.bounds.dead {
            self.dead.pop_front();
        }
    }

    /// Records of `dead`, newest first.
    pub(super) fn dead(&self) -> impl Iterator<Item = &DeadRecord> {
        self.dead.iter().rev()
    }

    /// Those of them that nobody has dealt with.
    pub(super) fn dead_to_see_to(&self) -> impl Iterator<Item = &DeadRecord> {
        self.dead().filter(|dead| dead.source.as_ref().is_none_or(|source| !self.done.contains(source)))
    }

    /// An operator has dealt with a dead record.
    pub(super) fn done_with(&mut self, source: SourcePosition) {
        if !self.done.insert(source.clone()) {
            return;
        }
        self.done_in_order.push_back(source);
        if self.done_in_order.len() > self.bounds.dead
            && let Some(oldest) = self.done_in_order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }

    fn wake(&mut self, waiting: &Waiting) {
        for (_, waiter) in self.waiters.remove(waiting).into_iter().flatten() {
            // One that gave up meanwhile needs no call.
            let _ = waiter.send(());
        }
    }
}
