//! What no set of values tells: sets that must be contained as a whole, exceptions, ranges of labels, the chain of
//! delegations, hours, conditions, secrets. Looked at only for rules that match in everything else.

use super::derive::Outcome;
use super::scratch::{Match, Memory, Reading};
use super::secrets;
use super::select::{Rest, Signals};
use crate::compile::{Compared, Core, Found, Grants, MIXED, NONE, Run, Slot, Snapshot, Traits};
use crate::glob::Glob;
use crate::language::{self, DelegationMatch, Except, MCP, TextSet};
use crate::subject::{Subject, present};
use crate::when::{Facts, Tags, Truth};
use simd_json::Node;
use std::collections::BTreeSet;

/// Everything an evaluation looks at.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) subject: &'a Subject<'a>,
    /// By tag id.
    pub(super) tags: &'a [Outcome],
    /// `None` when the payload could not be read.
    pub(super) tape: Option<&'a [Node<'a>]>,
    pub(super) at_ms: u64,
}

/// The rest of the snapshot's rules.
pub(super) struct Rules<'a, 'm> {
    pub(super) sight: Sight<'a>,
    pub(super) memory: &'m mut Memory,
}

impl Rest for Rules<'_, '_> {
    #[inline]
    fn check(&mut self, slot: usize, doubtful: bool) -> Option<Match> {
        let slot = self.sight.snapshot.slots.get(slot)?;
        self.matching(slot, doubtful)
    }

    fn read(&mut self, run: Run, heard: Signals, found: &mut Vec<Match>) {
        let Some(slots) = self.sight.snapshot.slots.get(run.start as usize..run.end as usize) else { return };
        // Whether a rule matches is no better than a coin's toss to the processor: what is found is written and counted
        // only if it matches, without a branch.
        let (first, mut count) = (found.len(), 0);
        found.resize(first + slots.len(), Match::default());
        let room = found.get_mut(first..).unwrap_or_default();
        let one = match run.field {
            MIXED => None,
            field => Some(number(field, self.sight, self.memory)).filter(|number| number.small && heard.untold == 0),
        };
        if let Some(number) = one {
            // What compares nothing passes with any number.
            for slot in slots {
                let holds = (slot.wanted & heard.told != 0) & slot.passes(number.int);
                if let Some(to) = room.get_mut(count) {
                    *to = Match { place: slot.place, traits: slot.traits, unsure: false };
                }
                count += usize::from(holds);
            }
        } else {
            for slot in slots {
                if let Some(to) = room.get_mut(count) {
                    let told = slot.wanted & heard.told != 0;
                    let matching = told || slot.wanted & heard.untold != 0;
                    if let Some(found) = matching.then(|| self.matching(slot, !told)).flatten() {
                        *to = found;
                        count += 1;
                    }
                }
            }
        }
        found.truncate(first + count);
    }
}

impl Rules<'_, '_> {
    #[inline]
    fn matching(&mut self, slot: &Slot, doubtful: bool) -> Option<Match> {
        let outcome = if slot.has_more() { self.more(slot.place as usize) } else { self.compared(slot) };
        let unsure = doubtful || outcome == Outcome::Uncertain;
        // What plainly allows does not match where something cannot be told.
        let holds = outcome != Outcome::Absent && !(unsure && slot.traits.allows());
        holds.then_some(Match { place: slot.place, traits: slot.traits, unsure })
    }

    /// Of a slot that only compares: whether it holds.
    #[inline]
    fn compared(&mut self, slot: &Slot) -> Outcome {
        let reading = number(slot.field, self.sight, self.memory);
        if reading.small {
            return told(slot.passes(reading.int));
        }
        let snapshot = self.sight.snapshot;
        let condition = snapshot.cores.get(slot.place as usize).map_or(NONE, |core| core.condition);
        match snapshot.comparisons.conditions.get(condition as usize) {
            Some(Some(compared)) => ordered(*compared, reading),
            Some(None) | None => Outcome::Uncertain,
        }
    }

    #[cold]
    fn more(&mut self, place: usize) -> Outcome {
        let snapshot = self.sight.snapshot;
        let Some(core) = snapshot.cores.get(place) else { return Outcome::Absent };
        let mut outcome = Outcome::Present;
        if core.checked {
            let Some(rule) = snapshot.rules.get(place) else { return Outcome::Absent };
            outcome = checks(&rule.matches, self.sight.subject).min(granted(core, self.memory)).min(window(
                core,
                self.sight,
                self.memory,
            ));
            if outcome != Outcome::Absent
                && let Some(wanted) = rule.matches.secrets_present
            {
                outcome = outcome.min(secret(self.sight, self.memory, wanted));
            }
        }
        if outcome != Outcome::Absent && core.condition != NONE {
            outcome = outcome.min(condition(core.condition, self.sight, self.memory));
        }
        outcome
    }
}

