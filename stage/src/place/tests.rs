//! One place and one owner after the other.

use tidegate_spine::Headers;

use super::*;

fn record(offset: Offset) -> Record {
    Record { offset, timestamp_ms: 0, key: None, value: None, headers: Headers::new() }
}

#[test]
fn the_position_is_the_lowest_open_offset_and_what_is_settled_above_it_is_skipped_after_a_takeover() {
    let mut place = InputPlace::new(false, Rules::default());
    for offset in [0, 1, 4, 5, 9] {
        assert_eq!(place.meet(&record(offset), Ok(())), Admission::Deliver(None));
    }
    for offset in [0, 4, 9] {
        place.settle(offset);
    }
    let recorded = place.record(0).unwrap();
    assert_eq!((recorded.position, recorded.settled), (1, vec![(2, 5), (6, 10)]));
    assert_eq!(place.record(0), None, "nothing changed since");

    let mut next = InputPlace::new(false, Rules::default());
    next.fold(&Place { position: 1, settled: vec![(4, 5), (9, 10)], ..Place::default() });
    assert_eq!(next.begin(), Some(1));
    let delivered: Vec<_> =
        [1, 4, 5, 9, 10].into_iter().filter(|o| next.meet(&record(*o), Ok(())) == Admission::Deliver(None)).collect();
    assert_eq!(delivered, [1, 5, 10]);
}

#[test]
fn a_record_that_is_decided_before_it_is_read_again_is_not_decided_twice() {
    let mut place = InputPlace::new(false, Rules::default());
    place.fold(&Place { position: 3, ..Place::default() });
    assert_eq!(place.begin(), Some(3));
    for offset in [3, 4] {
        place.decided(offset);
    }
    place.settle(4);
    let delivered: Vec<_> =
        [3, 4, 5].into_iter().filter(|o| place.meet(&record(*o), Ok(())) == Admission::Deliver(None)).collect();
    assert_eq!((delivered, place.position()), (vec![5], 3));
    place.settle(3);
    assert_eq!(place.position(), 5);
}

#[test]
fn an_owner_before_has_read_up_to_the_last_of_what_it_settled_or_decided() {
    let mut place = InputPlace::new(false, Rules::default());
    place.fold(&Place { position: 3, settled: vec![(4, 5), (7, 9)], ..Place::default() });
    assert_eq!((place.begin(), place.read_before()), (Some(3), 9));
    place.decided(12);
    assert_eq!(place.read_before(), 13);
    let mut place = InputPlace::new(false, Rules::default());
    place.fold(&Place { position: 3, ..Place::default() });
    assert_eq!((place.begin(), place.read_before()), (Some(3), 3), "nothing is to be read again");
}

#[test]
fn a_group_that_says_less_than_the_snapshot_before_it_does_not_take_marks_back() {
    let sender = tidegate_protocol::ids::SenderId::new("kernel.raw/0").unwrap();
    let mark = |fence| SenderMark { sender: sender.clone(), fence, next: Some(0), last: None, rejoins: false };
    let mut place = InputPlace::new(true, Rules::default());
    place.fold(&Place { position: 10, senders: vec![mark(33)], ..Place::default() });
    place.fold(&Place { position: 3, settled: vec![(12, 13)], senders: vec![mark(9)], ..Place::default() });
    assert_eq!(place.begin(), Some(10));
    assert_eq!(place.marks().senders(), [mark(33)]);
    assert!(place.done.contains(12), "what it settled above still counts");
}

