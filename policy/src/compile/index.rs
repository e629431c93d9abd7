//! For every attribute and value, the rules that accept it.
//!
//! A rule matches when every attribute accepts it, so a query is the intersection over attributes of
//! (rules that do not look at it) ∪ (rules that accept the value). What a query cannot tell is already folded in:
//! the `missing` and `uncertain` rows hold no rule that plainly allows, so those drop out and the others stay, marked
//! as unsure.
//!
//! Sets that must be contained as a whole (`requires`, `labels`) are indexed by their first element and checked
//! in full for the survivors, like everything that is no set of values (`residual`).
//!
//! Bits are **slots**, not places: rules that look at the same tenants, topics and capabilities get neighbouring
//! slots, so that a job's rules share a few words however they are scattered over files. `places` leads back.
//!
//! Who and what a rule is about leads to runs of slots (`cells`); rows are looked at only for runs whose rules say more than
//! that and tags, and for jobs without tenant or topic.

use super::cells::{Cell, Cells, Globs, MIXED, Numbers, Run, numbers_of};
use super::{FixedState, Row, Rows, Signals};
use crate::glob::{Glob, GlobTable};
use crate::language::{Deriver, Match, TextSet};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

type Values = HashMap<Box<str>, Row, FixedState>;

/// What is indexed of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'r> {
    pub(super) matches: &'r Match,
    /// It plainly allows: what cannot be told is no match.
    pub(super) allows: bool,
    /// It may look into the payload.
    pub(super) reads_payload: bool,
    /// As [`Run::field`].
    pub(super) field: u16,
}

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) rows: Rows,
    /// By slot: the rule's place in order of evaluation.
    pub(crate) places: Box<[u32]>,
    pub(crate) all: Row,
    pub(crate) cells: Cells,
    pub(crate) signals: Signals,
    pub(crate) tenant: Single,
    pub(crate) capability: Single,
    pub(crate) actor_id: Single,
    pub(crate) actor_type: Single,
    pub(crate) pack_id: Single,
    pub(crate) topic: Topics,
    pub(crate) tags: Tags,
    pub(crate) requires: Requires,
    pub(crate) labels: Labels,
}

/// An attribute with one value.
#[derive(Debug)]
pub(crate) struct Single {
    /// No rule looks at it.
    pub(crate) idle: bool,
    /// Rules that do not look at it.
    pub(crate) any: Row,
    /// Rules that look at it and do not plainly allow.
    pub(crate) missing: Row,
    pub(crate) values: Values,
}

#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) idle: bool,
    /// A rule that names no topic may look into the payload.
    pub(crate) reads_payload: bool,
    pub(crate) any: Row,
    pub(crate) missing: Row,
    table: GlobTable,
    /// By glob id.
    globs: Vec<GlobUse>,
    /// What is known of topics that some glob names outright: most of those that jobs have.
    named: HashMap<Box<str>, Topic, FixedState>,
}

/// What an index has about a topic.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    /// Of rules that name it.
    pub(crate) rows: Vec<Row>,
    /// Of rules that name no tenant, or several.
    pub(crate) common: Vec<Run>,
    /// What [`Cells`] knows it by, ascending.
    pub(crate) numbers: Vec<u32>,
    /// Places in the snapshot's derivers.
    pub(crate) derivers: Vec<u32>,
    /// A deriver or a rule that it leads to may look into the payload.
    pub(crate) reads_payload: bool,
    /// Ids of the globs that stand for it.
    globs: Vec<u32>,
}

/// A topic with more globs or runs than this is not kept in `named`, whose size is bounded by that.
const MOST_KEPT: usize = 64;

#[derive(Debug, Default)]
struct GlobUse {
    rules: Option<Row>,
    /// Places in the snapshot's derivers.
    derivers: Vec<u32>,
    /// A rule about it may look into the payload.
    reads_payload: bool,
}

#[derive(Debug)]
pub(crate) struct Tags {
    pub(crate) idle: bool,
    pub(crate) any: Row,
    /// By tag id: rules that match it, and those among them that do not plainly allow.
    pub(crate) derived: Vec<(Row, Row)>,
    /// Rules that also trust claims.
    pub(crate) claimed: Values,
}

