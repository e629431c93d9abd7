//! Jobs that wait in memory. Soft: the log holds them, a new owner reads them again.
//!
//! Each stands once, in a slab; what finds it, by its source, its record or its name, and what orders it holds its number. What
//! many say alike (tenant, source, requirement) is held once. What a waiting job costs beside its record's text, ready queues included,
//! is measured by `bench/examples/scale`.
//!
//! Bounded by number and bytes, in shares that do not keep each other out: a quarter for what comes back from `overflow`, the
//! rest for `approved`, and each of the two in equal parts for the buckets. A full share takes nothing until it is down to
//! three quarters, so a tenant that floods pauses the buckets it has, not those of others.
//!
//! In a bucket that several tenants share, one that has more than half of a share crowds the others out once that is seven eighths full: what of
//! it came last makes way ([`Window::crowding`]), so that what stands behind it in the log is found. That is before the share takes
//! nothing more: reading goes on, and what moves is as much as comes. (Moved when it was full, a quarter of the share went at once, and everybody
//! waited for the group that said so.)

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use tidegate_protocol::ids::{JobId, SourceName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_stage::InputRef;

use crate::slab::{Index, NONE, Slab};
use crate::work::{Alike, Work};

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
    /// In its share.
    all: Link,
    /// In its share, among those of its tenant.
    theirs: Link,
}

/// Neighbours in a list.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    behind: u32,
}

const ALONE: Link = Link { before: NONE, behind: NONE };

/// Which of its links makes up a list.
type Of = fn(&mut Waiting) -> &mut Link;

const ALL: Of = |waiting| &mut waiting.all;
const THEIRS: Of = |waiting| &mut waiting.theirs;

/// The ends of a list by age.
#[derive(Debug, Clone, Copy)]
struct List {
    first: u32,
    last: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    full: bool,
    /// Seven eighths full.
    pressed: bool,
    all: List,
    tenants: BTreeMap<TenantId, List>,
    /// Tenants by how many jobs they have.
    sizes: BTreeSet<(usize, TenantId)>,
    /// A second tenant has been met.
    mixed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    most: (usize, usize),
    jobs: Slab<Waiting>,
    by_source: Index,
    by_input: Index,
    by_name: Index,
    /// Of each job input: first the buckets of `approved`, then those of `overflow`.
    shares: Vec<Share>,
    shared: Shared,
}

type Jobs = Slab<Waiting>;

fn source_of<'a>(jobs: &'a Jobs) -> impl Fn(u32) -> Option<&'a SourcePosition> {
    move |number| jobs.get(number).map(|waiting| &waiting.work.source)
}

fn input_of(jobs: &Jobs) -> impl Fn(u32) -> Option<InputRef> {
    move |number| jobs.get(number).map(|waiting| waiting.input)
}

fn name_of<'a>(jobs: &'a Jobs) -> impl Fn(u32) -> Option<(&'a TenantId, &'a str)> {
    move |number| jobs.get(number).map(|waiting| (&waiting.work.alike.tenant, waiting.work.name()))
}

impl Window {
    /// An empty one of at most so many jobs and bytes for so many buckets; the last job taken may exceed the bytes.
    pub(crate) fn new(jobs: usize, bytes: usize, buckets: usize) -> Self {
        Self {
            most: (jobs, bytes),
            jobs: Slab::default(),
            by_source: Index::default(),
            by_input: Index::default(),
            by_name: Index::default(),
            shares: (0..2 * buckets).map(|_| Share::default()).collect(),
            shared: Shared::default(),
        }
    }

    /// Takes a job in, of which neither source nor name are in.
    pub(crate) fn insert(&mut self, input: InputRef, mut work: Work) {
        self.shared.share(&mut work);
        let (tenant, bytes) = (work.alike.tenant.clone(), work.bytes());
        let number = self.jobs.insert(Waiting { input, work, all: ALONE, theirs: ALONE });
        self.by_source.insert(number, source_of(&self.jobs));
        self.by_input.insert(number, input_of(&self.jobs));
        self.by_name.insert(number, name_of(&self.jobs));
        if let Some(share) = self.shares.get_mut(input.input as usize) {
            share.bytes += bytes;
            share.all.push(&mut self.jobs, number, ALL);
            share.mixed |= share.tenants.keys().any(|other| *other != tenant);
            share.change(&tenant, |list| list.push(&mut self.jobs, number, THEIRS));
        }
        self.weigh(input.input);
    }

