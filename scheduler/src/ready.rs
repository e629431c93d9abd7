//! Jobs that could be leased, in the order they should be: by class (same requirement), then rank.
//!
//! # Across tenants: start-time fair queueing
//! (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996, with every job of cost 1.) A tenant has a start tag. The
//! tenant with the lowest goes first; being served moves its tag on by 1/weight, and virtual time to the tag it was served
//! at. A tenant that comes back after having had nothing starts at virtual time, so it can save nothing up, and what it missed
//! nobody owes it. So over any stretch in which two tenants both have ready jobs of a class they are served in the ratio of
//! their weights, to within a job each, however much either of them submits. Tags are of the shard, not of a class: what a
//! tenant gets of one class counts in all.
//!
//! # Within a tenant
//! What was leased before first, then children, those of children before (so that parents which wait for them come to an end, and
//! few wait at a time), then by priority with
//! aging: a job counts one level higher for every `aging` it has waited. Which of two jobs is ahead never changes by waiting (both
//! gain alike), so the order is a number fixed when the job becomes ready. Without aging priority is strict.
//!
//! A tenant that may have no further job now (its limits) is *blocked*: its jobs stay where they are, but head no class.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use crate::aside::MOST_NEEDS;
use crate::placement::ClassId;
use crate::sequence::Sequence;
use crate::slab::{Index, Slab};

/// Virtual time that a job of a tenant of weight 1 takes; divisible by all small weights, and 2^64 of it are never used up.
const STEP: u64 = 720_720;

/// Tenants without a ready job are remembered up to this many, for their tags.
const TENANTS_KEPT: usize = 1_024;

/// A job's place in the order; lower is sooner. No two jobs have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    start: u64,
    tenant: u64,
    place: Place,
}

/// A job's place among its tenant's. `order` is, from its highest bit: 0 for a job that was leased before; 127 less the jobs above it; 9
/// less its priority, 0 for all when priority ages; when it became ready, in microseconds, plus the aging that its priority lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    order: u64,
    /// When it became ready, counted.
    arrival: u64,
}

/// Bits of the time in [`Place::order`]: it ends in the year 2112.
const DUE_BITS: u32 = 52;

impl Place {
    fn new(claim: Claim<'_>, aging: Duration, at: Timestamp, arrival: u64) -> Self {
        let lacks = 9_u8.saturating_sub(claim.priority);
        let (patience, wait) = if aging.is_zero() { (lacks, Duration::ZERO) } else { (0, aging * u32::from(lacks)) };
        let root = 127 - u64::from(claim.depth.min(127));
        let due = (at + wait).0.min((1 << DUE_BITS) - 1);
        let order = u64::from(!claim.leased_before) << 63 | root << 56 | u64::from(patience) << DUE_BITS | due;
        Self { order, arrival }
    }
}

/// What the order of a job depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) tenant: &'a TenantId,
    /// At least 1.
    pub(crate) weight: u32,
    pub(crate) leased_before: bool,
    /// Jobs above it, that spawned it one by the other.
    pub(crate) depth: u32,
    pub(crate) priority: u8,
}

#[derive(Debug)]
struct Tenant {
    name: TenantId,
    weight: u32,
    start: u64,
    blocked: bool,
    jobs: usize,
    classes: BTreeSet<ClassId>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By tenant.
    jobs: BTreeMap<u64, Sequence<Place>>,
    /// How many they are.
    len: usize,
    /// Tenants that are not blocked, by start tag.
    order: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Entry {
    source: SourcePosition,
    class: ClassId,
    tenant: u64,
    place: Place,
    /// When it became ready.
    since: Timestamp,
}

fn source_of<'a>(entries: &'a Slab<Entry>) -> impl Fn(u32) -> Option<&'a SourcePosition> {
    move |number| entries.get(number).map(|entry| &entry.source)
}

