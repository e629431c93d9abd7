//! Finding the rules that match. Most of them lie in runs of which tenant, topic and tags say all; the others are found by
//! intersecting rows of an index.

use super::derive::Outcome;
use super::scratch::{Match, Selection};
use crate::compile::{ALWAYS, Index, MIXED, Row, Rows, Run, Single, Topic, bits, span};
use crate::subject::{Subject, present};

/// What the index cannot tell of a rule.
pub(super) trait Rest {
    /// The rule in a slot, if all the rest of it holds; `doubtful` where what the index knows of it cannot be told.
    fn check(&mut self, slot: usize, doubtful: bool) -> Option<Match>;

    /// Adds the rules of a run that match, where tenant and topic are told already.
    fn read(&mut self, run: Run, heard: Signals, found: &mut Vec<Match>);
}

/// The tags of a job, as bits of the index's signals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub(super) told: u64,
    /// Of tags that cannot be told.
    pub(super) untold: u64,
}

/// Slots of a group of words.
const GROUP: usize = 64 * 64;
/// A longer run of an index that has rows of tags is looked at through them.
const LONGEST_READ: u32 = 512;

/// Fills `found` with all matching rules, in no order. `topic` is what the index has about the subject's.
pub(super) fn select(
    index: &Index,
    subject: &Subject<'_>,
    topic: Option<&Topic>,
    tags: &[Outcome],
    selection: &mut Selection,
    rest: &mut impl Rest,
) {
    let Selection { indexed, found, .. } = selection;
    indexed.clear();
    found.clear();
    match topic.zip(present(subject.tenant)) {
        Some((topic, tenant)) => {
            let heard = signals(index, subject, tags);
            let longest = if index.tags.idle { u32::MAX } else { LONGEST_READ };
            let mut visit = |run: Run| {
                if run.direct && run.end - run.start <= longest {
                    rest.read(run, heard, found);
                } else {
                    indexed.push(run);
                }
            };
            topic.common.iter().copied().for_each(&mut visit);
            index.cells.of_tenant(tenant, &topic.numbers, &mut visit);
        }
        // What names a tenant or a topic cannot be told, which rows know of.
        None => indexed.push(Run {
            start: 0,
            end: u32::try_from(index.places.len()).unwrap_or(u32::MAX),
            direct: false,
            field: MIXED,
        }),
    }
    if !indexed.is_empty() {
        through_rows(index, subject, topic, tags, selection, rest);
    }
}

fn signals(index: &Index, subject: &Subject<'_>, tags: &[Outcome]) -> Signals {
    let mut signals = Signals { told: ALWAYS, untold: 0 };
    if index.tags.idle {
        return signals;
    }
    for (&bit, state) in index.signals.derived.iter().zip(tags) {
        match state {
            Outcome::Present => signals.told |= bit,
            Outcome::Uncertain => signals.untold |= bit,
            Outcome::Absent => {}
        }
    }
    let claimed = &index.signals.claimed;
    if !claimed.is_empty() {
        subject.risk_tags.each(&mut |tag| signals.told |= claimed.get(tag).copied().unwrap_or(0));
    }
    signals
}

/// Adds what matches in runs that tenant, topic and tags do not say all of.
fn through_rows(
    index: &Index,
    subject: &Subject<'_>,
    about: Option<&Topic>,
    tags: &[Outcome],
    selection: &mut Selection,
    rest: &mut impl Rest,
) {
    let Selection { picks, ends, labelled, unsure, untold, told, .. } = selection;
    [picks, labelled, unsure, untold, told].into_iter().for_each(Vec::clear);
    ends.clear();
    single(&index.tenant, present(subject.tenant), selection);
    single(&index.capability, present(subject.capability), selection);
    topic(index, about, selection);
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

fn topic(index: &Index, about: Option<&Topic>, selection: &mut Selection) {
    let topics = &index.topic;
    if topics.idle {
        return;
    }
    let Selection { picks, unsure, .. } = selection;
    picks.push(topics.any);
    match about {
        Some(about) => picks.extend(&about.rows),
        None => {
            picks.push(topics.missing);
            unsure.push(topics.missing);
        }
    }
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
    let Selection { indexed, picks, ends, labelled, unsure, untold, told, heads, found } = selection;
    let (rows, all) = (&index.rows, index.all);
    let unlabelled = labels_at.map(|_| index.labels.restrictions);
    let mut headed = None;
    for run in indexed.iter() {
        let (start, end) = (run.start as usize, run.end as usize);
        for group in start / GROUP..end.div_ceil(GROUP) {
            if headed != Some(group) {
                headed = Some(group);
                heads.clear();
                heads.extend(picks.iter().map(|&row| rows.head(row, group)));
            }
            let mut words = rows.summary(all, group) & span(group * 64, start / 64, end.div_ceil(64));
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
                let mut rules = span(at * 64, start, end);
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
