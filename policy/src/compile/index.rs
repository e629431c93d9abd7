//! For every attribute and value, the rules that accept it.
//!
//! A rule matches when every attribute accepts it, so a query is the intersection over attributes of
//! (rules that do not look at it) ∪ (rules that accept the value). What a query cannot tell is already folded in:
//! the `missing` and `uncertain` rows hold restrictions only, so permissions drop out and restrictions stay.
//!
//! Sets that must be contained as a whole (`requires`, `labels`) are indexed by their first element and checked
//! in full for the survivors (`exact`).
//!
//! Bits are **slots**, not places: rules that look at the same tenants, capabilities and topics get neighbouring
//! slots, so that a job's rules share a few words however they are scattered over files. `places` leads back.

use super::{FixedState, Row};
use crate::effect::restricts;
use crate::glob::{Glob, Trie};
use crate::language::{Deriver, Match, Rule, TextSet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) type RowId = u32;

type Values = HashMap<Box<str>, RowId, FixedState>;

#[derive(Debug)]
pub(crate) struct Index {
    rows: Vec<Row>,
    /// By slot: the rule's place in order of evaluation.
    pub(crate) places: Box<[u32]>,
    pub(crate) all: RowId,
    pub(crate) tenant: Single,
    pub(crate) capability: Single,
    pub(crate) actor_id: Single,
    pub(crate) actor_type: Single,
    pub(crate) topic: Topics,
    pub(crate) tags: Tags,
    pub(crate) requires: Requires,
    pub(crate) labels: Labels,
    /// Rules with more than one required capability or label: survivors are checked in full.
    pub(crate) exact: RowId,
}

/// An attribute with one value.
#[derive(Debug)]
pub(crate) struct Single {
    /// No rule looks at it.
    pub(crate) idle: bool,
    /// Rules that do not look at it.
    pub(crate) any: RowId,
    /// Restrictions that look at it.
    pub(crate) missing: RowId,
    pub(crate) values: Values,
}

#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) idle: bool,
    pub(crate) any: RowId,
    pub(crate) missing: RowId,
    pub(crate) trie: Trie,
    /// By glob id.
    pub(crate) globs: Vec<GlobUse>,
}

#[derive(Debug, Default)]
pub(crate) struct GlobUse {
    pub(crate) rules: Option<RowId>,
    /// Places in the snapshot's derivers.
    pub(crate) derivers: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Tags {
    pub(crate) idle: bool,
    pub(crate) any: RowId,
    /// By tag id: rules that match it, and the restrictions among them.
    pub(crate) derived: Vec<(RowId, RowId)>,
    /// Rules that also trust claims.
    pub(crate) claimed: Values,
}

#[derive(Debug)]
pub(crate) struct Requires {
    pub(crate) idle: bool,
    pub(crate) any: RowId,
    /// By the first capability the rule asks about.
    pub(crate) first: Values,
}

#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) idle: bool,
    pub(crate) any: RowId,
    /// Restrictions that look at labels: they match where their first key is missing.
    pub(crate) restrictions: RowId,
    pub(crate) keys: HashMap<Box<str>, LabelKey, FixedState>,
}

/// Rules whose first label has this key.
#[derive(Debug)]
pub(crate) struct LabelKey {
    /// The restrictions among them.
    pub(crate) restrictions: RowId,
    pub(crate) values: Values,
}

impl Index {
    pub(crate) fn row(&self, id: RowId) -> Option<&Row> {
        self.rows.get(id as usize)
    }

    pub(super) fn build(rules: &[Rule], derivers: &[Deriver], tags: &[Arc<str>]) -> Self {
        let mut slots: Vec<(u32, &Rule)> = (0_u32..).zip(rules).collect();
        // Stable, so that rules alike in all of this stay in order of evaluation.
        slots.sort_by(|(_, a), (_, b)| neighbourhood(&a.matches).cmp(&neighbourhood(&b.matches)));
        let places = slots.iter().map(|(place, _)| *place).collect();
        let mut build = Build { rules: slots.into_iter().map(|(_, rule)| rule).collect(), rows: Vec::new() };
        Self {
            places,
            all: build.row(|_| true),
            tenant: build.single(|rule| &rule.tenants),
            capability: build.single(|rule| &rule.capabilities),
            actor_id: build.single(|rule| &rule.actor_ids),
            actor_type: build.single(|rule| &rule.actor_types),
            topic: build.topics(derivers),
            tags: build.tags(tags),
            requires: build.requires(),
            labels: build.labels(),
            exact: build.row(|rule| needs_exact_check(&rule.matches)),
            rows: build.rows,
        }
    }
}

/// Whether the index alone cannot tell.
fn needs_exact_check(matches: &Match) -> bool {
    matches.requires.len() > 1 || matches.labels.len() > 1
}

/// What most often tells the rules of one job from the rest, most telling first.
fn neighbourhood(matches: &Match) -> impl Ord + use<'_> {
    (&matches.tenants, &matches.capabilities, &matches.topics, &matches.actor_ids, &matches.labels)
}