    pub(crate) fn remove(&mut self, source: &SourcePosition) -> Option<Waiting> {
        let number = self.by_source.remove(source, source_of(&self.jobs))?;
        let (input, tenant) =
            self.jobs.get(number).map(|waiting| (waiting.input, waiting.work.alike.tenant.clone()))?;
        self.by_input.remove(input, input_of(&self.jobs));
        if let Some(name) = name_of(&self.jobs)(number) {
            self.by_name.remove(name, name_of(&self.jobs));
        }
        if let Some(share) = self.shares.get_mut(input.input as usize) {
            share.all.take(&mut self.jobs, number, ALL);
            share.change(&tenant, |list| list.take(&mut self.jobs, number, THEIRS));
        }
        let waiting = self.jobs.remove(number)?;
        if let Some(share) = self.shares.get_mut(input.input as usize) {
            share.bytes -= waiting.work.bytes();
        }
        self.weigh(input.input);
        Some(waiting)
    }

    pub(crate) fn get(&self, source: &SourcePosition) -> Option<&Waiting> {
        self.jobs.get(self.by_source.find(source, source_of(&self.jobs))?)
    }

    pub(crate) fn at(&self, input: InputRef) -> Option<&Waiting> {
        self.jobs.get(self.by_input.find(input, input_of(&self.jobs))?)
    }

    /// The waiting job of that name.
    pub(crate) fn live(&self, (tenant, id): &(TenantId, JobId)) -> Option<&SourcePosition> {
        let number = self.by_name.find((tenant, id.as_str()), name_of(&self.jobs))?;
        self.jobs.get(number).map(|waiting| &waiting.work.source)
    }

    /// Whether a job from that input is wanted.
    pub(crate) fn admits(&self, input: u32) -> bool {
        self.shares.get(input as usize).is_some_and(|share| !share.full)
    }

    /// The job that waits longest of those that may move, in a full share of `approved`.
    pub(crate) fn stuck(&self, may_move: impl Fn(&Work) -> bool) -> Option<&Waiting> {
        self.of_approved().filter(|share| share.full).find_map(|share| {
            self.along(share.all.first, |waiting| waiting.all.behind).find(|waiting| may_move(&waiting.work))
        })
    }

    /// In a pressed share of `approved` that several tenants use, the last job that may move of the tenant that has more than
    /// half of it.
    pub(crate) fn crowding(&self, may_move: impl Fn(&Work) -> bool) -> Option<&Waiting> {
        let mut pressed = self.of_approved().filter(|share| share.pressed && share.mixed);
        pressed.find_map(|share| {
            let (jobs, tenant) = share.sizes.last()?;
            let theirs = share.tenants.get(tenant).filter(|_| 2 * jobs > share.all.len)?;
            self.along(theirs.last, |waiting| waiting.theirs.before).find(|waiting| may_move(&waiting.work))
        })
    }

    /// In a full share of what comes back from `overflow`, the job that waits longest of those that wait in vain.
    pub(crate) fn in_vain(&self, waits_in_vain: impl Fn(&Work) -> bool) -> Option<&Waiting> {
        let mut back = self.shares.iter().skip(self.shares.len() / 2).filter(|share| share.full);
        back.find_map(|share| {
            self.along(share.all.first, |waiting| waiting.all.behind).find(|waiting| waits_in_vain(&waiting.work))
        })
    }

    fn of_approved(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().take(self.shares.len() / 2)
    }

    fn along(&self, from: u32, next: impl Fn(&Waiting) -> u32) -> impl Iterator<Item = &Waiting> {
        let mut at = from;
        std::iter::from_fn(move || {
            let waiting = self.jobs.get(at)?;
            at = next(waiting);
            Some(waiting)
        })
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
        let (has_jobs, has_bytes) = (share.all.len, share.bytes);
        share.pressed = has_jobs >= jobs - jobs / 8 || has_bytes >= bytes - bytes / 8;
        if has_jobs >= jobs || has_bytes >= bytes {
            share.full = true;
        } else if has_jobs <= jobs * 3 / 4 && has_bytes <= bytes / 4 * 3 {
            share.full = false;
        }
    }
}

