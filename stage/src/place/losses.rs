//! Records are lost and given up between owners: what a fact speaks of is never believed again, however it stands behind the
//! range, and all that was not given up is given.

use std::collections::BTreeSet;

use tidegate_spine::Headers;

use super::owners::{Chance, Logs, own};
use super::*;

/// Whose message of which group a record is; copies have the same.
fn key(record: &Record) -> Option<(String, String)> {
    let text = |name| record.headers.text(name).map(str::to_owned);
    Some((text("tg-sender")?, text("tg-stamp")?.split(' ').nth(1)?.to_owned()))
}

/// Six owners in turn; before most of them some of the input goes. The jobs done twice, and the records not given though there.
fn run(seed: u64, rules: Rules) -> (BTreeSet<(String, String)>, BTreeSet<Offset>) {
    let mut chance = Chance(seed);
    let mut logs = Logs::written(&mut chance, true, rules);
    let believed = logs.believed();
    let (mut given, mut twice) = (BTreeSet::new(), BTreeSet::new());
    let mut gone = BTreeSet::new();
    for owner in 0..6 {
        if owner > 0 && chance.one_in(2) {
            let upto = given.last().map_or(1, |last| last + 4);
            logs.begins = logs.begins.max(chance.below(upto));
            gone.extend(0..logs.begins);
        }
        let spoken = logs.groups.iter().flat_map(|group| group.settles.iter().chain(&group.holds));
        let spoken: BTreeSet<Offset> = spoken.copied().collect();
        let choice = chance.below(logs.snapshots.len() as u64 + 1) as usize;
        let place = logs.replayed((choice < logs.snapshots.len()).then_some(choice));
        let now = own(&mut logs, place, if owner < 5 { 40 } else { 4_000 }, &mut chance);
        let of = |offset: &Offset| logs.input.get(*offset as usize).and_then(key);
        let known: BTreeSet<_> = spoken.iter().filter_map(of).collect();
        twice.extend(
            now.iter().filter(|offset| !spoken.contains(offset)).filter_map(of).filter(|key| known.contains(key)),
        );
        given.extend(now);
    }
    let missing = believed.into_iter().filter(|offset| !given.contains(offset) && !gone.contains(offset)).collect();
    (twice, missing)
}

#[test]
fn no_copy_behind_a_loss_is_believed_of_what_a_fact_speaks_of_and_nothing_else_is_dropped() {
    for seed in 0..4_000 {
        let (twice, missing) = run(seed, Rules::default());
        assert!(twice.is_empty() && missing.is_empty(), "seed {seed}: twice {twice:?}, never {missing:?}");
    }
    // What it is that keeps it so.
    let without = Rules { heard_above: false, ..Rules::default() };
    let twice = (0..4_000).filter(|seed| !run(*seed, without).0.is_empty()).count();
    assert!(twice > 100, "only {twice} of 4,000 runs try it");
}

fn written(offset: Offset, headers: [(&'static str, &'static str); 2]) -> Record {
    let headers = Headers::from_iter([("tg-sender", "kernel.raw/0")].into_iter().chain(headers));
    Record { offset, timestamp_ms: 0, key: None, value: None, headers }
}

fn fence(offset: Offset, epoch: &'static str) -> Record {
    written(offset, [("tg-epoch", epoch), ("tg-kind", "fence")])
}

fn message(offset: Offset, epoch: &'static str, stamp: &'static str) -> Record {
    written(offset, [("tg-epoch", epoch), ("tg-stamp", stamp)])
}

/// Two that stay, at 1 and 5, and a new owner of their sender between them.
fn log() -> [Record; 8] {
    [
        fence(0, "1"),
        message(1, "1", "0 5 0"),
        message(2, "1", "1 6 0"),
        message(3, "1", "2 7 0"),
        fence(4, "2"),
        message(5, "2", "0 8 0"),
        message(6, "2", "1 9 0"),
        message(7, "2", "2 10 0"),
    ]
}

/// Of the sender, behind its first fence.
fn mark() -> SenderMark {
    let sender = tidegate_protocol::ids::SenderId::new("kernel.raw/0").unwrap();
    SenderMark { sender, fence: 1, next: Some(0), last: None, rejoins: false }
}

fn read(place: &mut InputPlace) -> Vec<Offset> {
    let from = place.head();
    let above = log().into_iter().filter(|record| record.offset >= from);
    let given = above.filter(|record| matches!(place.meet(record, Ok(())), Admission::Deliver(_)));
    given.map(|record| record.offset).collect()
}

fn said(place: Option<&Place>) -> Vec<(Offset, Offset, u64, Option<u64>)> {
    let heard = place.into_iter().flat_map(|place| &place.heard);
    heard.map(|heard| (heard.from, heard.to, heard.epoch, heard.last.map(|(group, _)| group))).collect()
}