#[derive(Debug)]
pub(crate) struct Requires {
    pub(crate) idle: bool,
    pub(crate) any: Row,
    /// By the first capability the rule asks about.
    pub(crate) first: Values,
}

#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) idle: bool,
    pub(crate) any: Row,
    /// Rules that look at labels and do not plainly allow: unsure where their first key is missing.
    pub(crate) restrictions: Row,
    pub(crate) keys: HashMap<Box<str>, LabelKey, FixedState>,
}

/// Rules whose first label has this key.
#[derive(Debug)]
pub(crate) struct LabelKey {
    /// Those among them that do not plainly allow.
    pub(crate) restrictions: Row,
    pub(crate) values: Values,
}

impl Index {
    pub(super) fn build(entries: &[Entry<'_>], derivers: &[Deriver], tags: &[Arc<str>]) -> Self {
        let rules = || entries.iter().map(|entry| entry.matches);
        let globs: Globs<'_> =
            rules().map(|rule| &rule.topics).chain(derivers.iter().map(|deriver| &deriver.topics)).flatten().collect();
        let signals = Signals::of(rules(), tags);
        let numbers = Numbers::of(rules(), globs.iter().copied());
        let cell = |rule: &Match| numbers.cell(rule, is_told_by_cell(rule) && signals.wanted(rule, tags).is_some());
        let mut slots: Vec<(Cell, [u32; 5], u32)> =
            rules().zip(neighbours(entries)).zip(0..).map(|((rule, near), place)| (cell(rule), near, place)).collect();
        slots.sort_unstable();
        let entry = |(.., place): &(Cell, [u32; 5], u32)| entries.get(*place as usize).copied();
        let mut build = Build { entries: slots.iter().filter_map(entry).collect(), rows: Rows::default() };
        let field = |place: u32| entries.get(place as usize).map_or(MIXED, |entry| entry.field);
        let mut index = Self {
            places: slots.iter().map(|(.., place)| *place).collect(),
            all: build.row(|_| true),
            cells: Cells::of(numbers, slots.iter().map(|slot| (&slot.0, field(slot.2)))),
            signals,
            tenant: build.single(|matches| &matches.tenants),
            capability: build.single(|matches| &matches.capabilities),
            actor_id: build.single(|matches| &matches.actor_ids),
            actor_type: build.single(|matches| &matches.actor_types),
            pack_id: build.single(|matches| &matches.pack_ids),
            topic: build.topics(&globs, derivers),
            tags: build.tags(tags),
            requires: build.requires(),
            labels: build.labels(),
            rows: build.rows,
        };
        let named = globs.iter().map(|glob| glob.as_str()).filter(|text| !text.contains(['*', '?', '>']));
        let topics = named.map(|name| (name.into(), index.make(name, Topic::default())));
        let kept = |(_, topic): &(_, Topic)| topic.globs.len().max(topic.common.len()) <= MOST_KEPT;
        let topics = topics.filter(kept).collect();
        index.topic.named = topics;
        index
    }

    /// What there is about a topic, kept or made in `scratch`.
    #[inline]
    pub(crate) fn about<'t>(&'t self, topic: &str, scratch: &'t mut Topic) -> &'t Topic {
        if let Some(kept) = self.topic.named.get(topic) {
            return kept;
        }
        *scratch = self.make(topic, std::mem::take(scratch));
        scratch
    }

    /// Uses the memory of what was made before.
    fn make(&self, topic: &str, old: Topic) -> Topic {
        let Topic { mut rows, mut common, mut numbers, mut derivers, mut globs, .. } = old;
        rows.clear();
        common.clear();
        derivers.clear();
        globs.clear();
        let topics = &self.topic;
        topics.table.find(topic, &mut |glob| globs.push(glob));
        let mut reads_payload = topics.reads_payload;
        for glob in globs.iter().filter_map(|&glob| topics.globs.get(glob as usize)) {
            rows.extend(glob.rules);
            derivers.extend(&glob.derivers);
            reads_payload |= glob.reads_payload || !glob.derivers.is_empty();
        }
        numbers_of(&globs, &mut numbers);
        self.cells.of_anyone(&numbers, &mut |run| common.push(run));
        Topic { rows, common, numbers, derivers, reads_payload, globs }
    }
}

/// Whether a rule says no more than its tenants, its topics, its tags, and what no row is about.
fn is_told_by_cell(rule: &Match) -> bool {
    let sets = [&rule.capabilities, &rule.actor_ids, &rule.actor_types, &rule.pack_ids, &rule.requires];
    sets.iter().all(|set| set.is_empty()) && rule.labels.is_empty()
}

/// What most often tells the rules of one job from the rest of its cell, most telling first, as ranks: by place.
fn neighbours(entries: &[Entry<'_>]) -> Vec<[u32; 5]> {
    let tenants = ranks(entries, |rule| Some(&rule.tenants).filter(|tenants| tenants.len() > 1));
    let capabilities = ranks(entries, |rule| Some(&rule.capabilities).filter(|set| !set.is_empty()));
    let topics = ranks(entries, |rule| Some(&rule.topics).filter(|topics| topics.len() > 1));
    let actors = ranks(entries, |rule| Some(&rule.actor_ids).filter(|set| !set.is_empty()));
    let labels = ranks(entries, |rule| Some(&rule.labels).filter(|set| !set.is_empty()));
    let of = |ranks: &[u32], place: usize| ranks.get(place).copied().unwrap_or(0);
    let row = |place| [&tenants, &capabilities, &topics, &actors, &labels].map(|ranks| of(ranks, place));
    (0..entries.len()).map(row).collect()
}

/// The rank of each rule's value among all there are, from 1: few differ, so that few are compared. 0 for none.
fn ranks<'r, T: Ord + Hash + 'r>(entries: &[Entry<'r>], of: impl Fn(&'r Match) -> Option<&'r T>) -> Vec<u32> {
    let mut known: HashMap<&T, u32, FixedState> = HashMap::default();
    // In order of first use, to begin with.
    let mut ranks: Vec<u32> = Vec::with_capacity(entries.len());
    for entry in entries {
        let next = u32::try_from(known.len() + 1).unwrap_or(u32::MAX);
        ranks.push(of(entry.matches).map_or(0, |value| *known.entry(value).or_insert(next)));
    }
    let mut sorted: Vec<(&T, u32)> = known.into_iter().collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
    let mut rank_of = vec![0; sorted.len() + 1];
    for (rank, (_, number)) in (1..).zip(sorted) {
        if let Some(place) = rank_of.get_mut(number as usize) {
            *place = rank;
        }
    }
    for rank in &mut ranks {
        *rank = rank_of.get(*rank as usize).copied().unwrap_or(0);
    }
    ranks
}

struct Build<'r> {
    /// By slot.
    entries: Vec<Entry<'r>>,
    rows: Rows,
}

impl<'r> Build<'r> {
    fn row(&mut self, holds: impl Fn(Entry<'r>) -> bool) -> Row {
        let slots = (0_u32..).zip(&self.entries).filter(|(_, entry)| holds(**entry)).map(|(slot, _)| slot);
        self.rows.push(slots)
    }

    /// One row for every key that any rule lists.
    fn postings<K: Ord + Hash + Copy, I: IntoIterator<Item = K>>(
        &mut self,
        keys: impl Fn(Entry<'r>) -> I,
    ) -> BTreeMap<K, Row> {
        let mut lists: HashMap<K, Vec<u32>, FixedState> = HashMap::default();
        for (slot, entry) in (0_u32..).zip(&self.entries) {
            for key in keys(*entry) {
                lists.entry(key).or_default().push(slot);
            }
        }
        lists.into_iter().map(|(key, slots)| (key, self.rows.push(slots))).collect()
    }

    fn values<I: IntoIterator<Item = &'r str>>(&mut self, texts: impl Fn(Entry<'r>) -> I) -> Values {
        self.postings(texts).into_iter().map(|(text, row)| (text.into(), row)).collect()
    }

