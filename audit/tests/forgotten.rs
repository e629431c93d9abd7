//! Groups of former owners: right behind a newer barrier as long as their own barrier stands before them, and that is asked for
//! as far back as the verifier remembers, and no further.

#![expect(clippy::unwrap_used, reason = "tests of logs made here")]

mod written;

use serde::de::IgnoredAny;
use tidegate_audit::{Anchors, Damage, Met, Verifier, Wrong};
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_simulation::keys::stages;
use tidegate_stage::control::value_hash;
use written::{Log, identity};

/// More owners than a verifier remembers.
const MANY: u64 = 1_100;

/// A former owner that claimed, and what it wrote behind `between` later owners' barriers.
fn late_group(announced: bool, between: u64) -> Result<Vec<Met<IgnoredAny>>, Damage> {
    let mut log = Log::from(0);
    let former = log.claim();
    if announced {
        log.barrier(former);
    }
    for _ in 0..between {
        let epoch = log.claim();
        log.barrier(epoch);
    }
    log.group(former, 0, "");
    log.verified()
}

#[test]
fn a_former_owners_group_is_void_when_its_barrier_stands_before_it() {
    let met = late_group(true, 1).unwrap();
    assert!(matches!(met.last(), Some(Met::Void { epoch: 1, sequence: 0, .. })), "{met:?}");
}

#[test]
fn a_former_owners_group_whose_barrier_was_taken_out_is_damage() {
    // Nobody had to be forgotten for the last of these: 1,024 are remembered.
    for between in [1, 2, 1_023] {
        let damage = late_group(false, between).unwrap_err();
        let at = 2 * between + 1;
        assert_eq!((damage.offset, damage.wrong), (at, Wrong::Missing), "{damage}");
        assert!(damage.detail.contains("the barrier of epoch 1 is not before"), "{damage}");
    }
}

#[test]
fn what_the_verifier_has_forgotten_it_does_not_miss() {
    let met = late_group(true, MANY).unwrap();
    assert!(matches!(met.last(), Some(Met::Void { epoch: 1, .. })), "{:?}", met.last());
    // Of an owner that it must still know it asks for the barrier all the same.
    let mut log = Log::from(0);
    for _ in 0..MANY {
        let epoch = log.claim();
        log.barrier(epoch);
    }
    let former = log.claim();
    let epoch = log.claim();
    log.barrier(epoch);
    log.group(former, 0, "");
    let damage = log.verified().unwrap_err();
    assert_eq!((damage.offset, damage.wrong), (log.end() - 1, Wrong::Missing), "{damage}");
}

#[test]
fn a_barrier_before_the_checkpoint_that_verifying_begins_at_is_not_asked_for_and_one_behind_it_is() {
    // Records 0 to 9 are gone: a checkpoint speaks for the group at 9, of the owner that claimed at 5.
    let begin = |log: &Log| {
        let mut anchors = Anchors::default();
        anchors.add(
            &identity(),
            0,
            Checkpoint {
                v: 1,
                sender: identity().sender,
                facts: identity().facts,
                epoch: 6,
                sequence: 0,
                offset: 9,
                head: value_hash(b"the group there"),
                wall_ms: 0,
                key: None,
                signature: None,
            },
        );
        log.meet(Verifier::new(identity(), stages(), log.start, anchors, true).unwrap())
    };
    let mut log = Log::from(10);
    log.group(3, 0, "");
    let met = begin(&log).unwrap();
    assert!(matches!(&met[..], [Met::Void { epoch: 3, .. }]), "{met:?}");
    let mut log = Log::from(10);
    let former = log.claim();
    let epoch = log.claim();
    log.barrier(epoch);
    log.group(former, 0, "");
    let damage = begin(&log).unwrap_err();
    assert_eq!((damage.offset, damage.wrong), (13, Wrong::Missing), "{damage}");
}
