//! How a worker's slots are shared out among the shards of its pool, and moved to where jobs are.
//!
//! Each shard has some of the slots: what it is told as the worker's capacity. In equal parts at first. A shard **wants** more when all it
//! has are taken, and has some to **spare** when they were free for [`IDLE`]. What one can spare goes, half at a time, to one that
//! wants; one slot stays where it is, so that its shard can show that it wants (of a worker with fewer slots than shards none stays: what
//! nobody uses goes round). When all want, a shard with less than its part gets what the next job frees in one that has more.
//!
//! Invariant: for every shard the greater of what it has and what it holds, summed up, is at most the slots. A shard accepts no job beyond
//! what it has, so the worker never runs more than its slots, whatever is still on its way from before a move: that goes back, as
//! beyond the capacity. Jobs that lent their slot are not counted until they go on: while some do that on a shard whose slots have
//! moved meanwhile, more jobs run than there are slots.

use std::time::Duration;

use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;

/// A slot that was free for so long can be spared.
pub(super) const IDLE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Part {
    slots: u32,
    /// Since when some of them are free.
    idle: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Allotment {
    slots: u32,
    parts: Vec<Part>,
    /// Behind whom the next slot is given, among equals.
    last: usize,
    due: Option<Timestamp>,
}

impl Allotment {
    /// In equal parts; of the rest one each for the shards that follow the worker's own place, so that many small workers spread
    /// evenly.
    pub(super) fn new(slots: u32, shards: u32, worker: &WorkerId) -> Self {
        let shards = shards.max(1);
        let first = tidegate_protocol::topics::partition_of(worker.as_str().as_bytes(), shards);
        let part = |shard: u32| {
            let place = (shard + shards - first) % shards;
            Part { slots: slots / shards + u32::from(place < slots % shards), idle: None }
        };
        Self { slots, parts: (0..shards).map(part).collect(), last: 0, due: None }
    }

    /// What a shard has.
    pub(super) fn of(&self, shard: usize) -> u32 {
        self.parts.get(shard).map_or(0, |part| part.slots)
    }

    /// When something may move by time alone, as of the last look: a wanting shard waits for another's to be idle for long enough.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Moves what is to move; `held` are the jobs of each shard that take a slot. Whether anything moved.
    pub(super) fn settle(&mut self, held: &[u32], now: Timestamp) -> bool {
        if self.parts.len() < 2 {
            return false;
        }
        let before: Vec<u32> = self.parts.iter().map(|part| part.slots).collect();
        let holds = |shard: usize| held.get(shard).copied().unwrap_or(0);
        for (shard, part) in self.parts.iter_mut().enumerate() {
            part.idle = (part.slots > holds(shard)).then(|| part.idle.unwrap_or(now));
        }
        let wants = |shard: usize, part: &Part| holds(shard) >= part.slots;
        if let Some(wanting) = self.neediest(|shard, part| wants(shard, part)) {
            self.take(wanting, &holds, now);
        }
        // A slot that goes to a shard which still holds more than it has is not there twice: it is counted anew each time.
        while self.used(&holds) < self.slots {
            let wanting = self.neediest(|shard, part| wants(shard, part));
            let Some(shard) = wanting.or_else(|| self.neediest(|_, _| true)) else { break };
            self.last = shard;
            if let Some(part) = self.parts.get_mut(shard) {
                part.slots += 1;
            }
        }
        let moved = self.parts.iter().map(|part| part.slots).ne(before);
        if moved {
            // What was moved is looked at for a while before it moves on.
            for part in self.parts.iter_mut().filter(|part| part.idle.is_some()) {
                part.idle = Some(now);
            }
        }
        let any_wants = self.parts.iter().enumerate().any(|(shard, part)| wants(shard, part));
        let rested = self.parts.iter().filter_map(|part| Some(part.idle? + IDLE)).filter(|at| any_wants && *at > now);
        self.due = rested.min();
        moved
    }

    fn used(&self, holds: &impl Fn(usize) -> u32) -> u32 {
        self.parts.iter().enumerate().map(|(shard, part)| part.slots.max(holds(shard))).sum()
    }

    /// Of those the one with the fewest slots, and among equals the next in turn.
    fn neediest(&self, which: impl Fn(usize, &Part) -> bool) -> Option<usize> {
        let shards = self.parts.len();
        let turn = |shard: usize| (shard + shards - self.last - 1) % shards;
        let all = self.parts.iter().enumerate().filter(|(shard, part)| which(*shard, part));
        all.min_by_key(|(shard, part)| (part.slots, turn(*shard))).map(|(shard, _)| shard)
    }

    /// Takes something from a shard for one that wants: what is spared, else what it has beyond its part.
    fn take(&mut self, wanting: usize, holds: &impl Fn(usize) -> u32, now: Timestamp) {
        let shards = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let (fair, kept) = (self.slots / shards, u32::from(self.slots >= shards));
        let spares = |shard: usize, part: &Part| {
            let rested = part.idle.is_some_and(|since| since + IDLE <= now);
            let free = part.slots.saturating_sub(holds(shard).max(kept));
            if rested && shard != wanting { free } else { 0 }
        };
        let spared = self.parts.iter().enumerate().map(|(shard, part)| (spares(shard, part), shard)).max();
        if let Some((free @ 1.., shard)) = spared {
            if let Some(part) = self.parts.get_mut(shard) {
                part.slots -= free.div_ceil(2);
            }
            return;
        }
        // One at a time: the slot is there once the job in it has ended.
        let underway = self.parts.iter().enumerate().any(|(shard, part)| holds(shard) > part.slots);
        let has_less = self.parts.get(wanting).is_some_and(|part| part.slots < fair);
        if has_less && !underway {
            let most = self.parts.iter_mut().max_by_key(|part| part.slots);
            if let Some(part) = most.filter(|part| part.slots > fair) {
                part.slots -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn worker() -> WorkerId {
        WorkerId::new("w").unwrap()
    }

    fn parts(allotment: &Allotment) -> Vec<u32> {
        allotment.parts.iter().map(|part| part.slots).collect()
    }

    #[test]
    fn parts_add_up_to_the_slots_whatever_the_number_of_shards() {
        for name in ["a", "b", "worker-17"] {
            let worker = WorkerId::new(name).unwrap();
            for (slots, shards) in [(1, 1), (8, 1), (8, 3), (2, 5), (1, 4), (100, 7)] {
                let parts = parts(&Allotment::new(slots, shards, &worker));
                assert_eq!(parts.iter().sum::<u32>(), slots, "{parts:?}");
                assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1, "{parts:?}");
            }
        }
    }

    /// Shards with so many jobs that wait, for ever: what each runs is what it has.
    fn under(allotment: &mut Allotment, demand: &[bool], seconds: u64) -> Vec<u32> {
        for tick in 0..seconds * 20 {
            let now = Timestamp(tick * 50_000);
            let held: Vec<u32> =
                parts(allotment).iter().zip(demand).map(|(slots, busy)| slots * u32::from(*busy)).collect();
            allotment.settle(&held, now);
        }
        parts(allotment)
    }

    #[test]
    fn what_is_idle_goes_where_jobs_are_and_comes_back_when_all_have_some() {
        let mut allotment = Allotment::new(12, 3, &worker());
        assert_eq!(under(&mut allotment, &[true, false, false], 20), [10, 1, 1]);
        assert_eq!(under(&mut allotment, &[true, true, true], 20), [4, 4, 4]);
        assert_eq!(under(&mut allotment, &[false, true, true], 20)[0], 1);
    }

    #[test]
    fn a_worker_with_fewer_slots_than_shards_serves_each_in_its_turn() {
        let mut allotment = Allotment::new(1, 3, &worker());
        let mut met = [false; 3];
        for tick in 0..10 {
            let shard = parts(&allotment).iter().position(|slots| *slots == 1).unwrap();
            met[shard] = true;
            allotment.settle(&[0, 0, 0], Timestamp(tick * 1_100_000));
        }
        assert_eq!(met, [true; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        /// Whatever comes and ends when, there are never more jobs than slots, and no slot is forgotten.
        #[test]
        fn never_more_than_the_slots_and_none_is_lost(
            slots in 1..20_u32,
            shards in 1..6_u32,
            steps in prop::collection::vec((0..6_usize, any::<bool>(), 0..900_u64), 0..300),
        ) {
            let mut allotment = Allotment::new(slots, shards, &worker());
            let mut held = vec![0_u32; shards as usize];
            let mut now = Timestamp(1);
            for (shard, comes, ms) in steps {
                let shard = shard % held.len();
                now = now + Duration::from_millis(ms);
                if comes && held[shard] < allotment.of(shard) {
                    held[shard] += 1;
                } else if !comes {
                    held[shard] = held[shard].saturating_sub(1);
                }
                allotment.settle(&held, now);
                let used: u32 = parts(&allotment).iter().zip(&held).map(|(slots, held)| *slots.max(held)).sum();
                prop_assert_eq!(used, slots, "{:?} {:?}", allotment, held);
                prop_assert!(held.iter().sum::<u32>() <= slots);
            }
        }
    }
}
