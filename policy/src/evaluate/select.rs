//! Finding the rules that match, by intersecting rows of the index.

use super::Scratch;
use super::derive::Outcome;
use crate::compile::{Index, Row, RowId, Single, Snapshot, bits};
use crate::effect::restricts;
use crate::language::Rule;
use crate::subject::{Subject, present};

/// Fills `scratch.survivors` with the places of all matching rules, ascending.
pub(super) fn select(snapshot: &Snapshot, subject: &Subject<'_>, scratch: &mut Scratch) {
    let index = &snapshot.index;
    scratch.picks.clear();
    scratch.ends.clear();
    scratch.labelled.clear();
    scratch.survivors.clear();

    single(&index.tenant, present(subject.tenant), scratch);
    single(&index.capability, present(subject.capability), scratch);
    topic(index, subject, scratch);
    tags(index, subject, scratch);
    single(&index.actor_id, subject.actor_id.and_then(present), scratch);
    single(&index.actor_type, subject.actor_type.and_then(present), scratch);
    requires(index, subject, scratch);
    let labels_at = labels(index, subject, scratch);
    intersect(snapshot, subject, scratch, labels_at);
}

fn close(scratch: &mut Scratch) {
    scratch.ends.push(scratch.picks.len());
}

fn single(attribute: &Single, value: Option<&str>, scratch: &mut Scratch) {
    if attribute.idle {
        return;
    }
    scratch.picks.push(attribute.any);
    match value {
        Some(value) => scratch.picks.extend(attribute.values.get(value)),
        None => scratch.picks.push(attribute.missing),
    }
    close(scratch);
}

fn topic(index: &Index, subject: &Subject<'_>, scratch: &mut Scratch) {
    let topics = &index.topic;
    if topics.idle {
        return;
    }
    scratch.picks.push(topics.any);
    if present(subject.topic).is_none() {
        scratch.picks.push(topics.missing);
    }
    let rows = scratch.globs.iter().filter_map(|&glob| topics.globs.get(glob as usize)).filter_map(|glob| glob.rules);
    scratch.picks.extend(rows);
    close(scratch);
}

fn tags(index: &Index, subject: &Subject<'_>, scratch: &mut Scratch) {
    let tags = &index.tags;
    if tags.idle {
        return;
    }
    let Scratch { picks, tags: states, .. } = scratch;
    picks.push(tags.any);
    for (&(certain, restrictions), state) in tags.derived.iter().zip(states.iter()) {
        match state {
            Outcome::Absent => {}
            Outcome::Uncertain => picks.push(restrictions),
            Outcome::Present => picks.push(certain),
        }
    }
    if !tags.claimed.is_empty() {
        subject.risk_tags.each(&mut |tag| picks.extend(tags.claimed.get(tag)));
    }
    close(scratch);
}

fn requires(index: &Index, subject: &Subject<'_>, scratch: &mut Scratch) {
    let requires = &index.requires;
    if requires.idle {
        return;
    }
    scratch.picks.push(requires.any);
    subject.requires.each(&mut |name| scratch.picks.extend(requires.first.get(name)));
    close(scratch);
}

/// Returns which attribute, counted from 0, is the labels: the one that also has exceptions.
fn labels(index: &Index, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<usize> {
    let labels = &index.labels;
    if labels.idle {
        return None;
    }
    let Scratch { picks, labelled, .. } = scratch;
    picks.push(labels.any);
    subject.labels.each(&mut |key, value| {
        if let Some(key) = labels.keys.get(key) {
            labelled.push(key.restrictions);
            picks.extend(key.values.get(value));
        }
    });
    close(scratch);
    Some(scratch.ends.len() - 1)
}

fn intersect(snapshot: &Snapshot, subject: &Subject<'_>, scratch: &mut Scratch, labels_at: Option<usize>) {
    let index = &snapshot.index;
    let Scratch { picks, ends, labelled, survivors, .. } = scratch;
    let Some(all) = index.row(index.all) else { return };
    let exact = index.row(index.exact);
    let unlabelled = index.row(index.labels.restrictions);
    for group in 0..all.groups() {
        let mut words = all.summary(group);
        for (at, rows) in attributes(picks, ends) {
            let mut accepted = union(index, rows, |row| row.summary(group));
            if labels_at == Some(at) {
                accepted |= unlabelled.map_or(0, |row| row.summary(group));
            }
            words &= accepted;
            if words == 0 {
                break;
            }
        }
        for word in bits(words) {
            let at = group * 64 + word as usize;
            let mut rules = all.word(at);
            for (attribute, rows) in attributes(picks, ends) {
                let mut accepted = union(index, rows, |row| row.word(at));
                if labels_at == Some(attribute) {
                    // Restrictions whose first label key the subject does not have.
                    let has_key = union(index, labelled, |row| row.word(at));
                    accepted |= unlabelled.map_or(0, |row| row.word(at)) & !has_key;
                }
                rules &= accepted;
                if rules == 0 {
                    break;
                }
            }
            let unsure = exact.map_or(0, |row| row.word(at));
            for bit in bits(rules) {
                let Some(&place) = index.places.get(at * 64 + bit as usize) else { continue };
                let checked = unsure >> bit & 1 == 0
                    || snapshot.rules.get(place as usize).is_some_and(|rule| holds_in_full(rule, subject));
                if checked {
                    survivors.push(place);
                }
            }
        }
    }
    // From slots back to the order that decides; often it is that order already.
    survivors.sort_unstable();
}

/// The rows of each attribute, numbered.
fn attributes<'s>(picks: &'s [RowId], ends: &'s [usize]) -> impl Iterator<Item = (usize, &'s [RowId])> {
    let mut start = 0;
    ends.iter().enumerate().map(move |(at, &end)| {
        let rows = picks.get(start..end).unwrap_or_default();
        start = end;
        (at, rows)
    })
}

fn union(index: &Index, rows: &[RowId], bits: impl Fn(&Row) -> u64) -> u64 {
    rows.iter().filter_map(|&id| index.row(id)).fold(0, |union, row| union | bits(row))
}

/// The whole of what the index knows only by its first element.
fn holds_in_full(rule: &Rule, subject: &Subject<'_>) -> bool {
    requires_hold(rule, subject) && rule.matches.labels.keys().all(|key| label_holds(rule, key, subject))
}

/// Whether the subject requires everything the rule asks about.
pub(super) fn requires_hold(rule: &Rule, subject: &Subject<'_>) -> bool {
    rule.matches.requires.iter().all(|wanted| {
        let mut found = false;
        subject.requires.each(&mut |name| found |= name == &**wanted);
        found
    })
}

/// Whether one label constraint holds; a missing key holds for restrictions.
pub(super) fn label_holds(rule: &Rule, key: &str, subject: &Subject<'_>) -> bool {
    let Some(wanted) = rule.matches.labels.get(key) else { return true };
    let (mut has_key, mut found) = (false, false);
    subject.labels.each(&mut |name, value| {
        has_key |= name == key;
        found |= name == key && wanted.contains(value);
    });
    found || !has_key && restricts(rule.effect)
}
