//! Reading a facts log as `models/takeover.py` does: which groups count.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{FactRecord, Group};
use tidegate_protocol::headers;

use crate::spine::Stored;

/// A group that counts.
#[derive(Debug)]
pub struct ValidGroup<F> {
    /// Where it stands.
    pub offset: Offset,
    /// Number of its landing over all logs.
    pub number: u64,
    /// What it says.
    pub group: Group<FactRecord<F>>,
    /// The inputs that its numbers mean.
    pub inputs: Vec<TopicPartition>,
}

/// A fact that counts.
#[derive(Debug)]
pub struct ValidFact<'a, F> {
    /// Offset of its group.
    pub group: Offset,
    /// Number of the group's landing.
    pub number: u64,
    /// Its number in the group.
    pub index: u64,
    /// The record it settles.
    pub settles: Option<(TopicPartition, Offset)>,
    /// The fact with its time.
    pub record: &'a FactRecord<F>,
}

/// All groups that count, in order (`valid` of the model): no barrier of a higher epoch stands before it, and its
/// sequence number is the next of its epoch.
///
/// # Panics
/// When a group cannot be read: only the runner writes them.
#[must_use]
pub fn valid<F: DeserializeOwned>(log: &[Stored], sender: &str) -> Vec<ValidGroup<F>> {
    let mut highest = 0_u64;
    let mut following: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    let mut inputs: BTreeMap<u64, Vec<TopicPartition>> = BTreeMap::new();
    let mut kept = Vec::new();
    for stored in log.iter().filter(|stored| !stored.is_forged()) {
        let header = |name| stored.record.headers.text(name);
        if header(headers::SENDER) != Some(sender) {
            continue;
        }
        let epoch: u64 = header(headers::EPOCH).and_then(|e| e.parse().ok()).unwrap_or(0);
        match header(headers::KIND) {
            Some("barrier") => highest = highest.max(epoch),
            Some("group") if epoch >= highest => {
                let value = stored.record.value.as_deref().unwrap_or_default();
                let group: Group<FactRecord<F>> = serde_json::from_slice(value).unwrap();
                if *following.entry(epoch).or_insert(Some(0)) != Some(group.sequence) {
                    following.insert(epoch, None);
                    continue;
                }
                following.insert(epoch, Some(group.sequence + 1));
                if !group.inputs.is_empty() {
                    inputs.insert(epoch, group.inputs.clone());
                }
                let inputs = inputs.get(&epoch).cloned().unwrap_or_default();
                kept.push(ValidGroup { offset: stored.record.offset, number: stored.number, group, inputs });
            }
            _ => {}
        }
    }
    kept
}

/// All facts of those groups.
pub fn facts<F>(groups: &[ValidGroup<F>]) -> impl Iterator<Item = ValidFact<'_, F>> {
    groups.iter().flat_map(|valid| {
        (0..).zip(&valid.group.facts).map(|(index, record)| {
            let settles = record.settles.map(|(input, offset)| (valid.inputs[input as usize].clone(), offset));
            ValidFact { group: valid.offset, number: valid.number, index, settles, record }
        })
    })
}

/// The position and the settled offsets above it that valid groups up to each one have recorded, per input.
#[derive(Debug, Default, Clone)]
pub struct Recorded {
    /// Everything below is done.
    pub position: Offset,
    /// Done as well: `[from, to)`.
    pub settled: Vec<(Offset, Offset)>,
}

impl Recorded {
    /// Whether the record there counts as done.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        offset < self.position || self.settled.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// What valid groups say was lost of an input and given up: the group, `[from, to)`.
pub fn lost<'a, F>(groups: &'a [ValidGroup<F>], of: &TopicPartition) -> Vec<(&'a ValidGroup<F>, Offset, Offset)> {
    let of_it = |valid: &&ValidGroup<F>, input: u32| valid.inputs.get(input as usize) == Some(of);
    groups
        .iter()
        .flat_map(|valid| valid.group.lost.iter().map(move |lost| (valid, lost)))
        .filter(|(valid, lost)| of_it(valid, lost.input))
        .map(|(valid, lost)| (valid, lost.from, lost.to))
        .collect()
}

/// What valid groups recorded of their inputs, after each group in turn.
pub fn places<F>(groups: &[ValidGroup<F>], mut after: impl FnMut(&ValidGroup<F>, &BTreeMap<TopicPartition, Recorded>)) {
    let mut known: BTreeMap<TopicPartition, Recorded> = BTreeMap::new();
    for valid in groups {
        for place in &valid.group.places {
            let recorded = known.entry(valid.inputs[place.input as usize].clone()).or_default();
            recorded.position = recorded.position.max(place.position);
            recorded.settled.extend(place.settled.iter().copied());
            recorded.settled.retain(|(_, to)| *to > place.position);
        }
        after(valid, &known);
    }
}
