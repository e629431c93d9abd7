//! The tamper matrix: logs that the real runner wrote through crashes, takeovers and zombies (the simulation's relay
//! scenario), each kind of tampering at every record. It is always found, and the first bad record named right.
//!
//! `cargo test -p tidegate-audit --test tamper`; `TAMPER_SEED=n` draws other places.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests of logs made here")]
#![expect(clippy::disallowed_methods, reason = "a seed from the environment")]

mod tampering;

use std::ops::RangeInclusive;

use tampering::{Left, checkpoint_at, logs, renumbered, rogue, verifier, verifiers, verify_from};
use tidegate_audit::{Anchors, Doubt, Wrong};
use tidegate_protocol::address::Offset;
use tidegate_spine::{Headers, Record};

/// What a tampered log must be found to be.
struct Expected {
    at: RangeInclusive<Offset>,
    wrong: Option<&'static [Wrong]>,
    /// Whether that the log may be whole can be doubted at most.
    doubt: bool,
}

const fn exactly(at: Offset, wrong: &'static [Wrong]) -> Expected {
    Expected { at: at..=at, wrong: Some(wrong), doubt: false }
}

const fn within(from: Offset, to: Offset) -> Expected {
    Expected { at: from..=to, wrong: None, doubt: false }
}

/// Runs a kind of tampering at every record of every log. `tamper` gives the log as it is then, the first place touched,
/// and what must be found; `None` where it changes nothing that a log says.
fn matrix(
    kind: &str,
    checkpointed: bool,
    dense: bool,
    mut tamper: impl FnMut(&Left, usize, &mut fastrand::Rng) -> Option<(Vec<Record>, usize, Expected)>,
) {
    let seed = std::env::var("TAMPER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2_026);
    let mut chance = fastrand::Rng::with_seed(seed);
    let (mut tried, mut failed) = (0, Vec::new());
    for left in logs().iter().filter(|left| !dense || left.dense) {
        let anchors = || {
            let mut anchors = Anchors::default();
            if checkpointed {
                anchors.add(&left.identity, 0, checkpoint_at(left, left.last_valid()));
            }
            anchors
        };
        let prefixes = verifiers(left, anchors(), dense);
        for place in 0..left.records.len() {
            let Some((records, from, expected)) = tamper(left, place, &mut chance) else { continue };
            tried += 1;
            let end = left.end();
            let found = verify_from(prefixes[from].clone(), &records[from..], if dense { end } else { 0 });
            let right = match &found {
                Ok((_, doubt)) => expected.doubt && matches!(doubt, Some(Doubt::OpenGap { .. })),
                Err(damage) => {
                    expected.at.contains(&damage.offset)
                        && expected.wrong.is_none_or(|wrong| wrong.contains(&damage.wrong))
                }
            };
            if !right {
                failed.push(format!(
                    "{}: {kind} at record {place} (offset {}): expected {:?} {:?}, found {found:?}",
                    left.name, left.records[place].offset, expected.at, expected.wrong
                ));
            }
        }
    }
    assert!(tried > 100, "{kind}: tried at {tried} records only");
    assert!(
        failed.is_empty(),
        "{kind}: {} of {tried} (seed {seed}):\n{}",
        failed.len(),
        failed[..failed.len().min(20)].join("\n")
    );
}

fn with(records: &[Record], place: usize, record: Record) -> Vec<Record> {
    let mut records = records.to_vec();
    records[place] = record;
    records
}

#[test]
fn untouched_logs_verify() {
    let (mut void, mut groups) = (0, 0);
    for left in logs() {
        for (number, verifier) in verifiers(left, Anchors::default(), left.dense).into_iter().enumerate() {
            let verified = verify_from(verifier, &left.records[number..], 0);
            let (counts, doubt) = verified.unwrap_or_else(|damage| panic!("{}: {damage}", left.name));
            assert_eq!(doubt, None, "{}", left.name);
            assert_eq!(counts.records, left.records.len() as u64);
            if number == 0 {
                void += counts.void;
                groups += counts.groups;
            }
        }
    }
    assert!(void > 10 && groups > 500, "{groups} groups, {void} void: nothing of interest in these logs");
}

#[test]
fn any_byte_of_a_value() {
    matrix("edit of the value", false, false, |left, place, chance| {
        let mut record = left.records[place].clone();
        let mut value = record.value.clone().unwrap().to_vec();
        let at = chance.usize(..value.len());
        value[at] ^= 1 << chance.u8(..8);
        record.value = Some(value.into());
        let found = exactly(record.offset, &[Wrong::Edited, Wrong::Unsigned, Wrong::UnknownKey]);
        Some((with(&left.records, place, record), place, found))
    });
}

#[test]
fn any_byte_of_the_headers_or_the_key() {
    matrix("edit of headers", false, false, |left, place, chance| {
        let mut record = left.records[place].clone();
        let mut fields: Vec<(String, Vec<u8>)> =
            record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        match chance.usize(..4) {
            0 => record.key = Some(b"kernel.other/0".to_vec().into()),
            1 => drop(fields.remove(chance.usize(..fields.len()))),
            2 => {
                let field = fields[chance.usize(..fields.len())].clone();
                fields.push(field);
            }
            _ => {
                let number = chance.usize(..fields.len());
                let value = &mut fields[number].1;
                let at = chance.usize(..value.len());
                value[at] ^= 1 << chance.u8(..7);
            }
        }
        record.headers = fields.into_iter().collect::<Headers>();
        let found = exactly(record.offset, &[Wrong::Edited, Wrong::Foreign, Wrong::Unsigned]);
        Some((with(&left.records, place, record), place, found))
    });
}

#[test]
fn restamped_with_another_epoch_or_number() {
    matrix("restamp", false, false, |left, place, chance| {
        let mut record = left.records[place].clone();
        let epoch = left.records[chance.usize(..left.records.len())].headers.get("tg-epoch")?.clone();
        let own = record.headers.get("tg-epoch")?.clone();
        let text = String::from_utf8(record.value.clone()?.to_vec()).unwrap();
        let own_text = std::str::from_utf8(&own).unwrap();
        let changed = if own == epoch {
            let (from, rest) = text.split_once("\"sequence\":")?;
            format!("{from}\"sequence\":1{rest}")
        } else {
            let headers = record
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), if name == "tg-epoch" { epoch.clone() } else { value.clone() }));
            record.headers = headers.collect();
            text.replacen(
                &format!("\"epoch\":{own_text}"),
                &format!("\"epoch\":{}", std::str::from_utf8(&epoch).unwrap()),
                1,
            )
        };
        record.value = Some(changed.into());
        let found = exactly(record.offset, &[Wrong::Edited]);
        Some((with(&left.records, place, record), place, found))
    });
}

