//! The tags that rules ask for, a bit each, so that a rule's tags are one word beside the rest of it.

use super::FixedState;
use crate::language::Match;
use std::collections::HashMap;
use std::sync::Arc;

/// What a rule that asks for no tag waits for: it is always there.
pub(crate) const ALWAYS: u64 = 1 << 63;
/// Bits there are beside it.
const BITS: u32 = 63;

/// Bits of tags. A tag that derivers set and the same one claimed by the submitter are two.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// By tag id; 0 for one that no rule asks for, or that found no bit.
    pub(crate) derived: Vec<u64>,
    pub(crate) claimed: HashMap<Box<str>, u64, FixedState>,
}

impl Signals {
    /// `tags` are those derived, by id, sorted.
    pub(super) fn of<'r>(rules: impl Iterator<Item = &'r Match>, tags: &[Arc<str>]) -> Self {
        let mut signals = Self { derived: vec![0; tags.len()], claimed: HashMap::default() };
        let mut left = 0..BITS;
        for rule in rules {
            for tag in &rule.risk_tags {
                if let Some(derived) = place(tags, tag).and_then(|place| signals.derived.get_mut(place))
                    && *derived == 0
                {
                    *derived = left.next().map_or(0, |bit| 1 << bit);
                }
                if rule.trusts_claims
                    && !signals.claimed.contains_key(tag)
                    && let Some(bit) = left.next()
                {
                    signals.claimed.insert(tag.clone(), 1 << bit);
                }
            }
        }
        signals
    }

    /// Any of these is enough for the rule; `None` when one of its tags has no bit.
    pub(super) fn wanted(&self, rule: &Match, tags: &[Arc<str>]) -> Option<u64> {
        if rule.risk_tags.is_empty() {
            return Some(ALWAYS);
        }
        let mut wanted = 0;
        for tag in &rule.risk_tags {
            if let Some(place) = place(tags, tag) {
                wanted |= self.derived.get(place).copied().filter(|bit| *bit != 0)?;
            }
            if rule.trusts_claims {
                wanted |= self.claimed.get(tag)?;
            }
        }
        Some(wanted)
    }
}

fn place(tags: &[Arc<str>], tag: &str) -> Option<usize> {
    tags.binary_search_by(|known| (**known).cmp(tag)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_whose_tags_find_no_bit_is_told_so_and_claims_are_no_derived_tags() {
        let tags: Vec<Arc<str>> = (10..90).map(|tag| format!("t{tag}").into()).collect();
        let rule = |tags: &[&str], trusts_claims| Match {
            risk_tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
            trusts_claims,
            ..Match::default()
        };
        let mut rules = vec![rule(&["t10"], false), rule(&["t10", "other"], true)];
        rules.extend(tags.iter().map(|tag| rule(&[tag], false)));
        let signals = Signals::of(rules.iter(), &tags);
        let wanted: Vec<Option<u64>> = rules.iter().map(|rule| signals.wanted(rule, &tags)).collect();
        let claimed = |tag: &str| signals.claimed.get(tag).copied().unwrap_or(0);
        assert_eq!(wanted[0], signals.derived.first().copied());
        assert_eq!(wanted[1], Some(signals.derived[0] | claimed("t10") | claimed("other")));
        assert_eq!(wanted[1].map(u64::count_ones), Some(3));
        // Two of 63 went to claims.
        assert_eq!(wanted.iter().skip(2).filter(|wanted| wanted.is_some()).count(), 61);
        assert_eq!(wanted.last(), Some(&None));
        assert_eq!(signals.wanted(&Match::default(), &tags), Some(ALWAYS));
    }
}
