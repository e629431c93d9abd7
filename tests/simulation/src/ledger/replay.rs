//! Replay from the log's start against every snapshot ever written (I7).

use std::collections::BTreeMap;

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::{SnapshotBody, SnapshotChunk};
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Stage;

use super::facts::ValidGroup;
use super::verdicts::{Invariant, Verdicts};
use crate::spine::Stored;

/// Every complete snapshot of a sender that ever landed: offset and body.
#[must_use]
pub fn written(log: &[Stored], sender: &str) -> Vec<(Offset, SnapshotBody)> {
    let mut sets: BTreeMap<(Offset, u64), BTreeMap<u32, String>> = BTreeMap::new();
    let mut complete = Vec::new();
    for stored in log {
        let Some(value) = &stored.record.value else { continue };
        let Ok(chunk) = serde_json::from_slice::<SnapshotChunk>(value) else { continue };
        if chunk.sender.as_str() != sender {
            continue;
        }
        let set = sets.entry((chunk.offset, chunk.epoch)).or_default();
        set.insert(chunk.chunk, chunk.text);
        if set.len() == chunk.of as usize {
            let text: String = std::mem::take(set).into_values().collect();
            complete.push((chunk.offset, serde_json::from_str(&text).unwrap()));
        }
    }
    complete
}

/// Replays all valid facts on a fresh stage; every snapshot must equal the state after the valid group at its offset,
/// and lead to the same state in the end.
pub fn check<S: Stage>(
    snapshots: &[Stored],
    sender: &str,
    groups: &[ValidGroup<S::Fact>],
    make: &dyn Fn() -> S,
    verdicts: &mut Verdicts,
) -> usize {
    let written = written(snapshots, sender);
    let mut stage = make();
    let mut states: BTreeMap<Offset, (String, Timestamp)> = BTreeMap::new();
    let mut at = Timestamp::default();
    for valid in groups {
        for fact in &valid.group.facts {
            stage.apply(&fact.fact, fact.at);
            at = fact.at;
        }
        if written.iter().any(|(offset, _)| *offset == valid.offset) {
            states.insert(valid.offset, (stage.snapshot().unwrap(), at));
        }
    }
    let end = stage.snapshot().unwrap();
    for (offset, body) in &written {
        let Some((state, at)) = states.get(offset) else {
            verdicts
                .broken(Invariant::I7, || format!("{sender}: a snapshot stands at {offset}, where no valid group is"));
            continue;
        };
        verdicts.must(body.state.get() == state, Invariant::I7, || {
            format!("{sender}: snapshot at {offset} says {} but replay gives {state}", body.state.get())
        });
        // Its next owner goes on from there: with an earlier time, `at` would go back.
        verdicts.must(body.at == *at, Invariant::I7, || {
            format!("{sender}: snapshot at {offset} says that it is {:?}, the last fact is of {at:?}", body.at)
        });
        let mut restored = make();
        if restored.restore(body.state.get()).is_err() {
            verdicts.broken(Invariant::I7, || format!("{sender}: snapshot at {offset} cannot be restored"));
            continue;
        }
        for fact in groups.iter().filter(|g| g.offset > *offset).flat_map(|g| &g.group.facts) {
            restored.apply(&fact.fact, fact.at);
        }
        let then = restored.snapshot().unwrap();
        verdicts.must(then == end, Invariant::I7, || {
            format!("{sender}: snapshot at {offset} and the groups after it give {then}, replay from the start {end}")
        });
    }
    written.len()
}