#[test]
fn a_record_of_another_partition_in_its_place() {
    matrix("record of another partition", false, false, |left, place, chance| {
        let others: Vec<&Left> = logs().iter().filter(|other| other.identity != left.identity).collect();
        let other = others[chance.usize(..others.len())];
        let mut record = other.records[place % other.records.len()].clone();
        record.offset = left.records[place].offset;
        // With and without its headers made to fit.
        if chance.bool() {
            let fit = |(name, value): (&str, &bytes::Bytes)| {
                let own = left.identity.sender.as_str().as_bytes().to_vec();
                (name.to_owned(), if name == "tg-sender" { own.into() } else { value.clone() })
            };
            record.headers = record.headers.iter().map(fit).collect();
            record.key = left.records[place].key.clone();
        }
        let found = exactly(record.offset, &[Wrong::Foreign, Wrong::Edited]);
        Some((with(&left.records, place, record), place, found))
    });
}

#[test]
fn deleted() {
    matrix("delete", true, true, |left, place, _| {
        let mut records = left.records.clone();
        let gone = records.remove(place).offset;
        Some((records, place, exactly(gone, &[Wrong::Missing, Wrong::CutTail])))
    });
}

#[test]
fn deleted_and_the_hole_closed() {
    matrix("delete and close up", true, false, |left, place, _| {
        let last = left.last_valid();
        if place > last {
            return None;
        }
        let mut records = left.records.clone();
        let gone = records.remove(place);
        let by = records.get(place).map_or(0, |next| next.offset - gone.offset);
        renumbered(&mut records[place..], |offset| offset - by);
        // Whoever takes the last one has cut the tail: the log ends at the one before.
        let from = if place == last { left.records[place - 1].offset } else { gone.offset };
        Some((records, place, within(from, left.records[last].offset)))
    });
}