fn place_of(entries: &Slab<Entry>) -> impl Fn(u32) -> Option<Place> + Copy {
    move |number| entries.get(number).map(|entry| entry.place)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ready {
    aging: Duration,
    entries: Slab<Entry>,
    by_source: Index,
    queues: BTreeMap<ClassId, Queue>,
    tenants: BTreeMap<u64, Tenant>,
    /// Looked up, never walked through.
    by_name: HashMap<TenantId, u64>,
    virtual_time: u64,
    arrivals: u64,
    next_tenant: u64,
    tenants_before_purge: usize,
    /// Classes whose first job may have changed.
    touched: BTreeSet<ClassId>,
    /// [`MOST_NEEDS`].
    pub(crate) most_classes: usize,
    /// Tenants that had that many classes and have fewer now.
    roomy: Vec<TenantId>,
}

impl Ready {
    /// An empty one; a job gains a level of priority for every `aging` it waits, never when that is zero.
    pub(crate) fn new(aging: Duration) -> Self {
        Self {
            aging,
            entries: Slab::default(),
            by_source: Index::default(),
            queues: BTreeMap::new(),
            tenants: BTreeMap::new(),
            by_name: HashMap::new(),
            virtual_time: 0,
            arrivals: 0,
            next_tenant: 0,
            tenants_before_purge: TENANTS_KEPT,
            touched: BTreeSet::new(),
            most_classes: MOST_NEEDS,
            roomy: Vec::new(),
        }
    }

    /// Adds a job. One that is already in is left where it is.
    pub(crate) fn insert(&mut self, source: &SourcePosition, class: ClassId, claim: Claim<'_>, at: Timestamp) {
        if self.by_source.find(source, source_of(&self.entries)).is_some() {
            return;
        }
        self.arrivals += 1;
        let place = Place::new(claim, self.aging, at, self.arrivals);
        let id = self.tenant(claim);
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        tenant.jobs += 1;
        tenant.classes.insert(class);
        let queue = self.queues.entry(class).or_default();
        let number = self.entries.insert(Entry { source: source.clone(), class, tenant: id, place, since: at });
        self.by_source.insert(number, source_of(&self.entries));
        queue.jobs.entry(id).or_default().insert(number, place, place_of(&self.entries));
        queue.len += 1;
        if !tenant.blocked {
            queue.order.insert((tenant.start, id));
        }
        self.touched.insert(class);
    }

    /// Takes a job out that is not served; whether it was in.
    pub(crate) fn remove(&mut self, source: &SourcePosition) -> bool {
        let Some(number) = self.by_source.remove(source, source_of(&self.entries)) else { return false };
        let Some(Entry { class, tenant: id, place, .. }) = self.entries.get(number) else { return false };
        let (class, id) = (*class, *id);
        self.touched.insert(class);
        if let Some(tenant) = self.tenants.get_mut(&id) {
            tenant.jobs -= 1;
            if let Some(queue) = self.queues.get_mut(&class)
                && let Some(jobs) = queue.jobs.get_mut(&id)
            {
                queue.len -= usize::from(jobs.remove(number, place, place_of(&self.entries)));
                if jobs.is_empty() {
                    queue.jobs.remove(&id);
                    queue.order.remove(&(tenant.start, id));
                    tenant.classes.remove(&class);
                    if tenant.classes.len() + 1 == self.most_classes {
                        self.roomy.push(tenant.name.clone());
                    }
                }
                if queue.jobs.is_empty() {
                    self.queues.remove(&class);
                }
            }
        }
        self.entries.remove(number);
        if self.entries.len() == 0 {
            // Nobody waits, so nobody is behind.
            self.virtual_time = self.tenants.values().map(|tenant| tenant.start).fold(self.virtual_time, u64::max);
            self.tenants.clear();
            self.by_name.clear();
        }
        true
    }

    /// Takes a job out that is served now: its tenant's turn comes later by 1/weight.
    pub(crate) fn serve(&mut self, source: &SourcePosition) {
        let number = self.by_source.find(source, source_of(&self.entries));
        if let Some(id) = number.and_then(|number| self.entries.get(number)).map(|entry| entry.tenant)
            && let Some(tenant) = self.tenants.get_mut(&id)
        {
            let before = tenant.start;
            self.virtual_time = self.virtual_time.max(before);
            tenant.start = before + STEP / u64::from(tenant.weight.max(1));
            for class in &tenant.classes {
                self.touched.insert(*class);
                if let Some(queue) = self.queues.get_mut(class)
                    && queue.order.remove(&(before, id))
                {
                    queue.order.insert((tenant.start, id));
                }
            }
        }
        self.remove(source);
    }

    /// Whether this tenant's jobs may head their classes.
    pub(crate) fn block(&mut self, tenant: &TenantId, blocked: bool) {
        let Some(id) = self.by_name.get(tenant) else { return };
        let Some(tenant) = self.tenants.get_mut(id).filter(|tenant| tenant.blocked != blocked) else { return };
        tenant.blocked = blocked;
        for class in &tenant.classes {
            self.touched.insert(*class);
            if let Some(queue) = self.queues.get_mut(class) {
                if blocked {
                    queue.order.remove(&(tenant.start, *id));
                } else {
                    queue.order.insert((tenant.start, *id));
                }
            }
        }
    }

    /// The first job of a class.
    pub(crate) fn head(&self, class: ClassId) -> Option<(Rank, &SourcePosition)> {
        let queue = self.queues.get(&class)?;
        let (start, tenant) = queue.order.first()?;
        let Entry { place, source, .. } = self.entries.get(queue.jobs.get(tenant)?.first()?)?;
        Some((Rank { start: *start, tenant: *tenant, place: *place }, source))
    }

    /// The jobs of a tenant, in their order, and since when each was ready.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<(SourcePosition, Timestamp)> {
        let Some(id) = self.by_name.get(tenant) else { return Vec::new() };
        let theirs = self.entries.values().filter(|entry| entry.tenant == *id);
        let mut theirs: Vec<&Entry> = theirs.collect();
        theirs.sort_unstable_by_key(|entry| entry.place);
        theirs.into_iter().map(|entry| (entry.source.clone(), entry.since)).collect()
    }

    /// The jobs of a class, each tenant's in their order, and since when each was ready.
    pub(crate) fn of_class(&self, class: ClassId) -> Vec<(SourcePosition, Timestamp)> {
        let jobs = self.queues.get(&class).into_iter().flat_map(|queue| queue.jobs.values());
        let entries = jobs.flat_map(Sequence::numbers).filter_map(|number| self.entries.get(number));
        entries.map(|entry| (entry.source.clone(), entry.since)).collect()
    }

    /// How many jobs of a tenant there are.
    pub(crate) fn jobs_of(&self, tenant: &TenantId) -> usize {
        self.by_name.get(tenant).and_then(|id| self.tenants.get(id)).map_or(0, |tenant| tenant.jobs)
    }

    /// How many jobs of a class there are.
    pub(crate) fn jobs_in(&self, class: ClassId) -> usize {
        self.queues.get(&class).map_or(0, |queue| queue.len)
    }

    /// In how many classes a tenant has jobs.
    pub(crate) fn classes_of(&self, tenant: &TenantId) -> usize {
        self.by_name.get(tenant).and_then(|id| self.tenants.get(id)).map_or(0, |tenant| tenant.classes.len())
    }

    /// Whether a tenant has jobs of a class.
    pub(crate) fn has_of(&self, tenant: &TenantId, class: ClassId) -> bool {
        let tenant = self.by_name.get(tenant).and_then(|id| self.tenants.get(id));
        tenant.is_some_and(|tenant| tenant.classes.contains(&class))
    }

    /// Tenants that have room for a class again since this was asked last.
    pub(crate) fn take_roomy(&mut self) -> Vec<TenantId> {
        std::mem::take(&mut self.roomy)
    }

    /// Adds a job at that place among those of its priority.
    #[cfg(test)]
    pub(crate) fn insert_at(&mut self, source: &SourcePosition, class: ClassId, claim: Claim<'_>, arrival: u64) {
        let before = std::mem::replace(&mut self.arrivals, arrival - 1);
        self.insert(source, class, claim, Timestamp(1));
        self.arrivals = before.max(arrival);
    }

    /// Whether a class has jobs, of blocked tenants too.
    pub(crate) fn has(&self, class: ClassId) -> bool {
        self.queues.contains_key(&class)
    }

    /// The classes whose first job may have changed since this was asked last.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<ClassId> {
        std::mem::take(&mut self.touched)
    }

    fn tenant(&mut self, claim: Claim<'_>) -> u64 {
        if let Some(id) = self.by_name.get(claim.tenant) {
            if let Some(tenant) = self.tenants.get_mut(id)
                && tenant.jobs == 0
            {
                tenant.start = tenant.start.max(self.virtual_time);
            }
            return *id;
        }
        if self.tenants.len() >= self.tenants_before_purge {
            self.purge();
        }
        self.next_tenant += 1;
        let id = self.next_tenant;
        let tenant = Tenant {
            name: claim.tenant.clone(),
            weight: claim.weight,
            start: self.virtual_time,
            blocked: false,
            jobs: 0,
            classes: BTreeSet::new(),
        };
        self.by_name.insert(claim.tenant.clone(), id);
        self.tenants.insert(id, tenant);
        id
    }

    /// Forgets tenants without jobs whose tag says no more than that they would start now; all without jobs when these are
    /// still too many (what their tags say beyond is a job or so each).
    fn purge(&mut self) {
        let now = self.virtual_time;
        self.retain(|tenant| tenant.start > now);
        if self.tenants.len() >= 4 * TENANTS_KEPT {
            self.retain(|_| false);
        }
        self.tenants_before_purge = (2 * self.tenants.len()).max(TENANTS_KEPT);
    }

    fn retain(&mut self, which: impl Fn(&Tenant) -> bool) {
        let by_name = &mut self.by_name;
        self.tenants.retain(|_, tenant| {
            let kept = tenant.jobs > 0 || which(tenant);
            if !kept {
                by_name.remove(&tenant.name);
            }
            kept
        });
    }

    #[cfg(test)]
    pub(crate) fn tenants_known(&self) -> usize {
        self.tenants.len()
    }
}
