//! From the matching rules to one ruling.
//!
//! What combining hears of a rule: its effect and constraints where it certainly matches; the same where it matches only
//! because something cannot be told, except that an unsure permission permits nothing and only constrains. An unsure rule
//! never ends a search: what stands behind it is heard too, and the default where nothing certain is. So nobody loosens a
//! verdict by leaving something out.

use super::limits::{Answer, Asking};
use super::scratch::{Heard, Match};
use crate::compile::{Block, Enforced, Snapshot, Stage, TraitSet};
use crate::effect::Effect;
use crate::language::{CanaryBy, Combine, Rule};
use crate::subject::{Subject, present};
use sha2::{Digest, Sha256};
use tidegate_protocol::decision::ShadowMode;

/// What the rules, or a default, decide. The winners are in [`Heard::winners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) effect: Effect,
    /// No rule decided.
    pub(super) default: bool,
    /// The verdict depends on limits that are not known ([`Heard::unknown`]).
    pub(super) waits: bool,
}

/// Where what is heard goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Floor,
    Tiers,
}

/// What hearing the tiers came to.
#[derive(Clone, Copy, Default)]
struct Searched {
    /// A rule certainly matches, so that the default is not heard.
    certain: bool,
    /// A limit that is not known stood before what a bundle of the kind `first_match` decided.
    open: bool,
}

struct Hearing<'s, 'h> {
    snapshot: &'s Snapshot,
    heard: &'h mut Heard,
    floor: Option<Effect>,
    tiers: Option<Effect>,
}

/// `found` is in order of evaluation unless that changes nothing ([`Snapshot::unordered`]). `heard` is cleared first.
pub(super) fn combine(
    snapshot: &Snapshot,
    subject: &Subject<'_>,
    found: &mut Vec<Match>,
    asking: &mut Asking<'_, '_>,
    heard: &mut Heard,
) -> Ruling {
    heard.clear();
    if !snapshot.plain {
        found.retain(|matching| {
            let mode = tried_out(snapshot, subject, *matching);
            if let Some(mode) = mode {
                heard.shadow.push((matching.place, mode));
            }
            mode.is_none()
        });
    }
    let mut hearing = Hearing { snapshot, heard, floor: None, tiers: None };
    let searched = if snapshot.unordered {
        hearing.listen(found)
    } else {
        hearing.invariants(found, asking);
        if hearing.floor == Some(Effect::Deny) { Searched::default() } else { hearing.search(found, asking) }
    };
    hearing.settle(subject, searched)
}

impl Hearing<'_, '_> {
    /// Hears rules of which neither order nor limits matter: what there is says what is heard, and only that is collected.
    fn listen(&mut self, found: &[Match]) -> Searched {
        let (mut sure, mut unsure) = (0, 0);
        for matching in found {
            let bit = matching.traits.bit();
            sure |= if matching.unsure { 0 } else { bit };
            unsure |= if matching.unsure { bit } else { 0 };
        }
        let (sure, unsure) = (TraitSet(sure), TraitSet(unsure));
        let bounding = TraitSet::of_effect(Effect::AllowWithConstraints);
        // An unsure permission with constraints is not heard itself.
        let effects = sure.or(unsure.without(bounding));
        let floor = TraitSet::of_stage(Stage::Invariants);
        let (mut tiers, mut certain) = (TraitSet::default(), false);
        self.floor = effects.and(floor).most();
        if self.floor != Some(Effect::Deny) {
            for tier in [Stage::Job, Stage::Workflow, Stage::Global].map(TraitSet::of_stage) {
                tiers = tiers.or(tier);
                certain = !sure.and(tier).is_empty();
                if certain {
                    break;
                }
            }
        }
        self.tiers = effects.and(tiers).most();
        let Heard { floor: floor_winners, winners, bounds, constraining, .. } = &mut *self.heard;
        let won =
            |effect: Option<Effect>, by: TraitSet| effect.map_or(TraitSet::default(), TraitSet::of_effect).and(by);
        let by_floor = won(self.floor, floor);
        collect(found, by_floor, by_floor.without(bounding), effects, floor_winners);
        let by_tiers = won(self.tiers, tiers);
        collect(found, by_tiers, by_tiers.without(bounding), effects, winners);
        let listened = floor.or(tiers);
        collect(found, TraitSet::default(), listened.and(bounding), unsure, bounds);
        let constrains = listened.and(TraitSet::CONSTRAINING);
        collect(found, constrains, constrains, sure.or(unsure), constraining);
        // What is merged from them is merged in order.
        constraining.sort_unstable();
        Searched { certain, open: false }
    }