#[test]
fn a_group_taken_out_without_a_checkpoint() {
    matrix("delete a group", false, false, |left, place, _| {
        // The last group of a log can only be missed by who has a checkpoint.
        if !left.is_valid(place) || place == left.last_valid() {
            return None;
        }
        let mut records = left.records.clone();
        let gone = records.remove(place).offset;
        let next = (place + 1..).find(|next| left.is_valid(*next)).unwrap();
        // Of the last owner's groups it may be one that never landed, until the next owner says what it found.
        let doubt = left.are_of_one_owner(place, left.last_valid());
        Some((records, place, Expected { doubt, ..within(gone + 1, left.records[next].offset) }))
    });
}

#[test]
fn swapped_with_its_neighbour() {
    matrix("swap of neighbours", false, false, |left, place, _| {
        let next = (place + 1..left.records.len()).find(|next| left.matters(*next))?;
        left.matters(place).then(|| swapped(left, place, next))
    });
}

#[test]
fn swapped_with_any_other() {
    matrix("swap", false, false, |left, place, chance| {
        let other = chance.usize(..left.records.len());
        let (one, two) = (place.min(other), place.max(other));
        (one != two && left.matters(one) && left.matters(two)).then(|| swapped(left, one, two))
    });
}

fn swapped(left: &Left, one: usize, two: usize) -> (Vec<Record>, usize, Expected) {
    let mut records = left.records.clone();
    records.swap(one, two);
    let (first, last) = (left.records[one].offset, left.records[two].offset);
    (records[one].offset, records[two].offset) = (first, last);
    // A group that comes to stand behind the barrier of the next owner is missed by the first group that owner writes, which
    // names the head it found.
    let behind = left.is_valid(one) && !left.is_valid(two);
    let next = (two + 1..left.records.len()).find(|next| behind && left.is_valid(*next));
    (records, one, within(first, next.map_or(last, |next| left.records[next].offset)))
}

#[test]
fn written_again_further_on() {
    matrix("copy", false, false, |left, place, chance| {
        let mut records = left.records.clone();
        let to = chance.usize(place + 1..=records.len());
        let mut copy = records[place].clone();
        copy.offset = records[to - 1].offset + 1;
        let at = copy.offset;
        renumbered(&mut records[to..], |offset| offset + 1);
        records.insert(to, copy);
        let found = if left.matters(place) {
            exactly(at, &[Wrong::WrittenAgain, Wrong::Moved])
        } else {
            within(left.records[place].offset, at)
        };
        Some((records, place, found))
    });
}

#[test]
fn cut_behind_any_record() {
    matrix("cut tail", true, false, |left, place, _| {
        (place <= left.last_valid()).then(|| {
            let at = place.checked_sub(1).map_or(0, |last| left.records[last].offset + 1);
            (left.records[..place].to_vec(), place, exactly(at, &[Wrong::CutTail]))
        })
    });
}

#[test]
fn forged_control_records_anywhere() {
    matrix("forgery", false, false, |left, place, chance| {
        let mut records = left.records.clone();
        let (mut record, wrong) = rogue(left, chance);
        record.offset = records[place].offset;
        let at = record.offset;
        renumbered(&mut records[place..], |offset| offset + 1);
        records.insert(place, record);
        Some((records, place, exactly(at, wrong)))
    });
}

#[test]
fn another_history_of_the_same_shard() {
    let mut found = 0;
    for left in logs() {
        for other in logs().iter().filter(|other| other.identity == left.identity && other.name != left.name) {
            let mut anchors = Anchors::default();
            anchors.add(&left.identity, 0, checkpoint_at(other, other.last_valid()));
            let damage = verify_from(verifier(left, anchors, false), &left.records, 0).unwrap_err();
            let expected = [Wrong::OtherHistory, Wrong::CutTail, Wrong::Missing];
            assert!(expected.contains(&damage.wrong), "{} for {}: {damage}", left.name, other.name);
            found += 1;
        }
    }
    assert!(found > 10);
}
