//! Placement beside a model that tries every pair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use crate::driver::{position, worker};
use crate::place::{ClassId, Load, Placement};
use crate::ready::{Claim, Ready};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Bits of `mask` as capabilities, sorted.
fn set(mask: u8) -> Arc<[Capability]> {
    let names = NAMES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    names.map(|(_, name)| Capability::new(name).unwrap()).collect()
}

#[derive(Debug, Clone)]
enum Change {
    /// A job that needs these comes, with a priority.
    Job(u8, u8),
    /// A worker can do these and has that load; `None`: no room.
    Worker(u8, u8, Option<u64>),
    Leaves(u8),
    /// The solution is taken.
    Place,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => (0..32_u8, 0..10_u8).prop_map(|(needs, priority)| Change::Job(needs, priority)),
        3 => (0..6_u8, 0..32_u8, prop::option::of(0..4_u64)).prop_map(|(w, can, load)| Change::Worker(w, can, load)),
        1 => (0..6_u8).prop_map(Change::Leaves),
        3 => Just(Change::Place),
    ];
    prop::collection::vec(change, 0..80)
}

struct World {
    placement: Placement,
    ready: Ready,
    jobs: BTreeMap<u64, (u8, u8, ClassId)>,
    workers: BTreeMap<u8, (u8, Option<u64>)>,
    arrivals: u64,
}

/// All of one tenant, and priority does not age.
fn insert(ready: &mut Ready, offset: u64, class: ClassId, priority: u8) {
    let tenant = TenantId::new("t").unwrap();
    let claim = Claim { tenant: &tenant, weight: 1, leased_before: false, child: false, priority };
    ready.insert(&position(offset), class, claim, Timestamp(1));
}

impl World {
    fn new() -> Self {
        Self {
            placement: Placement::default(),
            ready: Ready::new(Duration::ZERO),
            jobs: BTreeMap::new(),
            workers: BTreeMap::new(),
            arrivals: 0,
        }
    }

    fn name(w: u8) -> WorkerId {
        worker(&format!("w{w}"))
    }

    fn head_changed(&mut self, class: ClassId) {
        self.placement.set_head(class, self.ready.head(class).map(|(rank, _)| rank), self.ready.has(class));
    }

    /// Every job with room for it somewhere, the first in order; with the least load that may take it.
    fn expected(&self) -> Option<(SourcePosition, u64)> {
        let takers = |needs: u8| {
            let able = self.workers.values().filter(move |(can, _)| needs & !can == 0);
            able.filter_map(|(_, load)| *load).min()
        };
        let placeable = self.jobs.iter().filter_map(|(n, (needs, priority, _))| Some((n, priority, takers(*needs)?)));
        let first = placeable.min_by_key(|(n, priority, _)| (9 - **priority, **n));
        first.map(|(n, _, load)| (position(*n), load))
    }

    fn change(&mut self, change: &Change) {
        match *change {
            Change::Job(needs, priority) => {
                self.arrivals += 1;
                let class = self.placement.class(&set(needs));
                insert(&mut self.ready, self.arrivals, class, priority);
                self.jobs.insert(self.arrivals, (needs, priority, class));
                self.head_changed(class);
            }
            Change::Worker(w, can, share) => {
                let load = share.map(|share| Load { share, last_grant: 0 });
                self.placement.set_worker(&Self::name(w), &set(can), load);
                self.workers.insert(w, (can, share));
            }
            Change::Leaves(w) => {
                self.placement.remove_worker(&Self::name(w));
                self.workers.remove(&w);
            }
            Change::Place => {
                if let Some((class, worker)) = self.placement.best() {
                    let worker = worker.clone();
                    let source = self.ready.head(class).unwrap().1.clone();
                    self.placement.granted(&worker);
                    self.ready.remove(&source);
                    self.jobs.remove(&source.offset);
                    self.head_changed(class);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// The first job in order that anyone can take goes to the least loaded that can; when none can be placed, none is.
    #[test]
    fn the_solution_is_the_one_a_search_over_all_pairs_finds(changes in changes()) {
        let mut world = World::new();
        for change in &changes {
            world.change(change);
            let found = world.placement.best().map(|(class, worker)| {
                let source = world.ready.head(class).unwrap().1.clone();
                let w = worker.as_str().trim_start_matches('w').parse().unwrap();
                let (can, load) = world.workers[&w];
                assert_eq!(world.jobs[&source.offset].0 & !can, 0, "it has every capability");
                (source, load.unwrap())
            });
            prop_assert_eq!(found, world.expected());
            prop_assert_eq!(world.placement.free_workers(), world.workers.values().filter(|w| w.1.is_some()).count());
        }
    }
}

#[test]
fn among_equally_loaded_workers_the_one_that_waited_longest_is_next() {
    let mut placement = Placement::default();
    let mut ready = Ready::new(Duration::ZERO);
    let class = placement.class(&set(1));
    insert(&mut ready, 1, class, 5);
    placement.set_head(class, ready.head(class).map(|(rank, _)| rank), true);
    for (name, last_grant) in [("x", 7), ("y", 3), ("z", 5)] {
        placement.set_worker(&worker(name), &set(1), Some(Load { share: 1, last_grant }));
    }
    assert_eq!(placement.best().map(|(_, w)| w.as_str()), Some("y"));
}

#[test]
fn classes_without_jobs_are_dropped_and_found_again() {
    let mut placement = Placement::default();
    let mut ready = Ready::new(Duration::ZERO);
    placement.set_worker(&worker("w"), &set(1), Some(Load { share: 0, last_grant: 0 }));
    let kept = placement.class(&set(1));
    insert(&mut ready, 1, kept, 5);
    placement.set_head(kept, ready.head(kept).map(|(rank, _)| rank), true);
    for n in 0..5_000 {
        placement.class(&Arc::from(vec![Capability::new(format!("c{n}")).unwrap()]));
    }
    assert!(placement.classes() < 1_100, "{} classes", placement.classes());
    assert_eq!(placement.class(&set(1)), kept);
    assert!(placement.best().is_some());
}
