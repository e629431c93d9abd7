//! The compiled set.

use super::cells::MIXED;
use super::compared::Comparisons;
use super::core::{Core, NONE, Unique};
use super::index::Entry;
use super::slot::Slot;
use super::{FixedState, Index, name};
use crate::effect::Effect;
use crate::language::{Bundle, Combine, Deriver, Grant, Match, Mode, Rule, StateCondition, TextSet, Tier, Window};
use crate::when::Condition;
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
    /// By place in `rules`.
    pub(crate) cores: Vec<Core>,
    pub(crate) blocks: Vec<Block>,
    /// By slot of the index.
    pub(crate) slots: Vec<Slot>,
    pub(crate) index: Index,
    /// Each once.
    pub(crate) conditions: Vec<Arc<Condition>>,
    /// Which of them are plain comparisons.
    pub(crate) comparisons: Comparisons,
    /// Each once.
    pub(crate) windows: Vec<Arc<Window>>,
    pub(crate) grants: Option<Grants>,
    /// Every rule is enforced for every job, and none has `state`.
    pub(crate) plain: bool,
    /// Plain, and no bundle is of the kind `first_match`: the order of evaluation changes nothing.
    pub(crate) unordered: bool,
    pub(crate) derivers: Vec<Deriver>,
    /// By deriver.
    pub(crate) derives: Vec<TagId>,
    /// Every derived tag, sorted.
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) defaults: HashMap<Box<str>, (Effect, Arc<str>), FixedState>,
    pub(crate) denied_by_default: Arc<str>,
    by_id: HashMap<Arc<str>, u32, FixedState>,
}

/// The id of the rule that denies what no grant covers.
pub(crate) const UNGRANTED: &str = "grants";

/// Who may ask for what.
pub(crate) struct Grants {
    pub(crate) list: Vec<Grant>,
    pub(crate) index: Index,
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
    pub(super) fn of(rule: &Rule) -> Self {
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
    let mut rules: Vec<Rule> = Vec::new();
    // Of each rule: the bundle's place and how it combines.
    let mut origins: Vec<(usize, Combine)> = Vec::new();
    let mut derivers = Vec::new();
    let mut grants: Vec<Grant> = Vec::new();
    for (order, bundle) in bundles.into_iter().enumerate() {
        for entry in bundle.defaults {
            let reason =
                format!("no rule matches this job: the default of tenant `{}` is {}", entry.tenant, entry.effect);
            defaults.insert(entry.tenant, (entry.effect, reason.into()));
        }
        if grants.is_empty() && !bundle.grants.is_empty() {
            // One rule for the grants of all bundles; its tenants follow below.
            rules.push(ungranted(&bundle.id, &bundle.file, bundle.line));
        }
        grants.extend(bundle.grants);
        derivers.extend(bundle.derivers);
        if rules.is_empty() {
            rules = bundle.rules;
        } else {
            rules.extend(bundle.rules);
        }
        origins.resize(rules.len(), (order, bundle.combine));
    }
    let tenants = tenants_of(&grants);
    rules.iter_mut().filter(|rule| is_ungranted(rule)).for_each(|rule| rule.matches.tenants = tenants.clone());
    let (rules, blocks) = in_order(rules, origins);

    let tags: Vec<Arc<str>> =
        derivers.iter().map(|deriver| Arc::clone(&deriver.tag)).collect::<BTreeSet<_>>().into_iter().collect();
    let derives = derivers
        .iter()
        .map(|deriver| {
            tags.binary_search(&deriver.tag).ok().and_then(|at| TagId::try_from(at).ok()).unwrap_or(TagId::MAX)
        })
        .collect();
    let by_id = (0_u32..).zip(&rules).map(|(place, rule)| (Arc::clone(&rule.id), place)).collect();
    let (mut conditions, mut windows) = (Unique::default(), Unique::default());
    let cores: Vec<Core> =
        rules.iter().map(|rule| Core::of(rule, is_ungranted(rule), &mut conditions, &mut windows)).collect();
    let comparisons = Comparisons::of(&conditions.items);
    let ordered: Vec<Slot> = (0_u32..)
        .zip(rules.iter().zip(&cores))
        .map(|(place, (rule, core))| Slot::of(place, core, Stage::of(rule), &comparisons))
        .collect();
    let entries = rules.iter().zip(&cores).zip(&ordered);
    let entries: Vec<Entry<'_>> = entries.map(|((rule, core), slot)| entry(rule, core, slot)).collect();
    let index = Index::build(&entries, &derivers, &tags);
    let slots = index.places.iter().filter_map(|&place| {
        let (slot, rule) = (ordered.get(place as usize)?, rules.get(place as usize)?);
        // What finds no bit for one of its tags is found through rows alone.
        Some(slot.waiting_for(index.signals.wanted(&rule.matches, &tags).unwrap_or(0)))
    });
    let slots = slots.collect();
    let plain = cores.iter().all(|core| core.enforced == super::Enforced::Always && !core.limited);
    Snapshot {
        name,
        revision,
        bundles: infos,
        plain,
        unordered: plain && blocks.iter().all(|block| block.combine == Combine::MostRestrictive),
        slots,
        grants: (!grants.is_empty()).then(|| Grants::build(grants)),
        index,
        rules,
        cores,
        comparisons,
        conditions: conditions.items,
        windows: windows.items,
        blocks,
        derivers,
        derives,
        tags,
        defaults,
        denied_by_default: "no rule matches this job and its tenant has no default: denied by default".into(),
        by_id,
    }
}

fn entry<'r>(rule: &'r Rule, core: &Core, slot: &Slot) -> Entry<'r> {
    let reads_payload = core.condition != NONE
        || rule.matches.secrets_present.is_some()
        || rule.state.iter().any(StateCondition::reads_payload);
    Entry { matches: &rule.matches, allows: rule.effect == Effect::Allow, reads_payload, field: slot.compares() }
}

