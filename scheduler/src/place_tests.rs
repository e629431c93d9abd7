//! Placement beside a model that tries every pair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::job::SourcePosition;

use crate::driver::{position, worker};
use crate::place::{Can, ClassId, Load, Placement};
use crate::ready::{Claim, Ready};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Bits of `mask` as capabilities, sorted.
fn set(mask: u8) -> Arc<[Capability]> {
    let names = NAMES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    names.map(|(_, name)| Capability::new(name).unwrap()).collect()
}

/// A worker that does these, for the tenants of `tenants` or for all.
fn can(mask: u8, tenants: Option<u8>) -> Can {
    let named = |mask: u8| (0..3).filter(move |bit| mask >> bit & 1 == 1).map(tenant).collect();
    Can { capabilities: set(mask), tenants: tenants.map(named), children: false }
}

fn tenant(number: u8) -> TenantId {
    TenantId::new(format!("t{number}")).unwrap()
}

#[derive(Debug, Clone)]
enum Change {
    /// A job that needs these comes, with a priority, of a tenant.
    Job(u8, u8, u8),
    /// A worker can do these for some tenants and has that load; `None`: no room.
    Worker(u8, Offer, Option<u64>),
    Leaves(u8),
    /// The solution is taken.
    Place,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => (0..32_u8, 0..10_u8, 0..3_u8).prop_map(|(needs, priority, of)| Change::Job(needs, priority, of)),
        3 => (0..6_u8, (0..32_u8, prop::option::of(0..8_u8)), prop::option::of(0..4_u64))
            .prop_map(|(w, can, load)| Change::Worker(w, can, load)),
        1 => (0..6_u8).prop_map(Change::Leaves),
        3 => Just(Change::Place),
    ];
    prop::collection::vec(change, 0..80)
}

/// What a worker can do, for whom.
type Offer = (u8, Option<u8>);

fn takes((able, tenants): Offer, needs: u8, of: u8) -> bool {
    needs & !able == 0 && tenants.is_none_or(|all| all >> of & 1 == 1)
}

struct World {
    placement: Placement,
    ready: Ready,
    /// Needs, priority, tenant.
    jobs: BTreeMap<u64, (u8, u8, u8)>,
    workers: BTreeMap<u8, (Offer, Option<u64>)>,
    arrivals: u64,
}

/// All of one tenant, and priority does not age.
fn insert(ready: &mut Ready, offset: u64, class: ClassId, priority: u8) {
    let tenant = TenantId::new("t").unwrap();
    let claim = Claim { tenant: &tenant, weight: 1, leased_before: false, depth: 0, priority };
    ready.insert_at(&position(offset), class, claim, offset);
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
        let takers = |needs: u8, of: u8| {
            let able = self.workers.values().filter(move |(offer, _)| takes(*offer, needs, of));
            able.filter_map(|(_, load)| *load).min()
        };
        let placeable =
            self.jobs.iter().filter_map(|(n, (needs, priority, of))| Some((n, priority, takers(*needs, *of)?)));
        let first = placeable.min_by_key(|(n, priority, _)| (9 - **priority, **n));
        first.map(|(n, _, load)| (position(*n), load))
    }

    fn offer(&mut self, n: u64) {
        let (needs, priority, of) = self.jobs[&n];
        let class = self.placement.class(&set(needs), &tenant(of), false);
        // Its place in the order is its number, whenever it was put there.
        insert(&mut self.ready, n, class, priority);
        self.head_changed(class);
    }

    fn change(&mut self, change: &Change) {
        match *change {
            Change::Job(needs, priority, of) => {
                self.arrivals += 1;
                self.jobs.insert(self.arrivals, (needs, priority, of));
                self.offer(self.arrivals);
            }
            Change::Worker(w, offer, share) => {
                let load = share.map(|share| Load { share, last_grant: 0 });
                self.placement.set_worker(&Self::name(w), &can(offer.0, offer.1), load);
                self.workers.insert(w, (offer, share));
                let apart = self.placement.take_newly_apart();
                let theirs: Vec<u64> =
                    self.jobs.iter().filter(|j| apart.contains(&tenant(j.1.2))).map(|j| *j.0).collect();
                for n in theirs {
                    self.ready.remove(&position(n));
                    for class in self.ready.take_touched() {
                        self.head_changed(class);
                    }
                    self.offer(n);
                }
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
                let (offer, load) = world.workers[&w];
                let (needs, _, of) = world.jobs[&source.offset];
                assert!(takes(offer, needs, of), "it has every capability and takes the tenant's jobs");
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
    let class = placement.class(&set(1), &tenant(0), false);
    insert(&mut ready, 1, class, 5);
    placement.set_head(class, ready.head(class).map(|(rank, _)| rank), true);
    for (name, last_grant) in [("x", 7), ("y", 3), ("z", 5)] {
        placement.set_worker(&worker(name), &can(1, None), Some(Load { share: 1, last_grant }));
    }
    assert_eq!(placement.best().map(|(_, w)| w.as_str()), Some("y"));
}

#[test]
fn classes_without_jobs_are_dropped_and_found_again() {
    let mut placement = Placement::default();
    let mut ready = Ready::new(Duration::ZERO);
    placement.set_worker(&worker("w"), &can(1, None), Some(Load { share: 0, last_grant: 0 }));
    let kept = placement.class(&set(1), &tenant(0), false);
    insert(&mut ready, 1, kept, 5);
    placement.set_head(kept, ready.head(kept).map(|(rank, _)| rank), true);
    for n in 0..5_000 {
        placement.class(&Arc::from(vec![Capability::new(format!("c{n}")).unwrap()]), &tenant(0), false);
    }
    assert!(placement.classes() < 1_100, "{} classes", placement.classes());
    assert_eq!(placement.class(&set(1), &tenant(0), false), kept);
    assert!(placement.best().is_some());
}
