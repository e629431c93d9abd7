//! How a worker's slots are shared out among the shards of its pool, and moved to where jobs are.
//!
//! Each shard has some of the slots: what it is told as the worker's capacity. In equal parts at first. A shard **wants** more when all it
//! has are taken, and has some to **spare** when they were free for [`IDLE`]. What one can spare goes, half at a time, to one that
//! wants; one slot stays where it is, so that its shard can show that it wants. When all want, a shard with less than its part gets what
//! the next job frees in one that has more.
//!
//! A worker with fewer slots than shards cannot leave one everywhere, and a shard without a slot cannot show that it wants: what nobody
//! uses goes round, and a shard that is busy has its **turn**: after [`TURN`] the slot goes on when its job ends. Those that get it then
//! and have nothing to do keep it for [`LOOK`] alone, so that a shard that is busy by itself has most of the time.
//!
//! Invariant: the greater of what a shard has and what it holds, summed up over all shards, is at most the slots, or the jobs that hold
//! one where these are more. A shard accepts no job beyond what it has, so none begins unless a slot is free for it, whatever is still on
//! its way from before a move: that goes back, as beyond the capacity. More jobs than slots hold one only while some that lent theirs
//! have gone on since: they are not counted while they wait, and their slots may have moved. Then what is free is taken away at once, and
//! what becomes free is given to nobody, until there are no more than slots again.

use std::time::Duration;

use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::time::Timestamp;

