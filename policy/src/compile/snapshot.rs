//! The compiled set.

use super::{FixedState, Index, name};
use crate::effect::Effect;
use crate::language::{Bundle, Combine, Deriver, Rule, Tier};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// Place of a tag in [`Snapshot::tags`].
pub(crate) type TagId = u32;

/// An immutable set of compiled bundles. `Send + Sync`; share it in an `Arc` and swap the `Arc` between records.
///
/// Two snapshots of the same name give the same verdict for every subject.
pub struct Snapshot {
    pub(crate) name: Box<str>,
    pub(crate) revision: u64,
    pub(crate) bundles: Vec<BundleInfo>,
    /// In order of evaluation.
    pub(crate) rules: Vec<Rule>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) index: Index,
    pub(crate) derivers: Vec<Deriver>,
    /// By deriver.
    pub(crate) derives: Vec<TagId>,
    /// Every derived tag, sorted.
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) defaults: HashMap<Box<str>, (Effect, Arc<str>), FixedState>,
    pub(crate) denied_by_default: Arc<str>,
    by_id: HashMap<Arc<str>, u32, FixedState>,
}

/// A bundle of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleInfo {
    /// Its id.
    pub id: Arc<str>,
    /// Its revision.
    pub revision: u64,
    /// The file it came from, as the caller named it.
    pub file: Arc<str>,
    /// How many rules it has.
    pub rules: usize,
}

/// What is looked at together, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Invariants,
    Job,
    Workflow,
    Global,
}

impl Stage {
    fn of(rule: &Rule) -> Self {
        match (rule.invariant, rule.tier) {
            (true, Tier::Global | Tier::Workflow | Tier::Job) => Self::Invariants,
            (false, Tier::Job) => Self::Job,
            (false, Tier::Workflow) => Self::Workflow,
            (false, Tier::Global) => Self::Global,
        }
    }
}

/// The rules of one bundle in one stage: places `start..end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) stage: Stage,
    pub(crate) combine: Combine,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Snapshot {
    /// SHA-256 over everything that can change a verdict, as 64 hex digits.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 12 digits of the name, for people.
    pub fn short_name(&self) -> &str {
        self.name.get(..12).unwrap_or(&self.name)
    }

    /// The highest revision among the bundles. A set that differs from the one in use must have a higher one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The bundles, by id.
    pub fn bundles(&self) -> &[BundleInfo] {
        &self.bundles
    }

    /// Every rule, in order of evaluation.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of this id, for its reason, controls and remediations.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.by_id.get(id).and_then(|&place| self.rules.get(place as usize))
    }

    /// Every tag a deriver of this set can set, sorted.
    pub fn derived_tags(&self) -> &[Arc<str>] {
        &self.tags
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("name", &self.short_name())
            .field("revision", &self.revision)
            .field("bundles", &self.bundles.len())
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

/// Compiles a set already checked as a whole.
pub(crate) fn compile(mut bundles: Vec<Bundle>) -> Snapshot {
    bundles.sort_by(|a, b| a.id.cmp(&b.id));
    let name = name::name(&bundles).into();
    let infos = bundles
        .iter()
        .map(|bundle| BundleInfo {
            id: Arc::clone(&bundle.id),
            revision: bundle.revision,
            file: Arc::clone(&bundle.file),
            rules: bundle.rules.len(),
        })
        .collect();
    let revision = bundles.iter().map(|bundle| bundle.revision).max().unwrap_or(0);
    let mut defaults: HashMap<Box<str>, (Effect, Arc<str>), FixedState> = HashMap::default();
    let mut rules: Vec<(usize, Combine, Rule)> = Vec::new();
    let mut derivers = Vec::new();
    for (order, bundle) in bundles.into_iter().enumerate() {
        for entry in bundle.defaults {
            let reason =
                format!("no rule matches this job: the default of tenant `{}` is {}", entry.tenant, entry.effect);
            defaults.insert(entry.tenant, (entry.effect, reason.into()));
        }
        derivers.extend(bundle.derivers);
        rules.extend(bundle.rules.into_iter().map(|rule| (order, bundle.combine, rule)));
    }
    // Stable, so rules of one bundle and stage stay as written.
    rules.sort_by_key(|(order, _, rule)| (Stage::of(rule), *order));
    let blocks = blocks(&rules);
    let rules: Vec<Rule> = rules.into_iter().map(|(_, _, rule)| rule).collect();

    let tags: Vec<Arc<str>> =
        derivers.iter().map(|deriver| Arc::clone(&deriver.tag)).collect::<BTreeSet<_>>().into_iter().collect();
    let derives = derivers
        .iter()
        .map(|deriver| {
            tags.binary_search(&deriver.tag).ok().and_then(|at| TagId::try_from(at).ok()).unwrap_or(TagId::MAX)
        })
        .collect();
    let by_id = (0_u32..).zip(&rules).map(|(place, rule)| (Arc::clone(&rule.id), place)).collect();
    Snapshot {
        name,
        revision,
        bundles: infos,
        index: Index::build(&rules, &derivers, &tags),
        rules,
        blocks,
        derivers,
        derives,
        tags,
        defaults,
        denied_by_default: "no rule matches this job and its tenant has no default: denied by default".into(),
        by_id,
    }
}

fn blocks(rules: &[(usize, Combine, Rule)]) -> Vec<Block> {
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for (place, (order, combine, rule)) in (0_u32..).zip(rules) {
        let stage = Stage::of(rule);
        match blocks.last_mut() {
            Some((last, block)) if *last == *order && block.stage == stage => block.end = place + 1,
            _ => blocks.push((*order, Block { stage, combine: *combine, start: place, end: place + 1 })),
        }
    }
    blocks.into_iter().map(|(_, block)| block).collect()
}