    fn invariants(&mut self, found: &[Match], asking: &mut Asking<'_, '_>) {
        let snapshot = self.snapshot;
        for block in snapshot.blocks.iter().filter(|block| block.stage == Stage::Invariants) {
            for &matching in of(block, found) {
                if !self.is_limited(matching) {
                    self.hear(matching, Into::Floor);
                }
            }
        }
        if snapshot.plain {
            return;
        }
        for block in snapshot.blocks.iter().filter(|block| block.stage == Stage::Invariants) {
            self.limited(block, found, asking, Into::Floor);
        }
    }

    /// Hears tiers until one decides.
    fn search(&mut self, found: &[Match], asking: &mut Asking<'_, '_>) -> Searched {
        let snapshot = self.snapshot;
        let mut searched = Searched::default();
        for tier in [Stage::Job, Stage::Workflow, Stage::Global] {
            let mut certain = false;
            let blocks = || snapshot.blocks.iter().filter(move |block| block.stage == tier);
            for block in blocks().filter(|block| block.combine == Combine::MostRestrictive) {
                for &matching in of(block, found) {
                    if !self.is_limited(matching) {
                        certain |= self.hear(matching, Into::Tiers);
                    }
                }
            }
            for block in blocks().filter(|block| block.combine == Combine::FirstMatch) {
                let (first, unknown) = self.first(block, found, asking);
                certain |= first;
                searched.open |= unknown;
            }
            if !snapshot.plain {
                for block in blocks().filter(|block| block.combine == Combine::MostRestrictive) {
                    certain |= self.limited(block, found, asking, Into::Tiers);
                }
            }
            if certain {
                searched.certain = true;
                break;
            }
        }
        searched
    }

    /// The first rule that certainly matches, and the unsure ones before it.
    fn first(&mut self, block: &Block, found: &[Match], asking: &mut Asking<'_, '_>) -> (bool, bool) {
        let mut open = false;
        for &matching in of(block, found) {
            let matching = if self.is_limited(matching) {
                if self.tiers == Some(Effect::Deny) {
                    continue;
                }
                match self.ask(matching, asking) {
                    Answer::Holds(matching) => matching,
                    Answer::Unknown => {
                        open = true;
                        continue;
                    }
                    Answer::Within => continue,
                }
            } else {
                matching
            };
            if self.hear(matching, Into::Tiers) {
                return (true, open);
            }
        }
        (false, open)
    }

    /// Rules with limits, unless a deny is heard already: then none can change the verdict, and none is asked.
    fn limited(&mut self, block: &Block, found: &[Match], asking: &mut Asking<'_, '_>, into: Into) -> bool {
        let mut certain = false;
        for &matching in of(block, found) {
            if !self.is_limited(matching) {
                continue;
            }
            let effect = if into == Into::Floor { self.floor } else { self.tiers };
            if effect == Some(Effect::Deny) {
                break;
            }
            if let Answer::Holds(matching) = self.ask(matching, asking) {
                certain |= self.hear(matching, into);
            }
        }
        certain
    }

    fn is_limited(&self, matching: Match) -> bool {
        self.snapshot.cores.get(matching.place()).is_some_and(|core| core.limited)
    }

    fn ask(&mut self, matching: Match, asking: &mut Asking<'_, '_>) -> Answer {
        match self.snapshot.rules.get(matching.place()) {
            Some(rule) => asking.ask(rule, matching, self.heard),
            None => Answer::Within,
        }
    }

    /// Whether the rule certainly matches, so that its tier decides.
    #[inline]
    fn hear(&mut self, matching: Match, into: Into) -> bool {
        let Match { place, traits, unsure } = matching;
        if traits.constrains() {
            self.heard.constraining.push(place);
        }
        if unsure && traits.effect() == Effect::AllowWithConstraints {
            self.heard.bounds.push(place);
            return false;
        }
        let (effect, winners) = match into {
            Into::Floor => (&mut self.floor, &mut self.heard.floor),
            Into::Tiers => (&mut self.tiers, &mut self.heard.winners),
        };
        let own = traits.effect();
        if effect.is_none_or(|effect| own > effect) {
            *effect = Some(own);
            winners.clear();
        }
        if *effect == Some(own) {
            winners.push(place);
        }
        !unsure
    }

