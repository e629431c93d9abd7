//! Rules by whom and what they are about. Those that name the same one tenant (or none) and the same one topic (or none) lie
//! in one run of slots; those that name several tenants or several topics lie in runs that every job of theirs looks at.
//!
//! A job has one tenant, and few globs stand for its topic: its candidates are a handful of runs, each found by a search in
//! the short list of topics of its tenant. Most runs say all that the index knows of their rules (`direct`): these are read
//! from end to end, without looking at rows.

use super::FixedState;
use crate::glob::Glob;
use crate::language::{Match, TextSet};
use std::collections::{BTreeSet, HashMap};

/// Rules that name none.
const ANY: u32 = 0;
/// Rules that name several.
const SEVERAL: u32 = 1;
/// The number of the first that is named.
const NAMED: u32 = 2;

/// Slots `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Its rules look at nothing else that rows are about.
    pub(crate) direct: bool,
    /// The one number that its rules compare, if any; [`MIXED`] when they do not all do with that.
    pub(crate) field: u16,
}

/// Rules that look at different numbers, or at more.
pub(crate) const MIXED: u16 = u16::MAX;

/// Where a rule stands: its tenant, its topic, and whether rows say more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    tenant: u32,
    topic: u32,
    indexed: bool,
}

/// Numbers of tenants and topics, while cells are given out.
pub(super) struct Numbers<'r> {
    tenants: HashMap<&'r str, u32, FixedState>,
    globs: HashMap<&'r Glob, u32, FixedState>,
}

impl<'r> Numbers<'r> {
    /// `globs` in order of their ids.
    pub(super) fn of(rules: impl Iterator<Item = &'r Match>, globs: impl Iterator<Item = &'r Glob>) -> Self {
        let mut tenants: HashMap<&'r str, u32, FixedState> = HashMap::default();
        for tenant in rules.filter_map(|rule| only(rule.tenants.iter())) {
            let next = number(tenants.len());
            tenants.entry(tenant).or_insert(next);
        }
        Self { tenants, globs: globs.zip(NAMED..).collect() }
    }

    /// `direct`: beside tenants and topics, rows are about nothing that it looks at.
    pub(super) fn cell(&self, rule: &Match, direct: bool) -> Cell {
        let tenant = match only(rule.tenants.iter()) {
            Some(tenant) => self.tenants.get(&**tenant).copied().unwrap_or(SEVERAL),
            None => none_or_several(&rule.tenants),
        };
        let topic = match only(rule.topics.iter()) {
            Some(glob) => self.globs.get(glob).copied().unwrap_or(SEVERAL),
            None if rule.topics.is_empty() => ANY,
            None => SEVERAL,
        };
        Cell { tenant, topic, indexed: !direct || tenant == SEVERAL || topic == SEVERAL }
    }
}

fn none_or_several(tenants: &TextSet) -> u32 {
    if tenants.is_empty() { ANY } else { SEVERAL }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next();
    first.filter(|_| items.next().is_none())
}

fn number(place: usize) -> u32 {
    // A set has 100,000 rules at most, and a file bounds what they list.
    u32::try_from(place).unwrap_or(u32::MAX - NAMED).saturating_add(NAMED)
}

/// The runs of an index.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    tenants: HashMap<Box<str>, u32, FixedState>,
    /// By tenant: where its runs begin, and one more for the end.
    starts: Vec<u32>,
    /// The topic of each run; ascending for each tenant.
    topics: Vec<u32>,
    runs: Vec<Run>,
}

impl Cells {
    /// Slots in order: their cells, ascending, and the numbers their rules compare.
    pub(super) fn of<'c>(numbers: Numbers<'_>, slots: impl IntoIterator<Item = (&'c Cell, u16)>) -> Self {
        let mut cells = Self::default();
        let mut last = None;
        for (slot, (cell, field)) in (0_u32..).zip(slots) {
            if last == Some(cell) {
                if let Some(run) = cells.runs.last_mut() {
                    run.end = slot + 1;
                    run.field = match (run.field, field) {
                        (known, 0) => known,
                        (0, field) => field,
                        (known, field) if known == field => known,
                        _ => MIXED,
                    };
                }
                continue;
            }
            last = Some(cell);
            cells.starts.resize(cell.tenant as usize + 1, cells.runs.len().try_into().unwrap_or(u32::MAX));
            cells.topics.push(cell.topic);
            cells.runs.push(Run { start: slot, end: slot + 1, direct: !cell.indexed, field });
        }
        let last = numbers.tenants.len() + NAMED as usize;
        cells.starts.resize(last + 1, cells.runs.len().try_into().unwrap_or(u32::MAX));
        cells.tenants = numbers.tenants.into_iter().map(|(tenant, number)| (tenant.into(), number)).collect();
        cells
    }

