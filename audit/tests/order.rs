//! The order within an owner's groups, where they do not count as well: each names the one before it, few stand behind one that
//! never landed, and each stands where a checkpoint says.

#![expect(clippy::unwrap_used, reason = "tests of logs made here")]

mod written;

use serde::de::IgnoredAny;
use tidegate_audit::{Anchors, Damage, Doubt, Verifier, Wrong};
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_simulation::keys::stages;
use written::{Log, identity};

/// An owner's log with its first group; its epoch, and the group's hash.
fn begun() -> (Log, u64, String) {
    let mut log = Log::from(0);
    let epoch = log.claim();
    log.barrier(epoch);
    let hash = log.group(epoch, 0, "");
    (log, epoch, hash)
}

/// What is found of a whole log.
fn found(log: &Log, anchors: Anchors, dense: bool) -> Result<(u64, Option<Doubt>), Damage> {
    let mut verifier = Verifier::new(identity(), stages(), 0, anchors, dense).unwrap();
    for record in &log.records {
        verifier.meet::<IgnoredAny>(record)?;
    }
    Ok((verifier.counts().checkpoints, verifier.finish(0)?))
}

#[test]
fn a_group_that_does_not_count_names_the_one_before_it_as_well() {
    // Behind a newer barrier, and behind a group that never landed: a group (its offset), and the next of the same owner.
    let superseded = || {
        let (mut log, epoch, hash) = begun();
        let newer = log.claim();
        log.barrier(newer);
        (log, epoch, 1, 2, hash)
    };
    let behind_a_gap = || {
        let (mut log, epoch, _) = begun();
        let hash = log.group(epoch, 2, "of group 1");
        (log, epoch, 3, 3, hash)
    };
    for (mut log, epoch, sequence, at, hash) in [superseded(), behind_a_gap()] {
        let untouched = log.records.len();
        log.group(epoch, sequence, &hash);
        log.verified().unwrap();
        for other in ["", "of another"] {
            log.records.truncate(untouched);
            log.group(epoch, sequence, other);
            let damage = log.verified().unwrap_err();
            assert_eq!((damage.offset, damage.wrong), (at, Wrong::Edited), "`{other}`: {damage}");
        }
        // What the one before it was cannot be told when that is missing.
        log.records.truncate(untouched);
        log.group(epoch, sequence + 1, "of one that is not there");
        log.verified().unwrap();
    }
}

#[test]
fn only_what_was_on_its_way_with_it_stands_behind_a_group_that_never_landed() {
    for behind in 1..=12 {
        let (mut log, epoch, _) = begun();
        let mut previous = "of group 1".to_owned();
        for sequence in 2..2 + behind {
            previous = log.group(epoch, sequence, &previous);
        }
        match found(&log, Anchors::default(), true) {
            Ok((_, doubt)) => {
                assert!(behind <= 8, "{behind} groups");
                assert_eq!(doubt, Some(Doubt::OpenGap { offset: 3, epoch, expected: 1 }), "{behind} groups");
            }
            Err(damage) => {
                assert!(behind > 8, "{behind} groups: {damage}");
                assert_eq!((damage.offset, damage.wrong), (3, Wrong::Missing), "{damage}");
                assert!(damage.detail.contains("group 1 of epoch 1 was taken out"), "{damage}");
            }
        }
    }
}

#[test]
fn where_a_checkpoint_says_a_group_stands_there_is_none_but_further_on_even_if_it_is_the_same() {
    // In a log whose offsets have holes, so that only the checkpoint tells.
    for further in [0, 1, 5] {
        let (mut log, epoch, hash) = begun();
        let head = log.group(epoch, 1, &hash);
        let moved = log.records.last_mut().unwrap();
        let offset = moved.offset;
        moved.offset += further;
        let mut anchors = Anchors::default();
        let (sender, facts) = (identity().sender, identity().facts);
        let checkpoint = Checkpoint {
            v: 1,
            sender,
            facts,
            epoch,
            sequence: 1,
            offset,
            head,
            wall_ms: 0,
            key: None,
            signature: None,
        };
        assert!(anchors.add(&identity(), 0, checkpoint));
        assert_eq!(found(&log, Anchors::default(), false), Ok((0, None)), "without it nothing is wrong");
        match found(&log, anchors, false) {
            Ok(found) => assert_eq!((further, found), (0, (1, None))),
            Err(damage) => {
                assert!(further > 0, "{damage}");
                assert_eq!((damage.offset, damage.wrong), (offset, Wrong::Missing), "{damage}");
            }
        }
    }
}

#[test]
fn a_gap_of_the_owner_before_hides_none_of_the_next_owners() {
    for (behind, first_is_there) in [(0, true), (1, false), (8, false), (9, false), (20, false), (20, true)] {
        // One group of the first owner never landed; the next owner's first group would say so.
        let (mut log, epoch, head) = begun();
        log.group(epoch, 2, "of group 1");
        let next = log.claim();
        log.barrier(next);
        let at = log.end();
        let mut previous = if first_is_there { log.group(next, 0, &head) } else { "of group 0".to_owned() };
        for sequence in 1..=behind {
            previous = log.group(next, sequence, &previous);
        }
        let row = (behind, first_is_there);
        match found(&log, Anchors::default(), true) {
            Ok((_, doubt)) => {
                assert!(first_is_there || behind <= 8, "{row:?}");
                let open = Doubt::OpenGap { offset: 3, epoch, expected: 1 };
                assert_eq!(doubt, (!first_is_there).then_some(open), "{row:?}");
            }
            Err(damage) => {
                assert!(!first_is_there && behind > 8, "{row:?}: {damage}");
                assert_eq!((damage.offset, damage.wrong), (at, Wrong::Missing), "{damage}");
                assert!(damage.detail.contains(&format!("group 0 of epoch {next} was taken out")), "{damage}");
            }
        }
    }
}

#[test]
fn a_group_moved_behind_its_own_gap_is_missed_where_the_gap_begins() {
    for gap_before in [false, true] {
        let (mut log, epoch, head) = begun();
        if gap_before {
            log.group(epoch, 2, "of group 1");
        }
        let next = log.claim();
        log.barrier(next);
        let at = log.end();
        log.group(next, 1, "of group 0");
        log.group(next, 0, &head);
        let damage = log.verified().unwrap_err();
        assert_eq!((damage.offset, damage.wrong), (at, Wrong::Moved), "{gap_before}: {damage}");
    }
}