struct Build<'r> {
    /// By slot.
    rules: Vec<&'r Rule>,
    rows: Vec<Row>,
}

impl<'r> Build<'r> {
    fn push(&mut self, row: Row) -> RowId {
        self.rows.push(row);
        RowId::try_from(self.rows.len() - 1).unwrap_or(RowId::MAX)
    }

    fn slots(&self) -> impl Iterator<Item = (u32, &'r Rule)> {
        (0_u32..).zip(self.rules.iter().copied())
    }

    fn row(&mut self, holds: impl Fn(&'r Rule) -> bool) -> RowId {
        let row = Row::new(self.slots().filter(|(_, rule)| holds(rule)).map(|(slot, _)| slot));
        self.push(row)
    }

    /// One row for every key that any rule lists.
    fn postings<K: Ord>(&mut self, keys: impl Fn(&'r Rule) -> Vec<K>) -> BTreeMap<K, RowId> {
        let mut lists: BTreeMap<K, Vec<u32>> = BTreeMap::new();
        for (slot, rule) in self.slots() {
            for key in keys(rule) {
                lists.entry(key).or_default().push(slot);
            }
        }
        lists.into_iter().map(|(key, slots)| (key, self.push(Row::new(slots)))).collect()
    }

    fn values(&mut self, texts: impl Fn(&'r Rule) -> Vec<&'r str>) -> Values {
        self.postings(texts).into_iter().map(|(text, row)| (text.into(), row)).collect()
    }

    fn single(&mut self, of: impl Fn(&'r Match) -> &'r TextSet) -> Single {
        Single {
            idle: self.rules.iter().all(|rule| of(&rule.matches).is_empty()),
            any: self.row(|rule| of(&rule.matches).is_empty()),
            missing: self.row(|rule| restricts(rule.effect) && !of(&rule.matches).is_empty()),
            values: self.values(|rule| of(&rule.matches).iter().map(|text| &**text).collect()),
        }
    }

    fn topics(&mut self, derivers: &[Deriver]) -> Topics {
        let by_rule: BTreeMap<&Glob, RowId> = self.postings(|rule| rule.matches.topics.iter().collect());
        let globs: BTreeSet<&Glob> =
            by_rule.keys().copied().chain(derivers.iter().flat_map(|deriver| &deriver.topics)).collect();
        let mut uses: BTreeMap<&Glob, GlobUse> = globs
            .iter()
            .map(|&glob| (glob, GlobUse { rules: by_rule.get(glob).copied(), derivers: Vec::new() }))
            .collect();
        for (place, deriver) in (0_u32..).zip(derivers) {
            for glob in &deriver.topics {
                uses.entry(glob).or_default().derivers.push(place);
            }
        }
        Topics {
            idle: self.rules.iter().all(|rule| rule.matches.topics.is_empty()),
            any: self.row(|rule| rule.matches.topics.is_empty()),
            missing: self.row(|rule| restricts(rule.effect) && !rule.matches.topics.is_empty()),
            trie: Trie::build(globs.iter().copied()),
            globs: uses.into_values().collect(),
        }
    }

    fn tags(&mut self, tags: &[Arc<str>]) -> Tags {
        let derived = tags
            .iter()
            .map(|tag| {
                let present = self.row(|rule| rule.matches.risk_tags.contains(&**tag));
                let uncertain = self.row(|rule| restricts(rule.effect) && rule.matches.risk_tags.contains(&**tag));
                (present, uncertain)
            })
            .collect();
        Tags {
            idle: self.rules.iter().all(|rule| rule.matches.risk_tags.is_empty()),
            any: self.row(|rule| rule.matches.risk_tags.is_empty()),
            derived,
            claimed: self.values(|rule| match rule.matches.trusts_claims {
                true => rule.matches.risk_tags.iter().map(|tag| &**tag).collect(),
                false => Vec::new(),
            }),
        }
    }

    fn requires(&mut self) -> Requires {
        Requires {
            idle: self.rules.iter().all(|rule| rule.matches.requires.is_empty()),
            any: self.row(|rule| rule.matches.requires.is_empty()),
            first: self.values(|rule| rule.matches.requires.first().map(|text| &**text).into_iter().collect()),
        }
    }

    fn labels(&mut self) -> Labels {
        let restrictions: BTreeMap<&str, RowId> = self.postings(|rule| {
            let first = rule.matches.labels.first_key_value().filter(|_| restricts(rule.effect));
            first.map(|(key, _)| &**key).into_iter().collect()
        });
        let values: BTreeMap<(&str, &str), RowId> = self.postings(|rule| {
            let first = rule.matches.labels.first_key_value();
            first.into_iter().flat_map(|(key, set)| set.iter().map(move |value| (&**key, &**value))).collect()
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
            idle: self.rules.iter().all(|rule| rule.matches.labels.is_empty()),
            any: self.row(|rule| rule.matches.labels.is_empty()),
            restrictions: self.row(|rule| restricts(rule.effect) && !rule.matches.labels.is_empty()),
            keys,
        }
    }
}