impl Grants {
    fn build(list: Vec<Grant>) -> Self {
        let entries: Vec<Entry<'_>> = list
            .iter()
            .map(|grant| Entry { matches: &grant.matches, allows: true, reads_payload: false, field: MIXED })
            .collect();
        let index = Index::build(&entries, &[], &[]);
        Self { index, list }
    }
}

/// The rule that denies what no grant covers.
fn ungranted(bundle: &Arc<str>, file: &Arc<str>, line: u32) -> Rule {
    Rule {
        id: UNGRANTED.into(),
        bundle: Arc::clone(bundle),
        file: Arc::clone(file),
        line,
        tier: Tier::Global,
        invariant: true,
        mode: Mode::Enforce,
        canary: None,
        effect: Effect::Deny,
        reason: "no grant lets this actor ask for this".into(),
        controls: Vec::new(),
        remediations: Vec::new(),
        approval: None,
        throttle: None,
        constraints: None,
        matches: Match::default(),
        window: None,
        when: None,
        state: Vec::new(),
    }
}

fn is_ungranted(rule: &Rule) -> bool {
    &*rule.id == UNGRANTED
}

/// The tenants grants are about; empty for all.
fn tenants_of(grants: &[Grant]) -> TextSet {
    if grants.iter().any(|grant| grant.matches.tenants.is_empty()) {
        return TextSet::new();
    }
    grants.iter().flat_map(|grant| grant.matches.tenants.iter().cloned()).collect()
}

/// The rules in order of evaluation, and their blocks. `origins`: of each its bundle's place and how that combines.
fn in_order(mut rules: Vec<Rule>, origins: Vec<(usize, Combine)>) -> (Vec<Rule>, Vec<Block>) {
    let origin = |((order, combine), rule): ((usize, Combine), &Rule)| (Stage::of(rule), order, combine);
    let mut origins: Vec<(Stage, usize, Combine)> = origins.into_iter().zip(&rules).map(origin).collect();
    // A rule is large: it is moved only where it has to be.
    if !origins.is_sorted_by_key(|(stage, order, _)| (*stage, *order)) {
        let mut placed: Vec<((Stage, usize, Combine), Rule)> = origins.into_iter().zip(rules).collect();
        // Stable, so rules of one bundle and stage stay as written.
        placed.sort_by_key(|((stage, order, _), _)| (*stage, *order));
        (origins, rules) = placed.into_iter().unzip();
    }
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for (place, (stage, order, combine)) in (0_u32..).zip(origins) {
        match blocks.last_mut() {
            Some((last, block)) if *last == order && block.stage == stage => block.end = place + 1,
            _ => blocks.push((order, Block { stage, combine, start: place, end: place + 1 })),
        }
    }
    (rules, blocks.into_iter().map(|(_, block)| block).collect())
}
