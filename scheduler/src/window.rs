//! Jobs that wait in memory. Soft: the log holds them, a new owner reads them again.
//!
//! Bounded by number and bytes, in two shares: a quarter for what comes back from `overflow`, the rest for `approved`,
//! so that neither keeps the other out. A full share takes nothing until it is down to three quarters.

use std::collections::{BTreeMap, HashMap};

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
    pub(crate) origin: Origin,
    pub(crate) work: Work,
    order: u64,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    full: bool,
    by_age: BTreeMap<u64, SourcePosition>,
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
    approved: Share,
    overflow: Share,
    arrivals: u64,
}

impl Window {
    /// An empty one of at most so many jobs and bytes; the last job taken may exceed the bytes.
    pub(crate) fn new(jobs: usize, bytes: usize) -> Self {
        Self {
            most: (jobs, bytes),
            jobs: BTreeMap::new(),
            inputs: BTreeMap::new(),
            live: HashMap::new(),
            approved: Share::default(),
            overflow: Share::default(),
            arrivals: 0,
        }
    }

    pub(crate) fn insert(&mut self, input: InputRef, origin: Origin, work: Work) {
        self.arrivals += 1;
        let source = work.source.clone();
        self.inputs.insert(input, source.clone());
        self.live.insert((work.tenant.clone(), work.id.clone()), source.clone());
        let share = self.share(origin);
        share.bytes += work.bytes();
        let order = self.arrivals;
        self.share(origin).by_age.insert(order, source.clone());
        self.jobs.insert(source, Waiting { input, origin, work, order });
        self.weigh(origin);
    }

    pub(crate) fn remove(&mut self, source: &SourcePosition) -> Option<Waiting> {
        let waiting = self.jobs.remove(source)?;
        self.inputs.remove(&waiting.input);
        self.live.remove(&(waiting.work.tenant.clone(), waiting.work.id.clone()));
        let share = self.share(waiting.origin);
        share.bytes -= waiting.work.bytes();
        share.by_age.remove(&waiting.order);
        self.weigh(waiting.origin);
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

    /// Whether a job from there is wanted.
    pub(crate) fn admits(&self, origin: Origin) -> bool {
        match origin {
            Origin::Approved => !self.approved.full,
            Origin::Overflow => !self.overflow.full,
        }
    }

    /// The job from `approved` that waits longest.
    pub(crate) fn oldest_approved(&self) -> Option<&Waiting> {
        self.jobs.get(self.approved.by_age.first_key_value()?.1)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.approved.bytes + self.overflow.bytes
    }

    fn share(&mut self, origin: Origin) -> &mut Share {
        match origin {
            Origin::Approved => &mut self.approved,
            Origin::Overflow => &mut self.overflow,
        }
    }

    fn weigh(&mut self, origin: Origin) {
        let part = |most: usize| match origin {
            Origin::Approved => most - most / 4,
            Origin::Overflow => most.div_ceil(4),
        };
        let (jobs, bytes) = (part(self.most.0), part(self.most.1));
        let share = self.share(origin);
        let (has_jobs, has_bytes) = (share.by_age.len(), share.bytes);
        if has_jobs >= jobs || has_bytes >= bytes {
            share.full = true;
        } else if has_jobs <= jobs * 3 / 4 && has_bytes <= bytes / 4 * 3 {
            share.full = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver;

    fn work(offset: u64) -> Work {
        Work::read(Some(&driver::approved(&driver::job(&format!("j{offset}"), offset), "1"))).unwrap()
    }

    fn fill(window: &mut Window, origin: Origin) -> u64 {
        let mut taken = 0;
        while window.admits(origin) {
            let offset = window.arrivals;
            window.insert(InputRef { input: 0, offset }, origin, work(offset));
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_full_share_takes_nothing_until_it_is_down_to_three_quarters() {
        let mut window = Window::new(16, 1 << 20);
        assert_eq!(fill(&mut window, Origin::Approved), 12);
        assert_eq!(fill(&mut window, Origin::Overflow), 4, "the other share has room of its own");
        for offset in 0..2 {
            window.remove(&driver::position(offset)).unwrap();
            assert!(!window.admits(Origin::Approved));
        }
        window.remove(&driver::position(2)).unwrap();
        assert!(window.admits(Origin::Approved));
        assert_eq!(window.oldest_approved().map(|w| w.input.offset), Some(3));
    }

    #[test]
    fn bytes_bound_it_too_and_are_given_back() {
        let each = work(0).bytes();
        let mut window = Window::new(1_000, each * 8);
        assert_eq!(fill(&mut window, Origin::Approved), 6);
        assert!(window.bytes() >= each * 6);
        for offset in 0..6 {
            window.remove(&driver::position(offset)).unwrap();
        }
        assert_eq!((window.bytes(), window.len(), window.admits(Origin::Approved)), (0, 0, true));
        assert!(window.live.is_empty() && window.inputs.is_empty() && window.approved.by_age.is_empty());
    }
}
