//! Placement beside a model that tries every pair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::job::SourcePosition;

use crate::driver::{position, worker};
use crate::placement::{Can, ClassId, Load, Need, Placement, Wish};
use crate::ready::{Claim, Ready};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Bits of `mask` as capabilities, sorted.
fn set(mask: u8) -> Arc<[Capability]> {
    let names = NAMES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    names.map(|(_, name)| Capability::new(name).unwrap()).collect()
}

/// Bits of `mask` as labels: 1 is `zone: eu`, 2 `zone: us` (unless 1), 4 `ssd`.
fn labels(mask: u8) -> BTreeMap<String, String> {
    let zone = [(1, "zone", "eu"), (2, "zone", "us")].into_iter().find(|(bit, ..)| mask & bit > 0);
    let all = zone.into_iter().chain((mask & 4 > 0).then_some((4, "ssd", "yes")));
    all.map(|(_, name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What jobs ask of labels, and which masks of labels have that: select, prefer.
const WISHES: [(&str, &str); 5] = [
    ("{}", "{}"),
    (r#"{"zone":"eu"}"#, "{}"),
    ("{}", r#"{"ssd":true}"#),
    (r#"{"zone":["eu","us"]}"#, r#"{"zone":"us"}"#),
    (r#"{"ssd":false}"#, r#"{"zone":"eu","ssd":true}"#),
];

fn wish(number: usize) -> Option<Arc<Wish>> {
    let (select, prefer) = WISHES[number];
    let (select, prefer) = (serde_json::from_str(select).unwrap(), serde_json::from_str(prefer).unwrap());
    (number > 0).then(|| Arc::new(Wish { select, prefer }))
}

/// Whether labels satisfy what a wish selects, and what it prefers, said once more.
fn suits(number: usize, mask: u8) -> (bool, bool) {
    let (eu, us, ssd) = (mask & 1 > 0, mask & 3 == 2, mask & 4 > 0);
    match number {
        0 => (true, false),
        1 => (eu, false),
        2 => (true, ssd),
        3 => (eu || us, us),
        _ => (!ssd, false),
    }
}

/// A worker that does these, for the tenants of `tenants` or for all.
fn can((mask, tenants, labelled): Offer) -> Can {
    let named = |mask: u8| (0..3).filter(move |bit| mask >> bit & 1 == 1).map(tenant).collect();
    let labels = Arc::new(labels(labelled));
    Can { capabilities: set(mask), tenants: tenants.map(named), children: false, labels }
}

fn need<'a>(requirement: &'a Arc<[Capability]>, tenant: &'a TenantId, wish: Option<&'a Arc<Wish>>) -> Need<'a> {
    Need { requirement, tenant, child: false, wish }
}

fn tenant(number: u8) -> TenantId {
    TenantId::new(format!("t{number}")).unwrap()
}

#[derive(Debug, Clone)]
enum Change {
    /// A job that needs these comes, with a priority, of a tenant, with a wish.
    Job(u8, u8, u8, usize),
    /// A worker can do these for some tenants, has labels and that load; `None`: no room.
    Worker(u8, Offer, Option<u64>),
    Leaves(u8),
    /// The solution is taken.
    Place,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => (0..32_u8, 0..10_u8, 0..3_u8, 0..WISHES.len())
            .prop_map(|(needs, priority, of, wish)| Change::Job(needs, priority, of, wish)),
        3 => (0..6_u8, (0..32_u8, prop::option::of(0..8_u8), 0..8_u8), prop::option::of(0..4_u64))
            .prop_map(|(w, can, load)| Change::Worker(w, can, load)),
        1 => (0..6_u8).prop_map(Change::Leaves),
        3 => Just(Change::Place),
    ];
    prop::collection::vec(change, 0..80)
}

/// What a worker can do, for whom, and its labels.
type Offer = (u8, Option<u8>, u8);

/// Needs, priority, tenant, wish.
type Asked = (u8, u8, u8, usize);

fn takes((able, tenants, labelled): Offer, (needs, _, of, wish): Asked) -> bool {
    needs & !able == 0 && tenants.is_none_or(|all| all >> of & 1 == 1) && suits(wish, labelled).0
}

struct World {
    placement: Placement,
    ready: Ready,
    jobs: BTreeMap<u64, Asked>,
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

    /// Every job with room for it somewhere, the first in order; with the least load of those that it wants most.
    fn expected(&self) -> Option<(SourcePosition, u64)> {
        let taker = |asked: Asked| {
            let able = self.workers.values().filter(move |(offer, _)| takes(*offer, asked));
            let with_room = able.filter_map(|(offer, load)| Some((!suits(asked.3, offer.2).1, (*load)?)));
            with_room.min().map(|(_, load)| load)
        };
        let placeable = self.jobs.iter().filter_map(|(n, asked)| Some((n, asked.1, taker(*asked)?)));
        let first = placeable.min_by_key(|(n, priority, _)| (9 - *priority, **n));
        first.map(|(n, _, load)| (position(*n), load))
    }

    fn offer(&mut self, n: u64) {
        let (needs, priority, of, wished) = self.jobs[&n];
        let class = self.placement.class(need(&set(needs), &tenant(of), wish(wished).as_ref()));
        // Its place in the order is its number, whenever it was put there.
        insert(&mut self.ready, n, class, priority);
        self.head_changed(class);
    }

    fn change(&mut self, change: &Change) {
        match *change {
            Change::Job(needs, priority, of, wish) => {
                self.arrivals += 1;
                self.jobs.insert(self.arrivals, (needs, priority, of, wish));
                self.offer(self.arrivals);
            }
            Change::Worker(w, offer, share) => {
                let load = share.map(|share| Load { share, last_grant: 0 });
                self.placement.set_worker(&Self::name(w), &can(offer), load);
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
                let asked = world.jobs[&source.offset];
                assert!(takes(offer, asked), "it has every capability and label, and takes the tenant's jobs");
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
    let class = placement.class(need(&set(1), &tenant(0), None));
    insert(&mut ready, 1, class, 5);
    placement.set_head(class, ready.head(class).map(|(rank, _)| rank), true);
    for (name, last_grant) in [("x", 7), ("y", 3), ("z", 5)] {
        placement.set_worker(&worker(name), &can((1, None, 0)), Some(Load { share: 1, last_grant }));
    }
    assert_eq!(placement.best().map(|(_, w)| w.as_str()), Some("y"));
}

#[test]
fn classes_without_jobs_are_dropped_and_found_again() {
    let mut placement = Placement::default();
    let mut ready = Ready::new(Duration::ZERO);
    placement.set_worker(&worker("w"), &can((1, None, 0)), Some(Load { share: 0, last_grant: 0 }));
    let kept = placement.class(need(&set(1), &tenant(0), None));
    insert(&mut ready, 1, kept, 5);
    placement.set_head(kept, ready.head(kept).map(|(rank, _)| rank), true);
    for n in 0..5_000 {
        placement.class(need(&Arc::from(vec![Capability::new(format!("c{n}")).unwrap()]), &tenant(0), None));
    }
    assert!(placement.classes() < 150, "{} classes", placement.classes());
    assert_eq!(placement.class(need(&set(1), &tenant(0), None)), kept);
    assert!(placement.best().is_some());
}
