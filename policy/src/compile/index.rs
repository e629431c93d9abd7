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
//! Bits are **slots**, not places: rules that look at the same tenants, capabilities and topics get neighbouring
//! slots, so that a job's rules share a few words however they are scattered over files. `places` leads back.

use super::{FixedState, Row, Rows};
use crate::glob::{Glob, GlobTable};
use crate::language::{Deriver, Match, TextSet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
}

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) rows: Rows,
    /// By slot: the rule's place in order of evaluation.
    pub(crate) places: Box<[u32]>,
    pub(crate) all: Row,
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
    pub(crate) table: GlobTable,
    /// By glob id.
    pub(crate) globs: Vec<GlobUse>,
}

#[derive(Debug, Default)]
pub(crate) struct GlobUse {
    pub(crate) rules: Option<Row>,
    /// Places in the snapshot's derivers.
    pub(crate) derivers: Vec<u32>,
    /// A rule about it may look into the payload.
    pub(crate) reads_payload: bool,
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
        let mut slots: Vec<(u32, Entry<'_>)> = (0_u32..).zip(entries.iter().copied()).collect();
        let neighbours = neighbours(entries);
        // Stable, so that rules alike in all of this stay in order of evaluation.
        slots.sort_by_key(|(place, _)| neighbours.get(*place as usize));
        let places = slots.iter().map(|(place, _)| *place).collect();
        let mut build = Build { entries: slots.into_iter().map(|(_, entry)| entry).collect(), rows: Rows::default() };
        Self {
            places,
            all: build.row(|_| true),
            tenant: build.single(|matches| &matches.tenants),
            capability: build.single(|matches| &matches.capabilities),
            actor_id: build.single(|matches| &matches.actor_ids),
            actor_type: build.single(|matches| &matches.actor_types),
            pack_id: build.single(|matches| &matches.pack_ids),
            topic: build.topics(derivers),
            tags: build.tags(tags),
            requires: build.requires(),
            labels: build.labels(),
            rows: build.rows,
        }
    }
}

/// What most often tells the rules of one job from the rest, most telling first, as ranks: by place.
fn neighbours(entries: &[Entry<'_>]) -> Vec<[u32; 5]> {
    let tenants = ranks(entries, |matches| &matches.tenants);
    let capabilities = ranks(entries, |matches| &matches.capabilities);
    let topics = ranks(entries, |matches| &matches.topics);
    let actors = ranks(entries, |matches| &matches.actor_ids);
    let labels = ranks(entries, |matches| &matches.labels);
    let of = |ranks: &[u32], place: usize| ranks.get(place).copied().unwrap_or(0);
    let row = |place| [&tenants, &capabilities, &topics, &actors, &labels].map(|ranks| of(ranks, place));
    (0..entries.len()).map(row).collect()
}

/// The rank of each rule's value among all there are: few differ, so that few are compared.
fn ranks<'r, T: Ord + Hash + 'r>(entries: &[Entry<'r>], of: impl Fn(&'r Match) -> &'r T) -> Vec<u32> {
    let mut known: HashMap<&T, u32, FixedState> = HashMap::default();
    for entry in entries {
        known.insert(of(entry.matches), 0);
    }
    let mut sorted: Vec<&T> = known.keys().copied().collect();
    sorted.sort_unstable();
    for (rank, value) in (0..).zip(sorted) {
        known.insert(value, rank);
    }
    entries.iter().map(|entry| known.get(of(entry.matches)).copied().unwrap_or(0)).collect()
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

    fn topics(&mut self, derivers: &[Deriver]) -> Topics {
        let by_rule: BTreeMap<&Glob, Row> = self.postings(|entry| entry.matches.topics.iter());
        let reading: BTreeSet<&Glob> =
            self.entries.iter().filter(|entry| entry.reads_payload).flat_map(|entry| &entry.matches.topics).collect();
        let globs: BTreeSet<&Glob> =
            by_rule.keys().copied().chain(derivers.iter().flat_map(|deriver| &deriver.topics)).collect();
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
