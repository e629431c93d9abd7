//! Finding the rules that match, by intersecting rows of an index.

use super::derive::Outcome;
use super::scratch::{Match, Selection};
use crate::compile::{Index, Row, Rows, Single, bits};
use crate::subject::{Subject, present};

/// What the index cannot tell of a rule.
pub(super) trait Rest {
    /// The rule in a slot, if all the rest of it holds; `doubtful` where what the index knows of it cannot be told.
    fn check(&mut self, slot: usize, doubtful: bool) -> Option<Match>;
}

/// Fills `found` with all matching rules, in no order. `selection.globs` must be filled.
pub(super) fn select(
    index: &Index,
    subject: &Subject<'_>,
    tags: &[Outcome],
    selection: &mut Selection,
    rest: &mut impl Rest,
) {
    let Selection { picks, ends, labelled, unsure, untold, told, found, .. } = selection;
    [picks, labelled, unsure, untold, told].into_iter().for_each(Vec::clear);
    ends.clear();
    found.clear();
    single(&index.tenant, present(subject.tenant), selection);
    single(&index.capability, present(subject.capability), selection);
    topic(index, subject, selection);
    tagged(index, subject, tags, selection);
    single(&index.actor_id, subject.actor_id.and_then(present), selection);
    single(&index.actor_type, subject.actor_type.and_then(present), selection);
    single(&index.pack_id, subject.pack_id.and_then(present), selection);
    requires(index, subject, selection);
    let labels_at = labels(index, subject, selection);
    intersect(index, selection, labels_at, rest);
}

fn close(selection: &mut Selection) {
    selection.ends.push(selection.picks.len());
}

fn single(attribute: &Single, value: Option<&str>, selection: &mut Selection) {
    if attribute.idle {
        return;
    }
    selection.picks.push(attribute.any);
    match value {
        Some(value) => selection.picks.extend(attribute.values.get(value)),
        None => {
            selection.picks.push(attribute.missing);
            selection.unsure.push(attribute.missing);
        }
    }
    close(selection);
}

fn topic(index: &Index, subject: &Subject<'_>, selection: &mut Selection) {
    let topics = &index.topic;
    if topics.idle {
        return;
    }
    let Selection { picks, globs, unsure, .. } = selection;
    picks.push(topics.any);
    if present(subject.topic).is_none() {
        picks.push(topics.missing);
        unsure.push(topics.missing);
    }
    let rows = globs.iter().filter_map(|&glob| topics.globs.get(glob as usize)).filter_map(|glob| glob.rules);
    picks.extend(rows);
    close(selection);
}

fn tagged(index: &Index, subject: &Subject<'_>, states: &[Outcome], selection: &mut Selection) {
    let tags = &index.tags;
    if tags.idle {
        return;
    }
    let Selection { picks, untold, told, .. } = selection;
    let start = picks.len();
    picks.push(tags.any);
    for (&(certain, _), state) in tags.derived.iter().zip(states) {
        if *state == Outcome::Present {
            picks.push(certain);
        }
    }
    if !tags.claimed.is_empty() {
        subject.risk_tags.each(&mut |tag| picks.extend(tags.claimed.get(tag)));
    }
    told.extend(picks.get(start..).unwrap_or_default());
    for (&(_, unsure), state) in tags.derived.iter().zip(states) {
        if *state == Outcome::Uncertain {
            picks.push(unsure);
            untold.push(unsure);
        }
    }
    close(selection);
}

fn requires(index: &Index, subject: &Subject<'_>, selection: &mut Selection) {
    let requires = &index.requires;
    if requires.idle {
        return;
    }
    selection.picks.push(requires.any);
    subject.requires.each(&mut |name| selection.picks.extend(requires.first.get(name)));
    close(selection);
}

/// Returns which attribute, counted from 0, is the labels: the one that also has exceptions.
fn labels(index: &Index, subject: &Subject<'_>, selection: &mut Selection) -> Option<usize> {
    let labels = &index.labels;
    if labels.idle {
        return None;
    }
    let Selection { picks, labelled, .. } = selection;
    picks.push(labels.any);
    subject.labels.each(&mut |key, value| {
        if let Some(key) = labels.keys.get(key) {
            labelled.push(key.restrictions);
            picks.extend(key.values.get(value));
        }
    });
    close(selection);
    Some(selection.ends.len() - 1)
}

fn intersect(index: &Index, selection: &mut Selection, labels_at: Option<usize>, rest: &mut impl Rest) {
    let Selection { picks, ends, labelled, unsure, untold, told, heads, found, .. } = selection;
    let (rows, all) = (&index.rows, index.all);
    let unlabelled = labels_at.map(|_| index.labels.restrictions);
    for group in 0..all.groups() {
        heads.clear();
        heads.extend(picks.iter().map(|&row| rows.head(row, group)));
        let mut words = rows.summary(all, group);
        for (at, picked) in attributes(heads, ends) {
            let mut accepted = picked.iter().fold(0, |union, head| union | head.summary);
            if labels_at == Some(at) {
                accepted |= unlabelled.map_or(0, |row| rows.summary(row, group));
            }
            words &= accepted;
            if words == 0 {
                break;
            }
        }
        for bit in bits(words) {
            let at = group * 64 + bit as usize;
            // Every attribute accepts only rules there are; without any, all rules are accepted.
            let mut rules = if ends.is_empty() { rows.word(all, at) } else { u64::MAX };
            // Rules whose first label key the subject does not have.
            let mut keyless = 0;
            for (attribute, picked) in attributes(heads, ends) {
                let mut accepted = picked.iter().fold(0, |union, &head| union | rows.word_of(head, bit));
                if labels_at == Some(attribute) {
                    let has_key = union(rows, labelled, at);
                    keyless = unlabelled.map_or(0, |row| rows.word(row, at)) & !has_key;
                    accepted |= keyless;
                }
                rules &= accepted;
                if rules == 0 {
                    break;
                }
            }
            if rules == 0 {
                continue;
            }
            let mut doubtful = keyless | union(rows, unsure, at);
            if !untold.is_empty() {
                doubtful |= union(rows, untold, at) & !union(rows, told, at);
            }
            for rule in bits(rules) {
                found.extend(rest.check(at * 64 + rule as usize, doubtful >> rule & 1 == 1));
            }
        }
    }
}

/// The rows of each attribute, numbered.
#[inline]
fn attributes<'s, T>(picks: &'s [T], ends: &'s [usize]) -> impl Iterator<Item = (usize, &'s [T])> {
    let mut start = 0;
    ends.iter().enumerate().map(move |(at, &end)| {
        let picked = picks.get(start..end).unwrap_or_default();
        start = end;
        (at, picked)
    })
}

#[inline]
fn union(rows: &Rows, picked: &[Row], at: usize) -> u64 {
    picked.iter().fold(0, |union, &row| union | rows.word(row, at))
}