#[test]
fn what_is_not_genuine_moves_no_mark_makes_no_sender_known_and_is_told_once() {
    let sender = tidegate_protocol::ids::SenderId::new("kernel.raw/0").unwrap();
    let mark = SenderMark { sender, fence: 5, next: Some(3), last: Some((7, 0)), rejoins: false };
    let start = |settled| {
        let mut place = InputPlace::new(true, Rules::default());
        place.fold(&Place { position: 10, settled, senders: vec![mark.clone()], ..Place::default() });
        place.begin();
        place
    };
    let message = |sender: &'static str, epoch: &'static str, stamp: &'static str| {
        let headers = [("tg-sender", sender), ("tg-epoch", epoch), ("tg-stamp", stamp)];
        Record { headers: Headers::from_iter(headers), ..record(10) }
    };
    let forged = Refused::Distrusted(tidegate_protocol::signature::Distrust::BadSignature);
    let fence = Record {
        headers: Headers::from_iter([("tg-sender", "kernel.raw/0"), ("tg-epoch", "9"), ("tg-kind", "fence")]),
        ..record(10)
    };
    for record in [message("kernel.raw/0", "5", "3 8 0"), message("kernel.raw/7", "1", "0 1 0"), fence.clone()] {
        let mut place = start(vec![]);
        assert_eq!(place.meet(&record, Err(forged)), Admission::Refuse(Drop::Refused(forged)));
        assert_eq!(place.marks().senders(), std::slice::from_ref(&mark));
        place.settle(10);
        assert_eq!((place.position(), place.record(0).map(|p| p.senders.len())), (11, Some(0)));
        assert_eq!(start(vec![(10, 11)]).meet(&record, Err(forged)), Admission::Skip, "told before");
    }
    let mut place = start(vec![]);
    assert_eq!(place.meet(&message("kernel.raw/0", "5", "2 9 0"), Ok(())), Admission::Refuse(Drop::Replayed));
    assert_eq!(place.marks().senders(), std::slice::from_ref(&mark), "somebody's copy opens no gap");
    assert_eq!(place.meet(&message("kernel.raw/0", "4", "9 9 0"), Ok(())), Admission::Refuse(Drop::BelowFence));
    assert_eq!(place.meet(&fence, Ok(())), Admission::Skip);
    assert_eq!(place.marks().senders().first().map(|mark| mark.fence), Some(9));
}

#[test]
fn a_place_is_recorded_once_before_anything_was_settled_and_again_where_reading_goes_on_behind_a_loss() {
    let mut place = InputPlace::new(true, Rules::default());
    assert_eq!(place.begin(), None);
    place.begin_at_log_start(0);
    let first = place.record(0).unwrap();
    assert_eq!((first.position, first.late, place.record(0)), (0, false, None));

    let mut next = InputPlace::new(true, Rules::default());
    next.fold(&first);
    assert_eq!(next.begin(), Some(0), "a log that begins higher has lost something");
    next.lose(7);
    let behind = next.record(0).unwrap();
    assert_eq!((behind.position, behind.late, next.head()), (7, true, 7));

    let mut last = InputPlace::new(true, Rules::default());
    last.fold(&behind);
    assert!((last.begin(), last.record(0)) == (Some(7), None) && last.marks().is_late());
}

#[test]
fn what_is_about_to_leave_needs_not_make_way() {
    let mut place = InputPlace::new(false, Rules::default());
    for offset in 0..20 {
        place.meet(&record(offset), Ok(()));
    }
    for offset in (1..20).step_by(2) {
        place.settle(offset);
    }
    assert_eq!((place.excess(30, 9), place.excess(30, 3), place.excess(14, 9)), (1, 7, 4));
    place.decided(0);
    assert_eq!((place.excess(30, 9), place.excess(30, 3), place.excess(14, 9)), (0, 6, 3));
    assert_eq!(place.staying().next(), Some(2));
}

#[test]
fn what_has_no_record_makes_no_range_of_its_own() {
    let mut place = InputPlace::new(false, Rules::default());
    for offset in [0, 2, 3, 7, 9, 11] {
        place.meet(&record(offset), Ok(()));
    }
    assert_eq!((place.waiting(), place.excess(30, 0)), (6, 0), "gaps alone");
    place.settle(3);
    place.settle(7);
    let whole = place.whole(0, []);
    assert_eq!((whole.position, whole.settled, place.excess(30, 0)), (0, vec![(3, 9)], 1));
    place.settle(11);
    let recorded = place.record(0).unwrap();
    assert_eq!((recorded.position, recorded.settled), (0, vec![(3, 9), (10, 12)]));
}

#[test]
fn a_whole_place_counts_what_is_on_its_way_as_settled() {
    let mut place = InputPlace::new(false, Rules::default());
    for offset in 0..6 {
        place.meet(&record(offset), Ok(()));
    }
    place.settle(0);
    let whole = place.whole(0, [1, 4]);
    assert_eq!((whole.position, whole.settled), (2, vec![(4, 5)]));
    assert_eq!(place.position(), 1, "the place itself is unchanged");
}
