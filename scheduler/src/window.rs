//! Jobs that wait in memory. Soft: the log holds them, a new owner reads them again.
//!
//! Bounded by number and bytes, in shares that do not keep each other out: a quarter for what comes back from `overflow`, the
//! rest for `approved`, and each of the two in equal parts for the buckets. A full share takes nothing until it is down to
//! three quarters, so a tenant that floods pauses the buckets it has, not those of others.
//!
//! In a bucket that several tenants share, one that has more than half of a full share crowds the others out: what of it came
//! last makes way ([`Window::crowding`]), so that what stands behind it in the log is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_stage::InputRef;

use crate::work::Work;

/// Which kind of topic a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Approved,
    Overflow,
}

/// A job that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) input: InputRef,
    pub(crate) work: Work,
    order: u64,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    full: bool,
    by_age: BTreeMap<u64, SourcePosition>,
    tenants: BTreeMap<TenantId, BTreeSet<u64>>,
    /// Tenants by how many jobs they have.
    sizes: BTreeSet<(usize, TenantId)>,
    /// A second tenant has been met.
    mixed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    most: (usize, usize),
    jobs: BTreeMap<SourcePosition, Waiting>,
    inputs: BTreeMap<InputRef, SourcePosition>,
    /// Looked up, never walked through: its order shows nowhere, and its random keys keep submitters, who choose the ids,
    /// from crowding a bucket. (In a tree, ids with a long common beginning are compared to the end at every step.)
    live: HashMap<(TenantId, JobId), SourcePosition>,
    /// Of each job input: first the buckets of `approved`, then those of `overflow`.
    shares: Vec<Share>,
    arrivals: u64,
}

impl Window {
    /// An empty one of at most so many jobs and bytes for so many buckets; the last job taken may exceed the bytes.
    pub(crate) fn new(jobs: usize, bytes: usize, buckets: usize) -> Self {
        Self {
            most: (jobs, bytes),
            jobs: BTreeMap::new(),
            inputs: BTreeMap::new(),
            live: HashMap::new(),
            shares: (0..2 * buckets).map(|_| Share::default()).collect(),
            arrivals: 0,
        }
    }

    pub(crate) fn insert(&mut self, input: InputRef, work: Work) {
        self.arrivals += 1;
        let (order, source) = (self.arrivals, work.source.clone());
        self.inputs.insert(input, source.clone());
        self.live.insert((work.tenant.clone(), work.id.clone()), source.clone());
        if let Some(share) = self.shares.get_mut(input.input as usize) {
            share.bytes += work.bytes();
            share.by_age.insert(order, source.clone());
            share.mixed |= share.tenants.keys().any(|tenant| *tenant != work.tenant);
            share.count(&work.tenant, |jobs| {
                jobs.insert(order);
            });
        }
        self.jobs.insert(source, Waiting { input, work, order });
        self.weigh(input.input);
    }

    pub(crate) fn remove(&mut self, source: &SourcePosition) -> Option<Waiting> {
        let waiting = self.jobs.remove(source)?;
        self.inputs.remove(&waiting.input);
        self.live.remove(&(waiting.work.tenant.clone(), waiting.work.id.clone()));
        if let Some(share) = self.shares.get_mut(waiting.input.input as usize) {
            share.bytes -= waiting.work.bytes();
            share.by_age.remove(&waiting.order);
            share.count(&waiting.work.tenant, |jobs| {
                jobs.remove(&waiting.order);
            });
        }
        self.weigh(waiting.input.input);
        Some(waiting)
    }

    pub(crate) fn get(&self, source: &SourcePosition) -> Option<&Waiting> {
        self.jobs.get(source)
    }

    pub(crate) fn at(&self, input: InputRef) -> Option<&Waiting> {
        self.jobs.get(self.inputs.get(&input)?)
    }

    /// The waiting job of that name.
    pub(crate) fn live(&self, name: &(TenantId, JobId)) -> Option<&SourcePosition> {
        self.live.get(name)
    }

    /// Whether a job from that input is wanted.
    pub(crate) fn admits(&self, input: u32) -> bool {
        self.shares.get(input as usize).is_some_and(|share| !share.full)
    }

    /// The job that waits longest of those that may move, in a full share of `approved`.
    pub(crate) fn stuck(&self, may_move: impl Fn(&Work) -> bool) -> Option<&Waiting> {
        self.full().find_map(|share| self.movable(share.by_age.values(), &may_move))
    }

    /// In a full share of `approved` that several tenants use, the last job that may move of the tenant that has more than
    /// half of it.
    pub(crate) fn crowding(&self, may_move: impl Fn(&Work) -> bool) -> Option<&Waiting> {
        self.full().filter(|share| share.mixed).find_map(|share| {
            let (jobs, tenant) = share.sizes.last()?;
            let theirs = share.tenants.get(tenant).filter(|_| 2 * jobs > share.by_age.len())?;
            self.movable(theirs.iter().rev().filter_map(|order| share.by_age.get(order)), &may_move)
        })
    }

