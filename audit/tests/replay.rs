//! The verifier counts the groups that an owner's replay counts, and those that the simulation's judge counts by its own
//! reading of the protocol; and it finds nothing wrong with what crashes, zombies and lost appends leave behind.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests of logs made here")]

use serde::de::IgnoredAny;
use tidegate_audit::{Anchors, LogIdentity, Met, Verifier};
use tidegate_protocol::address::Offset;
use tidegate_simulation::keys::stages;
use tidegate_simulation::ledger::facts::valid;
use tidegate_simulation::relay::scenario::{FactsLeft, facts_left};
use tidegate_simulation::spine::Stored;
use tidegate_stage::Rules;
use tidegate_stage::facts::{FactsLog, Met as Found, Void};

#[test]
fn what_counts_is_what_owners_and_the_naive_reading_count() {
    let (mut superseded, mut lost, mut takeovers, mut groups, mut checkpoints) = (0, 0, 0, 0, 0);
    for seed in (0..150).map(|number| 1_000 + number * 2) {
        for left in facts_left(seed) {
            let name = format!("seed {seed}, {}", left.sender);
            let identity = LogIdentity { sender: left.sender.clone(), facts: left.facts.clone() };
            let mut verifier = Verifier::new(identity, stages(), 0, Anchors::default(), false).unwrap();
            let mut log = FactsLog::new(left.sender.clone(), left.facts.clone(), stages(), Rules::default());
            let (mut verified, mut replayed): (Vec<Offset>, Vec<Offset>) = (Vec::new(), Vec::new());
            for record in &left.records {
                if let Found::Group(_) = log.meet::<IgnoredAny>(record, 0).unwrap() {
                    replayed.push(record.offset);
                }
                match verifier.meet::<IgnoredAny>(record).unwrap_or_else(|damage| panic!("{name}: {damage}")) {
                    Met::Group(_) => verified.push(record.offset),
                    Met::Void { why: Void::Superseded, .. } => superseded += 1,
                    Met::Void { .. } => lost += 1,
                    Met::Before | Met::Mark => {}
                }
            }
            let stored =
                (0..).zip(&left.records).map(|(number, record)| Stored { record: record.clone(), number, at: 0 });
            let stored: Vec<Stored> = stored.collect();
            let naive: Vec<Offset> =
                valid::<serde_json::Value>(&stored, left.sender.as_str()).iter().map(|group| group.offset).collect();
            assert_eq!(verified, replayed, "{name}");
            assert_eq!(verified, naive, "{name}");
            assert_eq!(verifier.finish(0), Ok(None), "{name}");
            checkpoints += from_checkpoints(&name, &left, &replayed);
            takeovers += verifier.counts().barriers;
            groups += verifier.counts().groups;
        }
    }
    assert!(
        superseded > 30 && lost > 5 && takeovers > 900 && checkpoints > 1_000,
        "{groups} groups, {takeovers} takeovers, {superseded} groups of zombies, {lost} behind a lost one, {checkpoints} checkpoints: nothing of interest"
    );
}

/// No owner's checkpoint says more than what counts, and from each of them the rest counts as it does from the start.
fn from_checkpoints(name: &str, left: &FactsLeft, valid: &[Offset]) -> usize {
    let identity = LogIdentity { sender: left.sender.clone(), facts: left.facts.clone() };
    for (number, checkpoint) in left.checkpoints.iter().enumerate() {
        // With the group itself still there, and with all up to it gone.
        for start in [checkpoint.offset, checkpoint.offset + 1] {
            let mut anchors = Anchors::default();
            for further in &left.checkpoints[number..] {
                anchors.add(&identity, start, further.clone());
            }
            let first = anchors.first().unwrap().offset;
            let start = start.max(1);
            let mut verifier = Verifier::new(identity.clone(), stages(), start, anchors, false).unwrap();
            let mut verified = Vec::new();
            for record in left.records.iter().filter(|record| record.offset >= start) {
                match verifier
                    .meet::<IgnoredAny>(record)
                    .unwrap_or_else(|damage| panic!("{name} from {start}: {damage}"))
                {
                    Met::Group(_) => verified.push(record.offset),
                    Met::Before | Met::Mark | Met::Void { .. } => {}
                }
            }
            assert_eq!(verifier.finish(0), Ok(None), "{name} from {start}");
            let rest: Vec<Offset> = valid.iter().copied().filter(|at| *at >= start && *at >= first).collect();
            assert_eq!(verified, rest, "{name} from {start}");
        }
    }
    left.checkpoints.len()
}
