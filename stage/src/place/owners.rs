//! Owners that follow each other, each replaying from the log's start or from whatever snapshot it finds: one of an
//! owner long gone may land late and be the newest.

use std::collections::BTreeSet;

use tidegate_spine::Headers;

use super::*;

/// The same numbers for the same seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a sender may leave in a partition: fences, messages in order, what it says again, what a former owner says late,
/// and gaps.
#[derive(Default)]
struct Writer {
    epoch: u64,
    sequence: u64,
    group: u64,
    /// It leaves no gaps, and no former owner of it wakes.
    plain: bool,
}

impl Writer {
    fn write(&mut self, name: &'static str, offset: Offset, chance: &mut Chance) -> Record {
        let stamped = |epoch: u64, stamp: String| {
            let epoch = epoch.to_string();
            Headers::from_iter([("tg-sender", name.to_owned()), ("tg-epoch", epoch), ("tg-stamp", stamp)])
        };
        let headers = match chance.below(12) {
            0 | 1 => {
                self.epoch += 1 + chance.below(3);
                self.sequence = 0;
                // The new owner may say again what was believed.
                self.group = self.group.saturating_sub(chance.below(3));
                let epoch = self.epoch.to_string();
                Headers::from_iter([("tg-sender", name.to_owned()), ("tg-epoch", epoch), ("tg-kind", "fence".into())])
            }
            2 if !self.plain => {
                stamped(self.epoch.saturating_sub(1), format!("{} {} 0", chance.below(5), self.group + 9))
            }
            number => {
                self.sequence += u64::from(number == 3 && !self.plain);
                self.group += 1;
                self.sequence += 1;
                stamped(self.epoch, format!("{} {} 0", self.sequence - 1, self.group))
            }
        };
        Record { offset, timestamp_ms: 0, key: None, value: None, headers }
    }
}

/// A group that has landed: its places and what its facts settle.
#[derive(Default)]
pub(super) struct Landed {
    place: Option<Place>,
    pub(super) settles: Vec<Offset>,
    /// What they speak of and leave open.
    pub(super) holds: Vec<Offset>,
}

/// A shard's logs: the input, the groups, and snapshots with the number of groups they stand for.
pub(super) struct Logs {
    pub(super) input: Vec<Record>,
    /// Where the input begins; what was before was given up.
    pub(super) begins: Offset,
    pub(super) groups: Vec<Landed>,
    pub(super) snapshots: Vec<(usize, Place)>,
    rules: Rules,
}

impl Logs {
    pub(super) fn written(chance: &mut Chance, plain: bool, rules: Rules) -> Self {
        let mut writers = [(); 3].map(|()| Writer { plain, ..Writer::default() });
        let names = ["limits/0", "limits/1", "kernel.raw/0"];
        let offsets = (0_u64..).scan(0, |next, _| Some(std::mem::replace(next, *next + 1)));
        let input = offsets.take(60).map(|offset| {
            let number = chance.below(3) as usize;
            writers[number].write(names[number], offset, chance)
        });
        Self { input: input.collect(), begins: 0, groups: Vec::new(), snapshots: Vec::new(), rules }
    }

    /// Replays from the snapshot of this number, or from the start.
    pub(super) fn replayed(&self, snapshot: Option<usize>) -> InputPlace {
        let mut place = InputPlace::new(true, self.rules);
        let snapshot = snapshot.map(|number| &self.snapshots[number]);
        if let Some((_, told)) = snapshot {
            place.restore(told);
        }
        for group in &self.groups[snapshot.map_or(0, |(groups, _)| *groups)..] {
            group.place.iter().for_each(|told| place.fold(told));
            group.settles.iter().for_each(|offset| place.fold_settled(*offset));
        }
        if place.begin().is_none() {
            place.begin_at_log_start(self.begins);
        } else if place.position() < self.begins {
            place.lose(self.begins);
        }
        place
    }

    /// What a reader of everything below `position` knows of each sender it has heard of.
    fn known_at(&self, position: Offset) -> BTreeSet<String> {
        let mut marks = Marks::new(Vec::new(), Rules::default());
        for record in self.input.iter().filter(|record| record.offset < position) {
            marks.meet(record);
        }
        told(&marks)
    }

    /// What is believed of the input by one that never stops reading.
    pub(super) fn believed(&self) -> BTreeSet<Offset> {
        let mut marks = Marks::new(Vec::new(), Rules::default());
        let believed = self.input.iter().filter(|r| matches!(marks.meet(r), Belief::Believed { .. }));
        believed.map(|record| record.offset).collect()
    }
}

fn told(marks: &Marks) -> BTreeSet<String> {
    let heard = marks.senders().iter().filter(|mark| mark.fence > 0 || mark.last.is_some() || mark.next != Some(0));
    heard.map(|mark| format!("{mark:?}")).collect()
}