    fn full(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().take(self.shares.len() / 2).filter(|share| share.full)
    }

    fn movable<'a>(
        &'a self,
        mut sources: impl Iterator<Item = &'a SourcePosition>,
        may_move: &impl Fn(&Work) -> bool,
    ) -> Option<&'a Waiting> {
        sources.find_map(|source| self.jobs.get(source).filter(|waiting| may_move(&waiting.work)))
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shares.iter().map(|share| share.bytes).sum()
    }

    fn weigh(&mut self, input: u32) {
        let (input, buckets) = (input as usize, (self.shares.len() / 2).max(1));
        let part = |most: usize| {
            let of_kind = if input < buckets { most - most / 4 } else { most.div_ceil(4) };
            (of_kind / buckets).max(1)
        };
        let (jobs, bytes) = (part(self.most.0), part(self.most.1));
        let Some(share) = self.shares.get_mut(input) else { return };
        let (has_jobs, has_bytes) = (share.by_age.len(), share.bytes);
        if has_jobs >= jobs || has_bytes >= bytes {
            share.full = true;
        } else if has_jobs <= jobs * 3 / 4 && has_bytes <= bytes / 4 * 3 {
            share.full = false;
        }
    }
}

impl Share {
    fn count(&mut self, tenant: &TenantId, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let jobs = self.tenants.entry(tenant.clone()).or_default();
        self.sizes.remove(&(jobs.len(), tenant.clone()));
        change(jobs);
        let jobs = jobs.len();
        if jobs == 0 {
            self.tenants.remove(tenant);
        } else {
            self.sizes.insert((jobs, tenant.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver;

    fn work(offset: u64, tenant: &str) -> Work {
        let mut job = driver::job(&format!("j{offset}"), offset);
        job.tenant = TenantId::new(tenant).unwrap();
        Work::read(Some(&driver::approved(&job, "1"))).unwrap()
    }

    /// Fills a share by jobs of these tenants in turn; how many it took.
    fn fill(window: &mut Window, input: u32, tenants: &[&str]) -> usize {
        let mut taken = 0;
        while window.admits(input) {
            let offset = window.arrivals;
            window.insert(InputRef { input, offset }, work(offset, tenants[taken % tenants.len()]));
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_full_share_takes_nothing_until_it_is_down_to_three_quarters_and_keeps_no_other_out() {
        let mut window = Window::new(32, 1 << 20, 2);
        assert_eq!(fill(&mut window, 0, &["t"]), 12);
        assert_eq!((fill(&mut window, 1, &["t"]), fill(&mut window, 2, &["t"])), (12, 4), "each has room of its own");
        for offset in 0..2 {
            window.remove(&driver::position(offset)).unwrap();
            assert!(!window.admits(0));
        }
        window.remove(&driver::position(2)).unwrap();
        assert!(window.admits(0) && !window.admits(1));
    }

    #[test]
    fn bytes_bound_it_too_and_are_given_back() {
        let each = work(0, "t").bytes();
        let mut window = Window::new(1_000, each * 8, 1);
        assert_eq!(fill(&mut window, 0, &["t"]), 6);
        assert!(window.bytes() >= each * 6);
        for offset in 0..6 {
            window.remove(&driver::position(offset)).unwrap();
        }
        assert_eq!((window.bytes(), window.len(), window.admits(0)), (0, 0, true));
        assert!(window.live.is_empty() && window.inputs.is_empty());
        assert!(window.shares.iter().all(|share| share.tenants.is_empty() && share.sizes.is_empty()));
    }

    #[test]
    fn what_is_stuck_is_the_oldest_that_may_move_of_a_full_share() {
        let mut window = Window::new(16, 1 << 20, 1);
        assert!(window.stuck(|_| true).is_none());
        fill(&mut window, 0, &["t"]);
        assert_eq!(window.stuck(|_| true).map(|w| w.input.offset), Some(0));
        assert_eq!(window.stuck(|work| work.source.offset > 4).map(|w| w.input.offset), Some(5));
        assert!(window.stuck(|_| false).is_none());
    }

    #[test]
    fn a_tenant_with_more_than_half_of_a_full_share_makes_way_with_what_came_last_and_alone_it_crowds_nobody() {
        let mut window = Window::new(16, 1 << 20, 1);
        fill(&mut window, 0, &["noisy"]);
        assert!(window.crowding(|_| true).is_none(), "nobody else is there");
        let mut window = Window::new(16, 1 << 20, 1);
        fill(&mut window, 0, &["noisy", "noisy", "quiet"]);
        assert_eq!(window.crowding(|_| true).map(|w| w.input.offset), Some(10));
        let mut window = Window::new(16, 1 << 20, 1);
        fill(&mut window, 0, &["a", "b"]);
        assert!(window.crowding(|_| true).is_none(), "neither has more than half");
    }
}