/// The rest of the grants.
pub(super) struct Granting<'a> {
    pub(super) grants: &'a Grants,
    pub(super) subject: &'a Subject<'a>,
}

impl Rest for Granting<'_> {
    fn check(&mut self, slot: usize, doubtful: bool) -> Option<Match> {
        let place = *self.grants.index.places.get(slot)?;
        let grant = self.grants.list.get(place as usize)?;
        // A grant allows: it holds only where all of it can be told.
        let holds = !doubtful && checks(&grant.matches, self.subject) == Outcome::Present;
        holds.then_some(Match { place, traits: Traits::PERMIT, unsure: false })
    }

    fn read(&mut self, run: Run, _: Signals, found: &mut Vec<Match>) {
        found.extend((run.start..run.end).filter_map(|slot| self.check(slot as usize, false)));
    }
}

#[inline]
fn told(holds: bool) -> Outcome {
    if holds { Outcome::Present } else { Outcome::Absent }
}

/// What needs only the subject's attributes.
pub(super) fn checks(matches: &language::Match, subject: &Subject<'_>) -> Outcome {
    told(requires_hold(&matches.requires, subject))
        .min(labels(matches, subject))
        .min(except(&matches.except, subject))
        .min(matches.delegation.as_ref().map_or(Outcome::Present, |wanted| delegation(wanted, subject)))
        .min(told(!matches.mcp_calls || calls_mcp(subject)))
}

/// Whether the job says of itself that it calls an MCP server.
pub(super) fn calls_mcp(subject: &Subject<'_>) -> bool {
    let mut calls = false;
    subject.labels.each(&mut |name, _| calls |= name.starts_with(MCP));
    calls
}

/// Whether the subject requires everything the rule asks about.
pub(super) fn requires_hold(wanted: &TextSet, subject: &Subject<'_>) -> bool {
    wanted.iter().all(|wanted| {
        let mut found = false;
        subject.requires.each(&mut |name| found |= name == &**wanted);
        found
    })
}

/// All of the labels a rule looks at.
fn labels(matches: &language::Match, subject: &Subject<'_>) -> Outcome {
    let sets = matches.labels.iter().map(|(key, values)| label(key, subject, |value| Some(values.contains(value))));
    let tests = matches.label_tests.iter().map(|test| label(&test.key, subject, |value| test.range.holds(value)));
    sets.chain(tests).min().unwrap_or(Outcome::Present)
}

/// Whether any value of the label holds; a missing label cannot be told.
pub(super) fn label(key: &str, subject: &Subject<'_>, holds: impl Fn(&str) -> Option<bool>) -> Outcome {
    let mut best: Option<Outcome> = None;
    subject.labels.each(&mut |name, value| {
        if name == key {
            let outcome = holds(value).map_or(Outcome::Uncertain, told);
            best = best.max(Some(outcome));
        }
    });
    best.unwrap_or(Outcome::Uncertain)
}

/// Whether the subject is none of what the rule excepts.
pub(super) fn except(except: &Except, subject: &Subject<'_>) -> Outcome {
    let Except { tenants, topics, capabilities, actor_ids, actor_types, pack_ids } = except;
    none_of(tenants, present(subject.tenant))
        .min(no_topic(topics, subject))
        .min(none_of(capabilities, present(subject.capability)))
        .min(none_of(actor_ids, subject.actor_id.and_then(present)))
        .min(none_of(actor_types, subject.actor_type.and_then(present)))
        .min(none_of(pack_ids, subject.pack_id.and_then(present)))
}

fn none_of(unwanted: &TextSet, value: Option<&str>) -> Outcome {
    match value {
        _ if unwanted.is_empty() => Outcome::Present,
        Some(value) => told(!unwanted.contains(value)),
        None => Outcome::Uncertain,
    }
}

fn no_topic(unwanted: &BTreeSet<Glob>, subject: &Subject<'_>) -> Outcome {
    match present(subject.topic) {
        _ if unwanted.is_empty() => Outcome::Present,
        Some(topic) => told(!unwanted.iter().any(|glob| glob.matches(topic))),
        None => Outcome::Uncertain,
    }
}