/// One owner for `steps` steps; what it settles without a fact goes to `read`. Returns what it has been given.
pub(super) fn own(logs: &mut Logs, mut place: InputPlace, steps: u64, chance: &mut Chance) -> BTreeSet<Offset> {
    let (mut given, mut waiting, mut building, mut unreleased) =
        (BTreeSet::new(), BTreeSet::new(), Landed::default(), BTreeSet::new());
    let settled: BTreeSet<_> = logs.groups.iter().flat_map(|group| group.settles.iter().copied()).collect();
    let mut held: BTreeSet<_> = logs.groups.iter().flat_map(|group| group.holds.iter().copied()).collect();
    held.retain(|offset| !settled.contains(offset));
    for _ in 0..steps {
        match chance.below(8) {
            0..4 => {
                let Some(record) = logs.input.get(place.head() as usize).cloned() else { continue };
                match place.meet(&record, Ok(())) {
                    Admission::Deliver(_) => {
                        given.insert(record.offset);
                        waiting.insert(record.offset);
                    }
                    Admission::Refuse(_) => place.settle(record.offset),
                    Admission::Skip | Admission::Drop(_) => {}
                }
            }
            // What is held may be decided before it is read again.
            4 if !held.is_empty() && chance.one_in(3) => {
                let Some(offset) = held.pop_first() else { continue };
                waiting.remove(&offset);
                place.decided(offset);
                building.settles.push(offset);
            }
            4 | 5 => {
                let Some(offset) = waiting.iter().nth(chance.below(3) as usize).copied() else { continue };
                if !held.contains(&offset) && chance.one_in(5) {
                    place.held(offset);
                    building.holds.push(offset);
                    held.insert(offset);
                    continue;
                }
                waiting.remove(&offset);
                held.remove(&offset);
                if chance.one_in(4) {
                    place.settle(offset);
                } else {
                    place.decided(offset);
                    building.settles.push(offset);
                }
            }
            6 => {
                let landed = Landed { place: place.record(0), ..std::mem::take(&mut building) };
                unreleased.extend(landed.settles.iter().copied());
                logs.groups.push(landed);
                if chance.one_in(2) {
                    logs.snapshots.push((logs.groups.len(), place.whole(0, unreleased.iter().copied())));
                }
            }
            _ => {
                for offset in std::mem::take(&mut unreleased) {
                    place.settle(offset);
                }
            }
        }
    }
    given
}

#[test]
fn whichever_snapshot_an_owner_finds_its_marks_are_those_of_its_position_and_what_is_believed_is_given() {
    for seed in 0..2_000 {
        let mut chance = Chance(seed);
        let mut logs = Logs::written(&mut chance, false, Rules::default());
        let believed = logs.believed();
        let mut given = BTreeSet::new();
        for owner in 0..6 {
            let found = (0..logs.snapshots.len()).map(Some).chain([None]);
            for snapshot in found {
                let place = logs.replayed(snapshot);
                let (marks, position) = (told(&place.base), place.position());
                assert_eq!(marks, logs.known_at(position), "seed {seed}, owner {owner}, {snapshot:?}, at {position}");
            }
            let choice = chance.below(logs.snapshots.len() as u64 + 1) as usize;
            let place = logs.replayed((choice < logs.snapshots.len()).then_some(choice));
            let decided: BTreeSet<_> = logs.groups.iter().flat_map(|group| group.settles.iter().copied()).collect();
            let now = own(&mut logs, place, if owner < 5 { 40 } else { 4_000 }, &mut chance);
            assert!(now.is_subset(&believed), "seed {seed}, owner {owner}: not believed {now:?}");
            assert!(now.is_disjoint(&decided), "seed {seed}, owner {owner}: decided again {now:?}");
            given.extend(now);
        }
        assert_eq!(given, believed, "seed {seed}");
    }
}

/// The kernel shard of simulation seed 82101846009148: the second owner found the first one's snapshot, the third an
/// older one that had landed after it.
#[test]
fn marks_that_only_a_snapshot_has_told_are_told_again_before_anything_builds_on_them() {
    let stamp = |sender: &'static str, stamp: &'static str, offset| Record {
        offset,
        timestamp_ms: 0,
        key: None,
        value: None,
        headers: Headers::from_iter([("tg-sender", sender), ("tg-epoch", "1"), ("tg-stamp", stamp)]),
    };
    let mark = |sender: &str, next, last| SenderMark {
        sender: tidegate_protocol::ids::SenderId::new(sender).unwrap(),
        fence: 1,
        next: Some(next),
        last,
        rejoins: false,
    };
    let place = |position, senders| Place { input: 3, position, senders, ..Place::default() };
    let before = place(3, vec![mark("limits/1", 0, None), mark("limits/0", 1, Some((3, 0)))]);

    let mut second = InputPlace::new(true, Rules::default());
    second.restore(&place(4, vec![mark("limits/1", 0, None), mark("limits/0", 2, Some((5, 0)))]));
    assert_eq!(second.begin(), Some(4));
    assert!(matches!(second.meet(&stamp("limits/1", "0 6 0", 4), Ok(())), Admission::Deliver(_)));
    second.settle(4);
    let recorded = second.record(3).unwrap();

    let mut third = InputPlace::new(true, Rules::default());
    third.restore(&before);
    third.fold_settled(3);
    third.fold(&recorded);
    assert_eq!(third.begin(), Some(5));
    assert!(matches!(third.meet(&stamp("limits/0", "2 10 0", 5), Ok(())), Admission::Deliver(_)), "no gap");
}