impl List {
    /// Adds a job at the end.
    fn push(&mut self, jobs: &mut Jobs, number: u32, of: Of) {
        if let Some(waiting) = jobs.get_mut(number) {
            *of(waiting) = Link { before: self.last, behind: NONE };
        }
        match jobs.get_mut(self.last) {
            Some(last) => of(last).behind = number,
            None => self.first = number,
        }
        self.last = number;
        self.len += 1;
    }

    /// Takes a job out.
    fn take(&mut self, jobs: &mut Jobs, number: u32, of: Of) {
        let Some(Link { before, behind }) = jobs.get_mut(number).map(|waiting| *of(waiting)) else { return };
        match jobs.get_mut(before) {
            Some(waiting) => of(waiting).behind = behind,
            None => self.first = behind,
        }
        match jobs.get_mut(behind) {
            Some(waiting) => of(waiting).before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }
}

impl Share {
    fn change(&mut self, tenant: &TenantId, change: impl FnOnce(&mut List)) {
        let list = self.tenants.entry(tenant.clone()).or_default();
        self.sizes.remove(&(list.len, tenant.clone()));
        change(list);
        let jobs = list.len;
        if jobs == 0 {
            self.tenants.remove(tenant);
        } else {
            self.sizes.insert((jobs, tenant.clone()));
        }
    }
}

/// What many jobs have in common, each held once. Looked up, never walked through.
#[derive(Debug, Default)]
struct Shared {
    sources: HashSet<SourceName>,
    alike: HashSet<Arc<Alike>>,
}

/// Most that are known of each; then all are forgotten, and jobs to come have copies of their own.
const MOST_SHARED: usize = 4_096;

impl Shared {
    fn share(&mut self, work: &mut Work) {
        fn one<T: Clone + Eq + Hash>(known: &mut HashSet<T>, value: &mut T) {
            if let Some(same) = known.get(value) {
                *value = same.clone();
                return;
            }
            if known.len() >= MOST_SHARED {
                known.clear();
            }
            known.insert(value.clone());
        }
        one(&mut self.sources, &mut work.source.source);
        one(&mut self.alike, &mut work.alike);
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

    #[test]
    fn a_waiting_job_has_its_place_in_little_more_than_what_is_read_of_it() {
        assert!(size_of::<Option<Waiting>>() <= 112, "{} bytes", size_of::<Option<Waiting>>());
    }

    /// Fills a share by jobs of these tenants in turn; how many it took.
    fn fill(window: &mut Window, input: u32, tenants: &[&str]) -> usize {
        let mut taken = 0;
        while window.admits(input) {
            let offset = 100 * u64::from(input) + taken as u64;
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
        assert_eq!((window.by_name.len(), window.by_input.len(), window.by_source.len()), (0, 0, 0));
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

    #[test]
    fn whoever_crowds_makes_way_one_by_one_before_the_share_is_full_so_that_reading_goes_on() {
        let mut window = Window::new(64, 1 << 20, 1);
        // 48 places are for `approved`, of which 42 are seven eighths. Nobody works: after 400 jobs 20 are the quiet tenant's.
        for offset in 0..400 {
            assert!(window.admits(0), "{offset}");
            let tenant = if offset % 20 == 7 { "quiet" } else { "noisy" };
            window.insert(InputRef { input: 0, offset }, work(offset, tenant));
            let mut moved = 0;
            while let Some(source) = window.crowding(|_| true).map(|crowds| crowds.work.source.clone()) {
                assert_eq!(window.remove(&source).unwrap().work.alike.tenant.as_str(), "noisy");
                moved += 1;
            }
            assert!(moved <= 1 && window.len() < 42, "{offset}: {moved} of {}", window.len());
        }
        let theirs = |tenant: &str| window.shares[0].tenants[&TenantId::new(tenant).unwrap()].len;
        assert_eq!((theirs("quiet"), theirs("noisy")), (20, 21));
    }
}