/// A slot that was free for so long can be spared.
pub(super) const IDLE: Duration = Duration::from_secs(1);
/// With fewer slots than shards: a busy shard keeps a slot for so long, and until its job ends.
pub(super) const TURN: Duration = Duration::from_secs(2);
/// And one with nothing to do for so long, while a shard that was busy waits: more than an assignment takes to come.
pub(super) const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
struct Part {
    slots: u32,
    /// Since when some of them are free.
    idle: Option<Timestamp>,
    /// Since when it has any.
    since: Option<Timestamp>,
    /// Its turn ended while it was busy, and it had no slot since.
    cut_off: bool,
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
            let slots = slots / shards + u32::from(place < slots % shards);
            Part { slots, idle: None, since: None, cut_off: false }
        };
        // The last of those that have one more.
        let last = (first + (slots % shards).max(1) - 1) % shards;
        Self { slots, parts: (0..shards).map(part).collect(), last: last as usize, due: None }
    }

    /// Whether some shard is always without a slot.
    fn is_scarce(&self) -> bool {
        (self.slots as usize) < self.parts.len()
    }

    /// How long a slot is free before it can be spared.
    fn rest(&self) -> Duration {
        if self.is_scarce() && self.parts.iter().any(|part| part.cut_off) { LOOK } else { IDLE }
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
            part.since = (part.slots > 0).then(|| part.since.unwrap_or(now));
        }
        self.take_back(&holds);
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
                part.cut_off = false;
            }
        }
        let moved = self.parts.iter().map(|part| part.slots).ne(before.iter().copied());
        for (part, before) in self.parts.iter_mut().zip(before) {
            // What was moved is looked at for a while before it moves on.
            if moved && part.idle.is_some() {
                part.idle = Some(now);
            }
            if before == 0 || part.slots == 0 {
                part.since = (part.slots > 0).then_some(now);
            }
        }
        let (rest, scarce) = (self.rest(), self.is_scarce());
        let any_wants = self.parts.iter().enumerate().any(|(shard, part)| wants(shard, part));
        let rested = self.parts.iter().filter_map(|part| Some(part.idle? + rest)).filter(|_| any_wants);
        let turns = self.parts.iter().filter_map(|part| Some(part.since? + TURN)).filter(|_| scarce);
        self.due = rested.chain(turns).filter(|at| *at > now).min();
        moved
    }

    /// Takes slots that are free away from where they are, as far as more are held and had than there are.
    fn take_back(&mut self, holds: &impl Fn(usize) -> u32) {
        let all = (0..self.parts.len()).map(holds).fold(0_u32, u32::saturating_add);
        while self.used(holds) > self.slots.max(all) {
            let free = |(shard, part): &(usize, &mut Part)| part.slots.saturating_sub(holds(*shard));
            let freest = self.parts.iter_mut().enumerate().max_by_key(free);
            // What is used beyond what is held is free somewhere.
            let Some((_, part)) = freest.filter(|one| free(one) > 0) else { return };
            part.slots -= 1;
        }
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
        let rest = self.rest();
        let spares = |shard: usize, part: &Part| {
            let rested = part.idle.is_some_and(|since| since + rest <= now);
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
        if self.is_scarce() && !underway {
            let busy = |(shard, part): &(usize, &mut Part)| part.slots > 0 && holds(*shard) >= part.slots;
            let over = |(_, part): &(usize, &mut Part)| part.since.is_some_and(|since| since + TURN <= now);
            let longest =
                self.parts.iter_mut().enumerate().filter(busy).filter(over).min_by_key(|(_, part)| part.since);
            if let Some((_, part)) = longest {
                part.slots -= 1;
                part.cut_off = true;
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

    /// Shards that always have jobs of 50 ms, and hold what they have: for how long each held a slot, in milliseconds.
    fn served(slots: u32, busy: &[bool], seconds: u64) -> Vec<u64> {
        let mut allotment = Allotment::new(slots, u32::try_from(busy.len()).unwrap(), &worker());
        let mut served = vec![0; busy.len()];
        for tick in 0..seconds * 20 {
            let now = Timestamp(tick * 50_000);
            let held: Vec<u32> = parts(&allotment).iter().zip(busy).map(|(has, busy)| has * u32::from(*busy)).collect();
            served.iter_mut().zip(&held).for_each(|(ms, held)| *ms += u64::from(*held) * 50);
            allotment.settle(&held, now);
            // The jobs have ended.
            allotment.settle(&vec![0; busy.len()], now);
        }
        served
    }

    #[test]
    fn no_busy_shard_keeps_a_slot_from_the_others_where_there_are_fewer_slots_than_shards() {
        for served in [served(1, &[true, true, true], 60), served(2, &[true, true, true], 60)] {
            let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
            assert!(*least * 10 >= *most * 8, "{served:?}");
        }
        let alone = served(1, &[false, true, false, false], 60);
        assert!(alone[1] > 40_000, "it has most of the time: {alone:?}");
    }

    #[test]
    fn a_job_that_goes_on_while_its_slot_has_moved_is_the_last_beyond_the_slots() {
        let mut allotment = Allotment::new(1, 2, &worker());
        let own = parts(&allotment).iter().position(|slots| *slots == 1).unwrap();
        let (mut held, other) = ([0, 0], 1 - own);
        // It waits: its slot is free, and goes where a child of it may be.
        allotment.settle(&held, Timestamp(0));
        allotment.settle(&held, Timestamp(1_000_000));
        assert_eq!(allotment.of(other), 1);
        held[other] = 1;
        allotment.settle(&held, Timestamp(1_100_000));
        // It goes on; then what has its slot ends.
        held[own] = 1;
        allotment.settle(&held, Timestamp(1_200_000));
        held[other] = 0;
        allotment.settle(&held, Timestamp(1_300_000));
        assert_eq!(allotment.of(other), 0, "nothing more begins there");
        held[own] = 0;
        allotment.settle(&held, Timestamp(1_400_000));
        assert_eq!(parts(&allotment).iter().sum::<u32>(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        /// Whatever comes, waits, goes on and ends when: nothing begins unless a slot is free, and no slot is forgotten.
        #[test]
        fn nothing_begins_without_a_free_slot_and_none_is_lost(
            slots in 1..20_u32,
            shards in 1..6_u32,
            steps in prop::collection::vec((0..6_usize, 0..4_u8, 0..900_u64), 0..300),
        ) {
            let mut allotment = Allotment::new(slots, shards, &worker());
            let (mut held, mut lent) = (vec![0_u32; shards as usize], vec![0_u32; shards as usize]);
            let mut now = Timestamp(1);
            for (shard, what, ms) in steps {
                let shard = shard % held.len();
                now = now + Duration::from_millis(ms);
                match what {
                    0 if held[shard] < allotment.of(shard) => {
                        prop_assert!(held.iter().sum::<u32>() < slots, "{:?} {:?}", allotment, held);
                        held[shard] += 1;
                    }
                    1 => held[shard] = held[shard].saturating_sub(1),
                    2 if held[shard] > 0 => {
                        held[shard] -= 1;
                        lent[shard] += 1;
                    }
                    3 if lent[shard] > 0 => {
                        lent[shard] -= 1;
                        held[shard] += 1;
                    }
                    _ => {}
                }
                allotment.settle(&held, now);
                let used: u32 = parts(&allotment).iter().zip(&held).map(|(slots, held)| *slots.max(held)).sum();
                prop_assert_eq!(used, slots.max(held.iter().sum()), "{:?} {:?}", allotment, held);
            }
        }
    }
}