/// A job nobody delegated has depth 0 and every scope.
pub(super) fn delegation(wanted: &DelegationMatch, subject: &Subject<'_>) -> Outcome {
    let depth = subject.delegation.map_or(0, |delegation| u32::try_from(delegation.chain.len()).unwrap_or(u32::MAX));
    let in_depth =
        wanted.min_depth.is_none_or(|least| depth >= least) && wanted.max_depth.is_none_or(|most| depth <= most);
    let scope = match subject.delegation {
        _ if wanted.required_scope.is_empty() => Outcome::Present,
        None => Outcome::Present,
        Some(delegation) => match delegation.scope {
            None => Outcome::Uncertain,
            Some(scope) => told(wanted.required_scope.iter().all(|wanted| {
                let mut found = false;
                scope.each(&mut |name| found |= name == &**wanted);
                found
            })),
        },
    };
    told(in_depth).min(scope)
}

pub(super) fn granted(core: &Core, memory: &Memory) -> Outcome {
    // What was not looked up counts as not granted.
    told(!core.ungranted || memory.granted != Some(true))
}

pub(super) fn window(core: &Core, sight: Sight<'_>, memory: &mut Memory) -> Outcome {
    let place = core.window as usize;
    let Some(window) = sight.snapshot.windows.get(place) else { return Outcome::Present };
    if memory.minutes.len() <= place {
        memory.minutes.resize(sight.snapshot.windows.len(), (0, None));
    }
    let minute = match memory.minutes.get_mut(place) {
        Some((then, minute)) if *then == memory.now => *minute,
        slot => {
            let minute = window.minute(sight.at_ms);
            if let Some(slot) = slot {
                *slot = (memory.now, minute);
            }
            minute
        }
    };
    minute.map_or(Outcome::Uncertain, |minute| told(window.holds(minute)))
}

pub(super) fn secret(sight: Sight<'_>, memory: &mut Memory, wanted: bool) -> Outcome {
    let found = *memory.secrets.get_or_insert_with(|| secrets::look(sight.tape));
    match (found, wanted) {
        (Outcome::Uncertain, _) => Outcome::Uncertain,
        (found, true) => found,
        (found, false) => told(found == Outcome::Absent),
    }
}

#[inline]
pub(super) fn condition(place: u32, sight: Sight<'_>, memory: &mut Memory) -> Outcome {
    let place = place as usize;
    if let Some(Some(compared)) = sight.snapshot.comparisons.conditions.get(place) {
        return compare(*compared, sight, memory);
    }
    let Some(condition) = sight.snapshot.conditions.get(place) else { return Outcome::Uncertain };
    if memory.truths.len() <= place {
        memory.truths.resize(sight.snapshot.conditions.len(), (0, None));
    }
    let now = memory.now;
    let slot = memory.truths.get_mut(place);
    let truth = match slot {
        Some((then, Some(truth))) if *then == now => *truth,
        slot => {
            let truth = condition.holds(&sight.facts());
            if let Some(slot) = slot {
                *slot = (now, Some(truth));
            }
            truth
        }
    };
    match truth {
        Truth::True => Outcome::Present,
        Truth::False => Outcome::Absent,
        Truth::Error => Outcome::Uncertain,
    }
}

fn compare(compared: Compared, sight: Sight<'_>, memory: &mut Memory) -> Outcome {
    ordered(compared, number(compared.field, sight, memory))
}

fn ordered(compared: Compared, reading: Reading) -> Outcome {
    let order = reading.found.and_then(|number| compared.limit.order_of(number));
    order.map_or(Outcome::Uncertain, |order| told(compared.relation.holds(order)))
}

/// A number that conditions compare, found once a job.
#[inline]
fn number(field: u16, sight: Sight<'_>, memory: &mut Memory) -> Reading {
    match memory.numbers.get(usize::from(field)) {
        Some(reading) if reading.then == memory.now => *reading,
        Some(_) | None => read_number(field, sight, memory),
    }
}

#[cold]
fn read_number(field: u16, sight: Sight<'_>, memory: &mut Memory) -> Reading {
    let fields = &sight.snapshot.comparisons.fields;
    if memory.numbers.len() <= fields.len() {
        memory.numbers.resize(fields.len() + 1, Reading::default());
    }
    let reader = usize::from(field).checked_sub(1).and_then(|place| fields.get(place));
    let reader = reader.and_then(|&reader| sight.snapshot.conditions.get(reader as usize));
    let found = reader.and_then(|reader| reader.comparison()?.read(&sight.facts())).map(Found::from);
    let int = if let Some(Found::Small(int)) = found { Some(int) } else { None };
    let reading = Reading { then: memory.now, small: int.is_some(), int: int.unwrap_or(0), found };
    if let Some(kept) = memory.numbers.get_mut(usize::from(field)) {
        *kept = reading;
    }
    reading
}

impl<'a> Sight<'a> {
    fn facts(self) -> Facts<'a> {
        Facts {
            subject: self.subject,
            payload: self.tape,
            tags: Tags { names: &self.snapshot.tags, outcomes: self.tags },
            at_ms: self.at_ms,
        }
    }
}