    fn single(&mut self, of: impl Fn(&'r Match) -> &'r TextSet) -> Single {
        Single {
            idle: self.entries.iter().all(|entry| of(entry.matches).is_empty()),
            any: self.row(|entry| of(entry.matches).is_empty()),
            missing: self.row(|entry| !entry.allows && !of(entry.matches).is_empty()),
            values: self.values(|entry| of(entry.matches).iter().map(|text| &**text)),
        }
    }

    fn topics(&mut self, globs: &Globs<'_>, derivers: &[Deriver]) -> Topics {
        let by_rule: BTreeMap<&Glob, Row> = self.postings(|entry| entry.matches.topics.iter());
        let reading: Globs<'_> =
            self.entries.iter().filter(|entry| entry.reads_payload).flat_map(|entry| &entry.matches.topics).collect();
        let mut uses: BTreeMap<&Glob, GlobUse> = globs
            .iter()
            .map(|&glob| {
                let rules = by_rule.get(glob).copied();
                (glob, GlobUse { rules, derivers: Vec::new(), reads_payload: reading.contains(glob) })
            })
            .collect();
        for (place, deriver) in (0_u32..).zip(derivers) {
            for glob in &deriver.topics {
                uses.entry(glob).or_default().derivers.push(place);
            }
        }
        Topics {
            idle: self.entries.iter().all(|entry| entry.matches.topics.is_empty()),
            reads_payload: self.entries.iter().any(|entry| entry.reads_payload && entry.matches.topics.is_empty()),
            any: self.row(|entry| entry.matches.topics.is_empty()),
            missing: self.row(|entry| !entry.allows && !entry.matches.topics.is_empty()),
            table: GlobTable::build(globs.iter().copied()),
            globs: uses.into_values().collect(),
            named: HashMap::default(),
        }
    }

    fn tags(&mut self, tags: &[Arc<str>]) -> Tags {
        let present: BTreeMap<&str, Row> = self.postings(|entry| entry.matches.risk_tags.iter().map(|tag| &**tag));
        let unsure: BTreeMap<&str, Row> = self.postings(|entry| {
            let tags = entry.matches.risk_tags.iter().map(|tag| &**tag);
            tags.filter(move |_| !entry.allows)
        });
        let empty = self.row(|_| false);
        let row = |rows: &BTreeMap<&str, Row>, tag: &str| rows.get(tag).copied().unwrap_or(empty);
        Tags {
            idle: self.entries.iter().all(|entry| entry.matches.risk_tags.is_empty()),
            any: self.row(|entry| entry.matches.risk_tags.is_empty()),
            derived: tags.iter().map(|tag| (row(&present, tag), row(&unsure, tag))).collect(),
            claimed: self.values(|entry| {
                let tags = entry.matches.risk_tags.iter().map(|tag| &**tag);
                tags.filter(move |_| entry.matches.trusts_claims)
            }),
        }
    }

    fn requires(&mut self) -> Requires {
        Requires {
            idle: self.entries.iter().all(|entry| entry.matches.requires.is_empty()),
            any: self.row(|entry| entry.matches.requires.is_empty()),
            first: self.values(|entry| entry.matches.requires.first().map(|text| &**text)),
        }
    }

    fn labels(&mut self) -> Labels {
        let restrictions: BTreeMap<&str, Row> = self.postings(|entry| {
            let first = entry.matches.labels.first_key_value().filter(|_| !entry.allows);
            first.map(|(key, _)| &**key)
        });
        let values: BTreeMap<(&str, &str), Row> = self.postings(|entry| {
            let first = entry.matches.labels.first_key_value();
            first.into_iter().flat_map(|(key, set)| set.iter().map(move |value| (&**key, &**value)))
        });
        let empty = self.row(|_| false);
        let mut keys: HashMap<Box<str>, LabelKey, FixedState> = HashMap::default();
        for ((key, value), row) in values {
            keys.entry(key.into())
                .or_insert_with(|| LabelKey {
                    restrictions: restrictions.get(key).copied().unwrap_or(empty),
                    values: Values::default(),
                })
                .values
                .insert(value.into(), row);
        }
        Labels {
            idle: self.entries.iter().all(|entry| entry.matches.labels.is_empty()),
            any: self.row(|entry| entry.matches.labels.is_empty()),
            restrictions: self.row(|entry| !entry.allows && !entry.matches.labels.is_empty()),
            keys,
        }
    }
}