    /// The runs of rules that name this one tenant, for the numbers of a topic.
    #[inline]
    pub(crate) fn of_tenant(&self, tenant: &str, numbers: &[u32], visit: &mut impl FnMut(Run)) {
        if let Some(&tenant) = self.tenants.get(tenant) {
            self.each(tenant, numbers, visit);
        }
    }

    /// The runs of rules that name no tenant, or several.
    pub(super) fn of_anyone(&self, numbers: &[u32], visit: &mut impl FnMut(Run)) {
        self.each(ANY, numbers, visit);
        self.each(SEVERAL, numbers, visit);
    }

    /// `numbers` ascending.
    #[inline]
    fn each(&self, tenant: u32, numbers: &[u32], visit: &mut impl FnMut(Run)) {
        let bound = |tenant: u32| self.starts.get(tenant as usize).map_or(0, |&start| start as usize);
        let (start, end) = (bound(tenant), bound(tenant + 1));
        let (Some(topics), Some(runs)) = (self.topics.get(start..end), self.runs.get(start..end)) else { return };
        let mut at = 0;
        for &number in numbers {
            let rest = topics.get(at..).unwrap_or_default();
            at += rest.partition_point(|topic| *topic < number);
            while topics.get(at) == Some(&number) {
                runs.get(at).copied().into_iter().for_each(&mut *visit);
                at += 1;
            }
        }
    }
}

/// The numbers of a topic: those of the globs that stand for it, and of rules that name none or several. Ascending.
pub(super) fn numbers_of(globs: &[u32], numbers: &mut Vec<u32>) {
    numbers.clear();
    numbers.extend([ANY, SEVERAL]);
    numbers.extend(globs.iter().map(|glob| glob.saturating_add(NAMED)));
    numbers.sort_unstable();
}

/// All globs, each once, in order: a glob's id is its place.
pub(super) type Globs<'r> = BTreeSet<&'r Glob>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::Syntax;

    fn rule(tenants: &[&str], topics: &[&str]) -> Match {
        Match {
            tenants: tenants.iter().map(|tenant| Box::from(*tenant)).collect(),
            topics: topics.iter().filter_map(|topic| Glob::parse(topic, Syntax::Dots).ok()).collect(),
            ..Match::default()
        }
    }

    #[test]
    fn a_job_finds_exactly_the_runs_of_its_tenant_and_topic() {
        let rules = [
            rule(&[], &[]),
            rule(&[], &["a.b"]),
            rule(&["x"], &["a.b"]),
            rule(&["x"], &["a.b"]),
            rule(&["x"], &["a.c"]),
            rule(&["y"], &[]),
            rule(&["x", "y"], &["a.b"]),
            rule(&["y"], &["a.b", "a.c"]),
        ];
        let globs: Globs<'_> = rules.iter().flat_map(|rule| &rule.topics).collect();
        let numbers = Numbers::of(rules.iter(), globs.iter().copied());
        let mut slots: Vec<Cell> = rules.iter().map(|rule| numbers.cell(rule, true)).collect();
        slots.sort_unstable();
        // The two of one cell compare different numbers.
        let cells = Cells::of(numbers, slots.iter().zip([0, 0, 1, 2, 4, 5, 3, 3]));
        let mut topic = Vec::new();
        numbers_of(&[0], &mut topic);
        let count = |tenant: &str| {
            let (mut direct, mut indexed) = (0, 0);
            let mut visit = |run: Run| *if run.direct { &mut direct } else { &mut indexed } += run.end - run.start;
            cells.of_anyone(&topic, &mut visit);
            cells.of_tenant(tenant, &topic, &mut visit);
            (direct, indexed)
        };
        // Of no tenant, of two tenants; and of its own: `a.b` twice, nothing of `a.c`.
        assert_eq!(count("x"), (2 + 2, 1));
        assert_eq!(count("y"), (2 + 1, 1 + 1));
        assert_eq!(count("z"), (2, 1));
        let fields: Vec<u16> = cells.runs.iter().filter(|run| run.end - run.start > 1).map(|run| run.field).collect();
        assert_eq!(fields, [MIXED]);
    }
}