#[test]
fn a_group_tells_what_it_settles_once_and_a_snapshot_all_of_it() {
    let mut place = InputPlace::new(true, Rules::default());
    place.begin_at_log_start(0);
    assert_eq!(read(&mut place), [1, 2, 3, 5, 6, 7]);
    assert_eq!(said(Some(&place.whole(0, []))), [(4, 4, 2, None)]);
    for offset in [3, 2, 7] {
        place.decided(offset);
    }
    // The fence is told of with whatever comes first.
    let first = place.record(0);
    assert_eq!(said(first.as_ref()), [(2, 3, 1, Some(7)), (4, 4, 2, None), (7, 7, 2, Some(10))]);
    place.decided(6);
    // What is spoken of and stays begins a run, and ends none.
    place.held(5);
    let second = place.record(0);
    assert_eq!(said(second.as_ref()), [(5, 6, 2, Some(9))]);
    for offset in [2, 3, 6, 7] {
        place.settle(offset);
    }
    let third = place.record(0);
    assert_eq!((third.as_ref().map(|place| place.position), said(third.as_ref())), (Some(1), vec![]), "it was told");
    let all = [(2, 3, 1, Some(7)), (4, 4, 2, None), (5, 7, 2, Some(10))];
    assert_eq!(said(Some(&place.whole(0, []))), all);

    // The next owner tells it on, whether it has read again or not.
    let mut next = InputPlace::new(true, Rules::default());
    next.restore(&place.whole(0, []));
    next.begin();
    assert_eq!(said(Some(&next.whole(0, []))), [(5, 7, 2, Some(10)), (4, 4, 2, None), (2, 3, 1, Some(7))]);
    assert_eq!(read(&mut next), [1, 5]);
    assert_eq!((said(next.record(0).as_ref()), said(Some(&next.whole(0, [])))), (vec![], all.to_vec()));
    // What leads to nothing is told of too; what lies below the position needs no telling.
    next.settle(5);
    assert_eq!(said(next.record(0).as_ref()), [(5, 5, 2, Some(8))]);
    next.settle(1);
    assert_eq!((said(next.record(0).as_ref()), said(Some(&next.whole(0, [])))), (vec![], vec![]));
}

#[test]
fn what_was_settled_before_places_told_of_it_is_told_as_it_is_read_again() {
    let mut place = InputPlace::new(true, Rules::default());
    place.fold(&Place { position: 1, settled: vec![(2, 4)], senders: vec![mark()], ..Place::default() });
    place.fold_settled(7);
    assert_eq!(place.begin(), Some(1));
    assert_eq!(said(Some(&place.whole(0, []))), []);
    assert_eq!(read(&mut place), [1, 5, 6]);
    assert_eq!(said(place.record(0).as_ref()), [(2, 3, 1, Some(7)), (4, 4, 2, None), (7, 7, 2, Some(10))]);
}

#[test]
fn behind_a_loss_marks_are_those_of_what_was_heard_before_it() {
    let mark = mark();
    let heard = |from, to, epoch, last: Option<u64>| Heard {
        sender: mark.sender.clone(),
        from,
        to,
        epoch,
        last: last.map(|group| (group, 0)),
    };
    let heard = vec![heard(2, 3, 1, Some(7)), heard(4, 4, 2, None), heard(5, 7, 2, Some(10))];
    let told = Place { position: 1, senders: vec![mark.clone()], heard, ..Place::default() };
    for (start, fence, last) in [
        (2, 1, None),
        // Half a run is gone: what is left of it is settled as well.
        (3, 1, Some((7, 0))),
        (4, 1, Some((7, 0))),
        (5, 2, Some((7, 0))),
        (6, 2, Some((10, 0))),
        (9, 2, Some((10, 0))),
    ] {
        let mut place = InputPlace::new(true, Rules::default());
        place.fold(&told);
        place.begin();
        place.lose(start);
        let marks = place.record(0).map(|place| place.senders).unwrap_or_default();
        assert_eq!(marks, [SenderMark { fence, last, rejoins: true, ..mark.clone() }], "from {start} on");
    }
    let mut place = InputPlace::new(true, Rules::default());
    place.fold(&told);
    place.begin();
    place.lose(8);
    for (record, expected) in [
        (message(8, "1", "3 11 0"), Admission::Refuse(Drop::BelowFence)),
        // A copy of what was heard: it does not stand for the sender's next message.
        (message(9, "2", "3 10 0"), Admission::Drop(Drop::Gap)),
        (
            message(10, "2", "4 11 0"),
            Admission::Deliver(Some((0, Stamp { epoch: 2, sequence: 4, group: 11, index: 0 }))),
        ),
    ] {
        assert_eq!(place.meet(&record, Ok(())), expected);
    }
}