    /// The floor against what the tiers, or the default, decide.
    fn settle(self, subject: &Subject<'_>, searched: Searched) -> Ruling {
        let Self { snapshot, heard, floor, tiers } = self;
        let Searched { certain, open } = searched;
        let mut rest = tiers.unwrap_or(Effect::Allow);
        let mut default = false;
        if !certain {
            let fallback = default_of(snapshot, subject);
            // Beside rules that match only because something cannot be told.
            default = tiers.is_none_or(|tiers| fallback > tiers);
            if default {
                rest = fallback;
                heard.winners.clear();
            }
        }
        let mut effect = rest;
        if floor.is_some_and(|floor| floor >= rest) {
            effect = floor.unwrap_or(Effect::Deny);
            if effect > rest {
                heard.winners.clear();
            }
            heard.winners.append(&mut heard.floor);
            default = false;
        }
        if !heard.bounds.is_empty() && effect <= Effect::AllowWithConstraints {
            if effect == Effect::Allow {
                heard.winners.clear();
            }
            heard.winners.append(&mut heard.bounds);
            effect = Effect::AllowWithConstraints;
            default = false;
        }
        heard.winners.sort_unstable();
        let waits = !heard.unknown.is_empty() && (effect != Effect::Deny || open);
        Ruling { effect, default, waits }
    }
}

/// Adds the places of matches whose traits are among `sure` or, of unsure ones, `unsure`; `there` is what there is at most.
fn collect(found: &[Match], sure: TraitSet, unsure: TraitSet, there: TraitSet, places: &mut Vec<u32>) {
    if sure.or(unsure).and(there).is_empty() {
        return;
    }
    // Without a branch for each, as where they were found.
    let (first, mut count) = (places.len(), 0);
    places.resize(first + found.len(), 0);
    let room = places.get_mut(first..).unwrap_or_default();
    for matching in found {
        if let Some(to) = room.get_mut(count) {
            *to = matching.place;
        }
        let wanted = if matching.unsure { unsure } else { sure };
        count += usize::from(wanted.holds(matching.traits));
    }
    places.truncate(first + count);
}

/// The matches of a block.
fn of<'f>(block: &Block, found: &'f [Match]) -> &'f [Match] {
    let from = found.partition_point(|matching| matching.place() < block.start as usize);
    let rest = found.get(from..).unwrap_or_default();
    let count = rest.partition_point(|matching| matching.place() < block.end as usize);
    rest.get(..count).unwrap_or_default()
}

/// The tenant's default, or the last deny.
fn default_of(snapshot: &Snapshot, subject: &Subject<'_>) -> Effect {
    snapshot.defaults.get(subject.tenant).map_or(Effect::Deny, |(effect, _)| *effect)
}

/// Why a matching rule does not take part; `None` when it does.
fn tried_out(snapshot: &Snapshot, subject: &Subject<'_>, matching: Match) -> Option<ShadowMode> {
    let core = snapshot.cores.get(matching.place())?;
    match core.enforced {
        Enforced::Always => None,
        Enforced::Shadow => Some(ShadowMode::Shadow),
        Enforced::Warn => Some(ShadowMode::Warn),
        Enforced::Canary => {
            let rule = snapshot.rules.get(matching.place())?;
            (!in_share(rule, subject)).then_some(ShadowMode::Canary)
        }
    }
}

/// Whether the job is in the share a canary rule is enforced for: the first eight bytes of SHA-256 over the rule's id, a
/// zero byte and the key, modulo 10,000. A missing key cannot be told: what restricts is enforced.
fn in_share(rule: &Rule, subject: &Subject<'_>) -> bool {
    let Some(canary) = &rule.canary else { return true };
    let mut labelled = None;
    let key = match &canary.by {
        CanaryBy::Tenant => present(subject.tenant),
        CanaryBy::ActorId => subject.actor_id.and_then(present),
        CanaryBy::Topic => present(subject.topic),
        CanaryBy::Capability => present(subject.capability),
        CanaryBy::JobId => subject.job_id.and_then(present),
        CanaryBy::Label(label) => {
            subject.labels.each(&mut |name, value| {
                if name == &**label {
                    labelled = present(value);
                }
            });
            labelled
        }
    };
    let Some(key) = key else { return rule.effect != Effect::Allow };
    let digest =
        Sha256::new().chain_update(rule.id.as_bytes()).chain_update([0]).chain_update(key.as_bytes()).finalize();
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number % 10_000 < u64::from(canary.per_10_000)
}
